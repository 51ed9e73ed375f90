"""The command that shows a table, a record or a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stt_bench.benchmark.cli.options import ResultsOption, RunsOption
from stt_bench.benchmark.system.errors import BenchError


def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="TABLE|RECORD|RUN",
            help="A table, a record (its file, or `TABLE/ROW/seed-N`), or a run's folder.",
        ),
    ],
    results: ResultsOption = Path("results"),
    runs: RunsOption = Path("runs"),
) -> None:
    """Show the answer of a table, the numbers of a record, or the state and curves of a run.

    - `stt-bench show digits_retrieval`
    - `stt-bench show digits_retrieval/softmax/seed-0`
    - `stt-bench show runs/digits_retrieval/softmax/seed-0`
    """
    from stt_bench.benchmark.cli.screen import print_leaderboard
    from stt_bench.benchmark.cli.screen_records import print_record, print_run
    from stt_bench.benchmark.config.table_files import name_in_results
    from stt_bench.benchmark.leaderboards.report import read_board
    from stt_bench.benchmark.store.records import read_record, tables_with_records
    from stt_bench.benchmark.store.runs import open_run

    name = name_in_results(what.removesuffix("/"))
    if name in tables_with_records(results):
        print_leaderboard(read_board(results, name))
    elif (Path(name) / "run.json").is_file():
        print_run(open_run(Path(name)), results)
    elif (path := _record(name, results)) is not None:
        print_record(read_record(path), path)
    elif (runs / name / "run.json").is_file():
        print_run(open_run(runs / name), results)
    else:
        raise _unknown(what, results, runs)


def _record(name: str, results: Path) -> Path | None:
    named = results / "records" / f"{name.removesuffix('.json')}.json"
    return next((path for path in (Path(name), named) if path.is_file()), None)


def _unknown(what: str, results: Path, runs: Path) -> BenchError:
    from stt_bench.benchmark.config.table_files import own_file, table_files
    from stt_bench.benchmark.verification.places import names_below
    from stt_bench.names import did_you_mean

    plain = what.removesuffix(".yaml")
    if table := plain if plain in table_files() else own_file(plain):
        return BenchError(
            f"table '{table}' has no records in {results}; run `stt-bench run {table}` first"
        )
    here = [str(path.parent) for path in sorted(runs.glob("*/*/seed-*/run.json"))]
    known = [name for name in names_below(results) if name.count("/") != 1]
    return BenchError(
        f"'{what}' is no table, record or run: name a table of {results / 'records'}, "
        f"TABLE/ROW/seed-N, or a run's folder; {did_you_mean(what, [*known, *here])}"
    )
