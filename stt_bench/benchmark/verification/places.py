"""From what the user names to records: a path, or TABLE/ROW/seed-N below a folder of results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from stt_bench.benchmark.config.table_files import name_in_results
from stt_bench.benchmark.store.records import Record, read_record
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.machine import commit
from stt_bench.names import did_you_mean

SPOT = "spot"  # in place of a record's name


def record_files(folder: Path) -> list[Path]:
    """Return the files of all records below a folder of results, a table's or a row's."""
    return sorted(folder.rglob("seed-*.json"))


def name_of(path: Path) -> str:
    """Return ``TABLE/ROW/seed-N`` of a record's file."""
    return "/".join([*path.parts[-3:-1], path.stem])


def names_below(results: Path) -> list[str]:
    """Return the names of all tables, rows and records of a folder of results."""
    parts = [name_of(path).split("/") for path in record_files(results / "records")]
    return sorted({"/".join(one[:length]) for one in parts for length in (1, 2, 3)})


def is_record(name: str) -> bool:
    """Tell whether a name is a record's, and not a table's or a row's."""
    return name.count("/") == 2


def record_file(text: str, results: Path) -> Path:
    """Return the file of one record.

    Args:
        text: a path, or ``TABLE/ROW/seed-N`` below `results`; or ``spot``, see `picked`.
        results: the folder of results.

    Raises:
        BenchError: there is none; the nearest name is told.
    """
    if text == SPOT:
        return picked(record_files(results / "records"), commit())
    if (found := _file(text, results)) is not None:
        return found
    names = filter(is_record, names_below(results))
    raise _unknown(text, results, "record", "TABLE/ROW/seed-N", names)


def picked(files: Sequence[Path], of_commit: str | None) -> Path:
    """Return the record that a commit picks: a spot check by a rule that nobody can bend.

    That is the one whose name, hashed with the commit, has the least SHA-256: a record more or less
    changes the choice only if it is itself the one.

    Raises:
        BenchError: there are no records, or the code is of no commit.
    """
    if of_commit is None:
        raise BenchError(
            "a spot check takes its record by the commit, and this is no git checkout: name a "
            "record, as TABLE/ROW/seed-N"
        )
    if not files:
        raise BenchError("there are no records to take one of; run `stt-bench run` first")
    known = of_commit.partition("+")[0]
    return min(files, key=lambda file: sha256(f"{known}/{name_of(file)}".encode()).hexdigest())


def files_at(text: str, results: Path) -> list[Path]:
    """Return the files of the records that a name stands for; see `records_at`.

    Raises:
        BenchError: there is none; the nearest name is told.
    """
    if (folder := _folder(text, results)) is not None:
        return record_files(folder)
    if (found := _file(text, results)) is not None:
        return [found]
    kinds = "TABLE, TABLE/ROW or TABLE/ROW/seed-N"
    raise _unknown(text, results, "record, row or table", kinds, names_below(results))


def _folder(text: str, results: Path) -> Path | None:
    text = name_in_results(text)
    folders = (Path(text), results / "records" / text)
    return next((one for one in folders if one.is_dir() and record_files(one)), None)


def _file(text: str, results: Path) -> Path | None:
    text = name_in_results(text)
    named = results / "records" / f"{text.removesuffix('.json')}.json"
    return next((path for path in (Path(text), named) if path.is_file()), None)


def _unknown(text: str, results: Path, what: str, kinds: str, names: Iterable[str]) -> BenchError:
    return BenchError(
        f"'{text}' is no {what}: name a file, or {kinds} below {results / 'records'}; "
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
    files, folder = files_at(text, results), _folder(text, results)
    if folder is None:
        return {(): read_record(files[0])}
    found = {tuple(name_of(path).split("/")): read_record(path) for path in files}
    shared = 2 if any(folder.glob("seed-*.json")) else 0
    shared = shared or (1 if any(folder.glob("*/seed-*.json")) else 0)
    return {key[shared:]: record for key, record in found.items()}


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
    """Yield ``all`` and the names of tables, rows and records that begin with what is typed."""
    for name in ("all", *names_below(results)):
        if name.startswith(incomplete):
            yield name
