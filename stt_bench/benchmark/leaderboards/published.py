"""Numbers from the literature, each with its source."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from stt_bench.benchmark.system.errors import BenchError


@dataclass(frozen=True)
class Published:
    """A number from the literature."""

    row: str
    metric: str
    value: str
    source: str
    note: str


def read_published(path: Path) -> dict[str, list[Published]]:
    """Return the published numbers by table from ``published.csv``; none if there is no file.

    Columns: ``table,row,metric,value,source,note``; the value is printed as it stands.
    """
    if not path.exists():
        return {}
    tables: dict[str, list[Published]] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: cannot be read ({error})") from None
    with io.StringIO(text, newline="") as stream:
        reader = csv.DictReader(stream)
        expected = ["table", "row", "metric", "value", "source", "note"]
        if reader.fieldnames != expected:
            raise BenchError(f"{path}, line 1: the header must be {','.join(expected)}")
        for entry in reader:
            if None in entry or None in entry.values():
                raise BenchError(f"{path}, line {reader.line_num}: six fields are expected")
            if not entry["source"]:
                raise BenchError(
                    f"{path}, line {reader.line_num}: a published number needs a source"
                )
            table = entry.pop("table")
            tables.setdefault(table, []).append(Published(**entry))
    return tables
