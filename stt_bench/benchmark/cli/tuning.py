"""The command that tunes the rows of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stt_bench.benchmark.cli.options import (
    ConfigArgument,
    CpusPerRunOption,
    GpusPerRunOption,
    JobsOption,
    OnOption,
    QuietOption,
    ResultsOption,
    SetOption,
    ShardOption,
    names_in,
    shard_in,
)
from stt_bench.benchmark.system.errors import BenchError


def tune(
    config: ConfigArgument,
    rows: Annotated[
        str | None, typer.Option(help="Only these rows, separated by commas.", metavar="ROW,ROW")
    ] = None,
    studies: Annotated[
        int | None, typer.Option(min=1, help="Studies; else as many as the table says.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials of a study; else as many as the table says.")
    ] = None,
    shard: ShardOption = "1/1",
    show: Annotated[
        bool, typer.Option("--show", help="Only print the points, and what became of them.")
    ] = False,
    overrides: SetOption = None,
    results: ResultsOption = Path("results"),
    jobs: JobsOption = 1,
    on: OnOption = None,
    cpus_per_run: CpusPerRunOption = None,
    gpus_per_run: GpusPerRunOption = None,
    quiet: QuietOption = False,
) -> None:
    """Tune the rows of a table, all alike, on folds of the training split; `run` takes the winners.

    Skips trials that the journals in `results/tuning` have; looks at no test image.

    - `stt-bench tune frozen_cub50_lite0 --rows softmax,hard_triplet`
    - `stt-bench tune frozen_cub50_lite0 --jobs 4`
    - `stt-bench tune frozen_cub50_lite0 --shard 2/8`
    - `stt-bench tune frozen_cub50_lite0 --show`
    """
    from stt_bench.benchmark.cli.spread import executor_of
    from stt_bench.benchmark.suite import load_table
    from stt_bench.benchmark.system.folders import check_writable
    from stt_bench.benchmark.system.progress import Reporter
    from stt_bench.benchmark.tuning import tune as tuning
    from stt_bench.benchmark.tuning.searches import number_of_trials
    from stt_bench.benchmark.tuning.show import shown

    chosen = None if rows is None else names_in("--rows", rows)
    part = shard_in(shard)
    table = load_table(config, overrides or (), only=chosen)
    table.select(chosen)
    if table.tuning is None:
        raise BenchError(
            f"{table.path}: says nothing of tuning: add a section such as `tuning: {{studies: 3, "
            "trials: 20, folds: 4, every: 50, patience: 4}`"
        )
    given = {"studies": studies, "trials": trials}
    size = table.tuning.model_copy(update={k: v for k, v in given.items() if v is not None})
    if show:
        for line in shown(table, size, results, rows=chosen):
            print(line)
        return
    check_writable(results, "--results")
    number = number_of_trials(table, size, rows=chosen, shard=part)
    tuning.tune(
        table,
        size,
        results,
        Reporter(quiet=quiet),
        rows=chosen,
        shard=part,
        executor=executor_of(table, number, jobs, on, cpus_per_run, gpus_per_run),
    )
