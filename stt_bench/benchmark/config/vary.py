"""``vary: {FIELD: [VALUE, …]}``: each row that trains becomes one row for each value.

So a table holds a curve over a learning rate or a weight in one line: row ``softmax`` becomes
``softmax_0.001`` and ``softmax_0.0001``, labelled "Softmax, lr 0.001" and so on. Several fields
are crossed, the first one changing slowest.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.table_files import Places, merge
from stt_bench.benchmark.config.yaml_lines import DEEPEST
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.names import did_you_mean

MOST_ROWS = 1000


def varied(
    rows: dict[str, Any], vary: Any, places: Places, untrained: set[str]
) -> tuple[dict[str, Any], Places, dict[str, str]]:
    """Return the rows with one for each value in place of those that train, and their places.

    Then, of each that was made, the name of the row that it was made of.

    Args:
        rows: what each row says of its own.
        vary: the section ``vary`` as read.
        places: where each key of the file stands.
        untrained: the rows that have nothing to vary.

    Raises:
        BenchError: the section is no mapping of fields of a row to lists of different numbers.
    """
    fields = _fields(vary, places)
    count = len(rows)
    for values in fields.values():
        count *= len(values)
    if count > MOST_ROWS:
        raise BenchError(f"{places[('vary',)]}: vary: gives {count} rows; {MOST_ROWS} are the most")
    several, where = {}, dict(places)
    made: dict[str, str] = {}
    for row, own in rows.items():
        if row in untrained or not isinstance(own, dict):
            several[row] = own
            continue
        for chosen in product(*fields.values()):
            name = "_".join([row, *map(plain_number, chosen)])
            if name in rows or name in several:
                raise BenchError(
                    f"{places[('rows', row)]}: vary makes a second row '{name}' of row '{row}'; "
                    "rename one"
                )
            made[name] = row
            several[name] = _one(row, own, dict(zip(fields, chosen, strict=True)))
            for keys, place in places.items():
                if keys[:2] == ("rows", row):
                    where["rows", name, *keys[2:]] = place
            for field in fields:
                where["rows", name, *field.split(".")] = places["vary", field]
    return several, where, made


def said_of(field: str, value: float) -> str:
    """Return what `vary` adds to a row's label for a value of a field: ``, lr 0.001``."""
    return f", {field.rpartition('.')[2]} {plain_number(value)}"


def _one(row: str, own: dict[str, Any], values: dict[str, float]) -> dict[str, Any]:
    """Return what a row says of its own with these values of the fields."""
    said = "".join(said_of(field, value) for field, value in values.items())
    one = merge(own, {"label": f"{own.get('label', row)}{said}"})
    for field, value in values.items():
        change: Any = value
        for key in reversed(field.split(".")):
            change = {key: change}
        one = merge(one, change)
    return one


def _fields(vary: Any, places: Places) -> dict[str, list[float]]:
    place = places["vary",]
    if not isinstance(vary, dict) or not vary:
        raise BenchError(f"{place}: write vary as fields with values, such as optimizer.lr: [0.01]")
    for field, values in vary.items():
        place, keys = places["vary", field], str(field).split(".")
        sections = set(Experiment.model_fields) - {"label", "loss", "phases"}
        if len(keys) > DEEPEST or keys[0] not in sections:
            nearest = did_you_mean(keys[0], sections)
            raise BenchError(f"{place}: vary: a row has no number '{field}'; {nearest}")
        numbers = isinstance(values, list) and values and all(map(_is_number, values))
        if not numbers or len(set(values)) < len(values):
            raise BenchError(
                f"{place}: vary: {field} needs a list of different numbers, such as [0.001, 0.01]"
            )
    return vary


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def plain_number(value: float) -> str:
    """Return a number without an exponent, as a row's name and label show it."""
    return str(value) if isinstance(value, int) else f"{value:.12f}".rstrip("0").rstrip(".")
