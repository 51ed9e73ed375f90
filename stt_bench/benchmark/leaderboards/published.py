"""Numbers from the literature, each with its source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import stt_bench
from stt_bench.benchmark.system.csv_table import read_csv
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.text import NAME_RULE, is_table_name, one_line

SHIPPED = Path(stt_bench.__file__).parent / "published.csv"
_COLUMNS = ("table", "row", "metric", "value", "source", "note")


@dataclass(frozen=True)
class Published:
    """A number from the literature."""

    row: str
    metric: str
    value: str
    source: str
    note: str


def published_of(results: Path) -> tuple[dict[str, list[Published]], bool]:
    """Return the published numbers by table, and whether they are the user's own.

    They stand in ``results/published.csv``; where there is none, in the file that is shipped.
    """
    own = results / "published.csv"
    return (read_published(own), True) if own.exists() else (read_published(SHIPPED), False)


def read_published(path: Path) -> dict[str, list[Published]]:
    """Return the published numbers of a csv file, by table.

    Columns: ``table,row,metric,value,source,note``; the value is printed as it stands.

    Raises:
        BenchError: the file cannot be read, a table's name is none, or a number has no source.
    """
    tables: dict[str, list[Published]] = {}
    for line, *cells in read_csv(path, _COLUMNS, required=_COLUMNS).frame.itertuples():
        table, *fields = map(str, cells)
        number = Published(*fields)
        if not is_table_name(table):  # it becomes the name of a file
            raise BenchError(
                f"{path}:{line}: '{one_line(table, 40)}' is no table's name: use {NAME_RULE}"
            )
        if not number.source:
            raise BenchError(f"{path}:{line}: a published number needs a source: name the paper")
        tables.setdefault(table, []).append(number)
    return tables
