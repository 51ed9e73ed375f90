"""A table's YAML file becomes its rows, each a complete experiment.

The file holds what all rows share, and under ``rows:`` what differs. A row's sections are merged
into the shared ones, ``--set field=value`` comes last; a loss replaces the shared loss whole. A
row that itself says ``train.steps: 0`` is the untrained network, and ``--set`` does not train it.
With ``base: TABLE`` the file holds only what differs from another table; a row that is null is left
out. ``vary:`` makes several rows of each, one for each value of a field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stt_bench.benchmark.config.bounds import LARGEST_SEED
from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.mistakes import first_mistake
from stt_bench.benchmark.config.overrides import Override, gives, named, overridden, read_override
from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.config.table_files import Places, find_table, merge, read_with_base
from stt_bench.benchmark.config.table_sections import COMPARED, FigureConfig, TuningConfig, Varied
from stt_bench.benchmark.config.vary import varied
from stt_bench.benchmark.config.yaml_lines import KeyPath
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.text import NAME_RULE, is_name, is_table_name, one_line
from stt_bench.names import did_you_mean

TABLE_FIELDS = ("title", "description", "seeds", "rows", "figure", "tuning", "compare_by", "vary")
_ROWS = ": write NAME: SETTINGS, such as rows: {softmax: {loss: softmax}, lifted: {loss: lifted}}"
Where = Callable[..., str]
Check = Callable[[Experiment, Where], None]


def read_table(
    name: str,
    overrides: Iterable[str] = (),
    *,
    only: Iterable[str] | None = None,
    check: Check | None = None,
) -> Table:
    """Read and check a table.

    Args:
        name: path of a YAML file, or the name of one in ``configs/`` or of a shipped table.
        overrides: ``field=value`` with a dotted field.
        only: the rows that the overrides change; all if none are named.
        check: is called with each row's experiment and a function that tells where one of its
            fields stands; raises where something that the experiment names does not exist.

    Raises:
        BenchError: one sentence with file, line and field.
    """
    path = find_table(name)
    if not is_table_name(path.stem):
        raise BenchError(f"{path}: name the file with {NAME_RULE}, and not README or timing")
    content, places = read_with_base(path)
    content = {key: value for key, value in content.items() if value is not None}
    shared_fields = set(Experiment.model_fields) - {"label"}
    for key in content:
        if key not in (*TABLE_FIELDS, *shared_fields):
            nearest = did_you_mean(key, [*TABLE_FIELDS, "base", *shared_fields])
            raise BenchError(f"{places[key,]}: unknown field '{key}'; {nearest}")
    title, description = (_text(content, key, places) for key in ("title", "description"))
    given = content.get("rows")
    rows = (
        {name: own for name, own in given.items() if own is not None}
        if isinstance(given, dict)
        else {}
    )
    if not rows:
        place = places.get(("rows",), str(path))
        if given and not isinstance(given, dict):
            kind = "a list" if isinstance(given, list) else repr(one_line(str(given), 40))
            raise BenchError(
                f"{place}: rows is {kind}, not a mapping from names to settings{_ROWS}"
            )
        raise BenchError(f"{place}: a table needs 'rows:' with at least one row in it{_ROWS}")
    for row in rows:
        if not is_name(row):
            raise BenchError(
                f"{places[('rows', row)]}: name the row '{one_line(row, 40)}' with {NAME_RULE}; "
                "its label may be anything"
            )
    made: dict[str, str] = {}
    without = rows
    if "vary" in content:
        untrained = {row for row, own in rows.items() if _is_untrained(own)}
        rows, places, made = varied(rows, content["vary"], places, untrained)
    shared = {key: value for key, value in content.items() if key in shared_fields}
    overrides = tuple(overrides)
    changes, asked = [read_override(text) for text in overrides], set(only or ())
    chosen = {row for row in rows if {row, made.get(row)} & asked} or asked
    table = Table(
        name=path.stem,
        path=path,
        title=title or path.stem,
        description=description,
        overrides=overrides,
        seeds=_seeds(path, content.get("seeds", [0]), places),
        rows={
            row: _experiment(
                row, shared, own, changes if not chosen or row in chosen else [], places
            )
            for row, own in rows.items()
        },
        varied=_varied(made, rows, without, shared, places),
    )
    if "figure" in content:
        table = replace(table, figure=_figure(table, content["figure"], places))
    if "compare_by" in content:
        table = replace(table, compare_by=_compared(table, content["compare_by"], places))
    if "tuning" in content:
        table = replace(table, tuning=_tuning(content["tuning"], places))
    for examine in filter(None, (_check_tuned if table.tuning else None, check)):
        for row, experiment in table.rows.items():
            changed = changes if not chosen or row in chosen else []
            plain = partial(_experiment, row, shared, rows[row], [], places)
            examine(experiment, partial(_where, row, changed, plain, examine, places))
    return table


def _text(content: dict[str, Any], key: str, places: Places) -> str:
    value = content.get(key, "")
    if isinstance(value, dict | list):
        raise BenchError(f"{places[key,]}: {key} must be text; put it in quotes")
    return str(value).strip()


def _seeds(path: Path, value: Any, places: Places) -> tuple[int, ...]:
    seeds = value if isinstance(value, list) else [value]
    if not seeds or not all(type(seed) is int and 0 <= seed <= LARGEST_SEED for seed in seeds):
        place = places.get(("seeds",), f"{path}")
        raise BenchError(
            f"{place}: seeds must be integers from 0 to {LARGEST_SEED}, such as [0, 1, 2]"
        )
    return tuple(dict.fromkeys(seeds))


def _figure(table: Table, value: Any, places: Places) -> FigureConfig:
    place = places[("figure",)]
    try:
        figure = FigureConfig.model_validate(value)
    except ValidationError as error:
        raise BenchError(f"{place}: {first_mistake(error, FigureConfig)[1]}") from None
    for experiment in table.select(figure.rows).values():
        for field in (figure.x, *figure.fields):
            try:
                experiment.value_of(field)
            except (KeyError, TypeError):
                raise BenchError(f"{place}: a row has no field '{field}'") from None
        x = experiment.value_of(figure.x)
        if isinstance(x, bool) or not isinstance(x, int | float):
            raise BenchError(f"{place}: the field '{figure.x}' of a row is {x!r}, not a number")
    return figure


def _compared(table: Table, value: Any, places: Places) -> str:
    recalls = dict.fromkeys(f"recall@{k}" for e in table.rows.values() for k in e.evaluation.ks)
    asked = dict.fromkeys(
        m for e in table.rows.values() for m in e.evaluation.metrics if m == "map"
    )
    known = [*COMPARED, *asked, *recalls]
    if value not in known:
        told = did_you_mean(one_line(str(value), 40), known)
        raise BenchError(f"{places['compare_by',]}: compare_by: there is no such metric; {told}")
    return str(value)


def _tuning(value: Any, places: Places) -> TuningConfig:
    try:
        return TuningConfig.model_validate(value)
    except ValidationError as error:
        keys, sentence = first_mistake(error, TuningConfig)
        place = places.get(("tuning", *keys), places["tuning",])
        raise BenchError(f"{place}: tuning: {sentence}") from None


def _check_tuned(experiment: Experiment, where: Where) -> None:
    """Refuse what a length that is tuned leaves without a meaning."""
    if experiment.train.steps and experiment.optimizer.schedule != "constant":
        raise BenchError(
            f"{where('optimizer', 'schedule')}: a table with tuning needs optimizer.schedule: "
            "constant, since its length is found by stopping early, before such a schedule ends"
        )
    if experiment.train.validate_every is not None:
        raise BenchError(
            f"{where('train', 'validate_every')}: train.validate_every chooses the length a second "
            "time in a table with tuning; remove it"
        )


def _varied(
    made: dict[str, str],
    rows: dict[str, Any],
    without: dict[str, Any],
    shared: dict[str, Any],
    places: Places,
) -> dict[str, Varied]:
    """Return what the rows are that `vary` made of those `without` it."""

    def settings(row: str, own: Any) -> Experiment | None:
        with suppress(BenchError):  # without `vary` it may be no row at all
            return _experiment(row, shared, {**own, "label": row}, [], places)
        return None

    plain = {row: settings(row, without[row]) for row in set(made.values())}
    return {
        name: Varied(
            row=row,
            label=str(without[row].get("label", row)),
            usual=settings(row, rows[name]) == plain[row],
        )
        for name, row in made.items()
    }


def _experiment(
    row: str,
    shared: dict[str, Any],
    own: Any,
    changes: Sequence[Override],
    places: Places,
) -> Experiment:
    if not isinstance(own, dict):
        raise BenchError(
            f"{places[('rows', row)]}: row '{row}' needs its fields, such as 'loss: softmax'"
        )
    settings = overridden(merge(shared, own), changes)
    if _is_untrained(own) and isinstance(settings.get("train"), dict):
        settings = merge(settings, {"train": {"steps": 0}})
    try:
        return Experiment.model_validate(settings)
    except ValidationError as error:
        keys, sentence = first_mistake(error, Experiment)
        if gives(changes, keys):
            where = f"--set {'.'.join(keys)}"
            sentence = sentence.removeprefix(f"{'.'.join(keys)}: ")
        elif changes and _is_valid(merge(shared, own)):
            where = f"{named(changes)}: row '{row}'"
        else:
            where = f"{_place(places, row, keys)}: row '{row}'"
        raise BenchError(f"{where}: {sentence}") from None


def _where(
    row: str,
    changed: Sequence[Override],
    plain: Callable[[], Experiment],
    check: Check,
    places: Places,
    *field: str,
) -> str:
    """Return where the reason stands for which a check refuses a field of a row.

    Args:
        row: its name.
        changed: what ``--set`` changes of it.
        plain: makes the row without these changes.
        check: refuses it.
        places: of the file's fields.
        field: that is refused.
    """
    if gives(changed, field):
        return f"--set {'.'.join(field)}: row '{row}'"
    if changed:
        with suppress(BenchError):
            check(plain(), lambda *_: "")
            return f"{named(changed)}: row '{row}'"
    return f"{_place(places, row, field)}: row '{row}'"


def _is_untrained(own: Any) -> bool:
    """Tell whether a row itself says that it is the untrained network."""
    train = own.get("train") if isinstance(own, dict) else None
    steps = train.get("steps") if isinstance(train, dict) else None
    return type(steps) is int and steps == 0


def _is_valid(settings: dict[str, Any]) -> bool:
    try:
        Experiment.model_validate(settings)
    except ValidationError:
        return False
    return True


def _place(places: Places, row: str, keys: KeyPath) -> str:
    """Return where the longest prefix of a field's path stands, in the row first, else shared."""
    for length in range(len(keys), 0, -1):
        for candidate in (("rows", row, *keys[:length]), keys[:length]):
            if candidate in places:
                return places[candidate]
    return places[("rows", row)]
