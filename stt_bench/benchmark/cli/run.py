"""The command that runs a whole table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stt_bench.benchmark.cli.options import (
    BAD_INPUT,
    FAILED,
    CpusPerRunOption,
    ForceOption,
    GpusOption,
    GpusPerRunOption,
    JobsOption,
    OnOption,
    QuietOption,
    ResultsOption,
    RunsOption,
    SetOption,
    ShardOption,
    names_in,
    seeds_in,
    shard_in,
)
from stt_bench.benchmark.cli.reports import show_leaderboards
from stt_bench.benchmark.cli.several import check_gpus, run_by_several
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.launch import say_last
from stt_bench.benchmark.system.text import counted

if TYPE_CHECKING:
    from stt_bench.benchmark.dry_run import Plan


def run(
    configs: Annotated[
        list[str], typer.Argument(help="Tables: YAML files, or names of `stt-bench list tables`.")
    ],
    rows: Annotated[
        str | None, typer.Option(help="Only these rows, separated by commas.", metavar="ROW,ROW")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="These seeds instead of the table's.", metavar="N,N")
    ] = None,
    overrides: SetOption = None,
    runs: RunsOption = Path("runs"),
    results: ResultsOption = Path("results"),
    force: ForceOption = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only say what would run, from which data, for how long."),
    ] = False,
    jobs: JobsOption = 1,
    gpus: GpusOption = 1,
    on: OnOption = None,
    cpus_per_run: CpusPerRunOption = None,
    gpus_per_run: GpusPerRunOption = None,
    shard: ShardOption = "1/1",
    quiet: QuietOption = False,
) -> None:
    """Train, embed and evaluate all rows of a table; then write its leaderboard.

    Skips experiments that have a record, continues one that was stopped.

    - `stt-bench run digits_retrieval`
    - `stt-bench run digits_retrieval --dry-run`
    - `stt-bench run digits_retrieval --jobs 2`
    - `stt-bench run cub50_retrieval --gpus 4`
    - `stt-bench run cub50_retrieval --jobs 2 --gpus 4`
    - `stt-bench run cub50_retrieval --rows softmax,hard_triplet --seeds 0,1,2`
    - `stt-bench run digits_retrieval --set optimizer.lr=0.0003 --results my-results --runs my-runs`
    """
    from stt_bench.benchmark.cli.spread import check_spread, executor_of
    from stt_bench.benchmark.dry_run import plan
    from stt_bench.benchmark.jobs.work import shard_of
    from stt_bench.benchmark.leaderboards.report import BrokenTablesError, check_pages
    from stt_bench.benchmark.leaderboards.report import report as write_leaderboards
    from stt_bench.benchmark.suite import load_table, run_table
    from stt_bench.benchmark.system.folders import check_writable
    from stt_bench.benchmark.system.progress import Reporter

    reporter = Reporter(quiet=quiet)
    chosen = None if rows is None else names_in("--rows", rows)
    numbers = None if seeds is None else seeds_in(seeds)
    part = shard_in(shard)
    tables = [load_table(config, overrides or (), only=chosen) for config in configs]
    names = [table.name for table in tables]
    for table in tables:
        table.select(chosen)
        if names.count(table.name) > 1:
            raise BenchError(
                f"two of the tables are named '{table.name}' and would share their results: run "
                "one of them, or rename its file"
            )
    for folder, option in ((runs, "--runs"), (results, "--results")):
        check_writable(folder, option, tries=not dry_run)
    check_pages(results, names)
    devices = {row.train.device for table in tables for row in table.select(chosen).values()}
    if dry_run:
        check_gpus(gpus, devices, on=on)
        check_spread(jobs, on, cpus_per_run, gpus_per_run)
        plans = [
            plan(
                table,
                rows=chosen,
                seeds=numbers,
                runs=runs,
                results=results,
                force=force,
                reporter=reporter,
                shard=part,
                is_here=on is None,
            )
            for table in tables
        ]
        _tell(plans)
        return
    if (code := run_by_several(gpus, devices, jobs=jobs, on=on)) is not None:
        raise typer.Exit(code)
    failed, refusals, finished, whys = 0, 0, [], set[str]()
    refused: BenchError | None = None
    try:
        for table in tables:
            asked = len(table.select(chosen)) * len(table.seeds if numbers is None else numbers)
            number = len(shard_of(range(asked), part))
            outcome = run_table(
                table,
                rows=chosen,
                seeds=numbers,
                runs=runs,
                results=results,
                force=force,
                reporter=reporter,
                shard=part,
                executor=executor_of(
                    table, number, jobs, on, cpus_per_run, gpus_per_run, team=gpus
                ),
            )
            failed += len(outcome.failed)
            whys |= set(outcome.failed.values())
            refusals += len(outcome.refused)
            if outcome.done or outcome.skipped:
                finished.append(table.name)
            if outcome.skipped:
                reporter.say(
                    f"{len(outcome.skipped)} of {table.name} already had a record in {results}; "
                    "--force re-runs finished work"
                )
    except BenchError as error:  # of one table: those before it have their leaderboards
        refused = error
    if finished:
        try:
            show_leaderboards(write_leaderboards(results, finished), results, quiet)
        except BrokenTablesError as error:
            if not whys.issuperset(error.whys):
                raise
            reporter.warn(f"{counted(len(error.whys), 'leaderboard')} not written, as told above")
    if refused is not None:
        raise refused
    if failed:
        again = "it" if failed == 1 else "them"
        command = "the same command without --force" if force else "the same command"
        what = f"{command} tries {again} again"
        if refusals == failed:
            what = f"{command} can only fail again: do first what is said there"
        told = f"{counted(failed, 'run')} failed, see above; {what}"
        say_last(FAILED, f"warning: {told}")
        raise typer.Exit(FAILED)


def _tell(plans: Sequence[Plan]) -> None:
    """Print what would run; where some of it would be refused, end as the run itself would."""
    for one in plans:
        print("\n".join(one.lines()))
    runs, boards = sum(len(one.refused) for one in plans), sum(bool(one.no_board) for one in plans)
    if runs or boards:
        code = BAD_INPUT if boards or any(one.stops for one in plans) else FAILED
        parts = [counted(n, what) for n, what in ((runs, "run"), (boards, "leaderboard")) if n]
        say_last(code, f"warning: {' and '.join(parts)} would be refused, see above")
        raise typer.Exit(code)
