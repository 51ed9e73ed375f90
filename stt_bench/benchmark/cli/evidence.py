"""The commands that ask whether a record can be believed: verify, diff, reproduce."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from stt_bench.benchmark.cli.options import (
    ForceOption,
    QuietOption,
    ResultsOption,
    RunsOption,
    folder_option,
)
from stt_bench.benchmark.system.errors import BenchError

DIFFERS = 1


def _records(context: typer.Context, incomplete: str) -> Iterator[str]:
    from stt_bench.benchmark.verification.places import completions

    yield from completions(Path(context.params.get("results") or "results"), incomplete)


def _one_side(context: typer.Context, incomplete: str) -> Iterator[str]:
    yield from (name for name in _records(context, incomplete) if name != "all")


def _one_record(context: typer.Context, incomplete: str) -> Iterator[str]:
    from stt_bench.benchmark.verification.places import is_record

    yield from filter(is_record, _records(context, incomplete))


RootOption = Annotated[
    str | None,
    typer.Option("--data-root", help="Folder of the data; searched for when not given."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")]


def verify(
    record: Annotated[
        str,
        typer.Argument(
            help="A record (its file, or `TABLE/ROW/seed-N`), a row (`TABLE/ROW`), a table, or "
            "`all` below --results.",
            autocompletion=_records,
        ),
    ],
    runs: RunsOption = Path("runs"),
    results: ResultsOption = Path("results"),
    data_root: RootOption = None,
    quiet: QuietOption = False,
) -> None:
    """Measure records again from their embeddings and name each field that differs.

    The embeddings are searched for below --runs; where they are gone that is said. Images and
    weights are hashed again where they are here. Writes nothing; the exit code is 1 if any record
    differs, or has embeddings that are damaged or of another training. What was edited together
    with its embeddings only `reproduce` finds.

    - `stt-bench verify all`
    - `stt-bench verify digits_retrieval/softmax`
    - `stt-bench verify results/records/digits_retrieval/softmax/seed-0.json --runs my-runs`
    """
    from stt_bench.benchmark.system.progress import Reporter
    from stt_bench.benchmark.verification.places import files_at, record_files
    from stt_bench.benchmark.verification.verify import Verifier

    reporter = Reporter(quiet=quiet)
    files = record_files(results / "records") if record == "all" else files_at(record, results)
    if not files:
        raise BenchError(f"{results / 'records'} holds no records; run `stt-bench run` first")
    if len(files) == 1:
        found = Verifier(runs, reporter, data_root).verify(files[0])
        print("\n".join(found.lines()))
        raise typer.Exit(0 if found.passed else DIFFERS)
    verifier, verdicts = Verifier(runs, Reporter(quiet=True), data_root), Counter[tuple[str, str]]()
    passed = True
    with reporter.bar("verify records", len(files), stage=True) as bar:
        for done, path in enumerate(files, start=1):
            found = verifier.verify(path)
            verdicts[found.name.partition("/")[0], found.verdict] += 1
            if not found.passed:
                passed = False
                print("\n".join(found.lines()))
            bar.to(done, found.name)
    _print_summary(verdicts)
    raise typer.Exit(0 if passed else DIFFERS)


def _print_summary(verdicts: Counter[tuple[str, str]]) -> None:
    kinds = {
        "same": "same",
        "differs": "differs",
        "unusable": "unusable",
        "gone": "embeddings gone",
    }
    tables = sorted({table for table, _ in verdicts})
    width = max(map(len, tables))
    print(" " * width, *kinds.values(), sep="  ")
    for table in tables:
        counts = (str(verdicts[table, kind]).rjust(len(head)) for kind, head in kinds.items())
        print(table.ljust(width), *counts, sep="  ")


def diff(
    first: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="A record (its file, or `TABLE/ROW/seed-N`), a row (`TABLE/ROW`), a table, or a "
            "folder of results.",
            autocompletion=_one_side,
        ),
    ],
    second: Annotated[
        str,
        typer.Argument(
            metavar="B", help="What it is compared with, likewise.", autocompletion=_one_side
        ),
    ],
    results: ResultsOption = Path("results"),
    whole: Annotated[
        bool,
        typer.Option("--all", help="Of rows and tables too what each seed has of its own."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Name every difference of two records, rows or results, and what may explain it.

    Settings by field, identity, the metrics with the difference in points, data, weights, code and
    machine. Rows are compared seed by seed: the means of their metrics are told, of tables those of
    each row too, and each seed's values, class values, probe and checksums with `--all`. JSON
    always has everything.

    - `stt-bench diff digits_retrieval/softmax digits_retrieval/hard_triplet`
    - `stt-bench diff digits_retrieval/softmax/seed-0 digits_retrieval/softmax/seed-1`
    - `stt-bench diff results my-results --json`
    """
    from stt_bench.benchmark.system.files import finite
    from stt_bench.benchmark.verification.diff import compare
    from stt_bench.benchmark.verification.places import records_at

    found = compare(records_at(first, results), records_at(second, results))
    if as_json:
        print(json.dumps(finite(found.content()), indent=2, ensure_ascii=False))
    else:
        print("\n".join(found.lines(whole=whole)))


def reproduce(
    record: Annotated[
        str,
        typer.Argument(
            help="A record's file, or `TABLE/ROW/seed-N` below --results; `spot`: the one that the "
            "commit picks.",
            autocompletion=_one_record,
        ),
    ],
    runs: Annotated[
        Path, folder_option("--runs", help="Folder of the new run; it stays where it differs.")
    ] = Path("runs/reproduced"),
    results: ResultsOption = Path("results"),
    data_root: RootOption = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a record again from the settings in it, and compare.

    Needs no table, and writes no record. With the record's commit, versions and machine the bytes
    are the same; elsewhere each metric is held against the interval that the row's other seeds
    give. The exit code is 1 where neither holds: that catches an edit of any kind. `spot` takes one
    of the records below --results by a hash of the checkout's commit, so that nobody chooses it.

    - `stt-bench reproduce digits_retrieval/softmax/seed-0`
    - `stt-bench reproduce my-results/records/my/softmax/seed-0.json --data-root photos`
    - `stt-bench reproduce spot`
    """
    from stt_bench.benchmark.system.folders import check_writable
    from stt_bench.benchmark.system.progress import Reporter
    from stt_bench.benchmark.verification.places import name_of, record_file
    from stt_bench.benchmark.verification.reproduce import reproduce

    check_writable(runs, "--runs")
    reporter, file = Reporter(quiet=quiet), record_file(record, results)
    if record == "spot":
        reporter.say(f"spot: {name_of(file)}")
    found = reproduce(
        file,
        reporter,
        runs=runs,
        data_root=data_root,
        force=force,
    )
    print("\n".join(found.lines()))
    raise typer.Exit(0 if found.passed else DIFFERS)


EVIDENCE: dict[str, Callable[..., None]] = {
    "verify": verify,
    "diff": diff,
    "reproduce": reproduce,
}
