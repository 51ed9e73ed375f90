"""From what the user names to records: a path, or TABLE/ROW/seed-N below a folder of results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stt_bench.benchmark.store.records import Record, read_record
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.names import did_you_mean


def record_files(folder: Path) -> list[Path]:
    """Return the files of all records below a folder of results, a table's or a row's."""
    return sorted(folder.rglob("seed-*.json"))


def name_of(path: Path) -> str:
    """Return ``TABLE/ROW/seed-N`` of a record's file."""
    return "/".join([*path.parts[-3:-1], path.stem])


def record_file(text: str, results: Path) -> Path:
    """Return the file of one record.

    Args:
        text: a path, or ``TABLE/ROW/seed-N`` below `results`.
        results: the folder of results.

    Raises:
        BenchError: there is none; the nearest name is told.
    """
    named = results / "records" / f"{text.removesuffix('.json')}.json"
    for path in (Path(text), named):
        if path.is_file():
            return path
    names = [name_of(path) for path in record_files(results / "records")]
    raise BenchError(
        f"'{text}' is no record: name a file, or TABLE/ROW/seed-N below {results / 'records'}; "
        f"{did_you_mean(text, names)}"
    )


def records_at(text: str, results: Path) -> dict[tuple[str, ...], Record]:
    """Return the records that a name stands for, by what tells them apart.

    Args:
        text: one record (a path, or ``TABLE/ROW/seed-N``), a row (``TABLE/ROW`` or its folder), a
            table, or a folder of results.
        results: the folder that names are looked up in.

    Returns:
        One record under (), a row's under (seed,), a table's under (row, seed), those of a folder
        of results under (table, row, seed).

    Raises:
        BenchError: there is none, or one is broken.
    """
    for folder in (Path(text), results / "records" / text):
        if folder.is_dir() and (files := record_files(folder)):
            found = {tuple(name_of(path).split("/")): read_record(path) for path in files}
            shared = 2 if any(folder.glob("seed-*.json")) else 0
            shared = shared or (1 if any(folder.glob("*/seed-*.json")) else 0)
            return {key[shared:]: record for key, record in found.items()}
    return {(): read_record(record_file(text, results))}


def run_from(record: Record, runs: Path, data_root: str | None = None) -> Run:
    """Return the run that a record is of, below a folder of runs; it needs no table.

    Its data lie in `data_root`; they are searched for where that is None.
    """
    experiment = record.experiment
    data = experiment.data.model_copy(update={"root": data_root})
    return Run(
        record.table,
        record.row,
        record.seed,
        experiment.model_copy(update={"data": data}),
        runs / record.table / record.row / f"seed-{record.seed}",
        record.display,
        record.tuning,
    )


def completions(results: Path, incomplete: str) -> Iterator[str]:
    """Yield the names of records, and ``all``, that begin with what is typed."""
    for name in ("all", *(name_of(path) for path in record_files(results / "records"))):
        if name.startswith(incomplete):
            yield name
