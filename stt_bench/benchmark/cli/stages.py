"""The commands for the stages one by one: train, embed, eval; and export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from stt_bench.benchmark.cli.evaluation import evaluate
from stt_bench.benchmark.cli.options import (
    ColumnsOption,
    ConfigArgument,
    ForceOption,
    OverwriteOption,
    QuietOption,
    ResultsOption,
    RunArgument,
    RunsOption,
    SetOption,
    SplitOption,
    columns_in,
    folder_option,
)
from stt_bench.benchmark.system.errors import BenchError


def train(
    config: ConfigArgument,
    row: Annotated[str, typer.Option(help="The row of the table.")],
    seed: Annotated[int, typer.Option(help="The seed.", min=0, max=2**32 - 1)] = 0,
    overrides: SetOption = None,
    runs: RunsOption = Path("runs"),
    results: ResultsOption = Path("results"),
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train one row of a table with one seed; continue it if it was stopped.

    - `stt-bench train digits_retrieval --row hard_triplet --seed 0`
    - `stt-bench train my.yaml --row softmax --set train.steps=500 --set train.device=cuda`
    """
    from stt_bench.benchmark.store.locks import held
    from stt_bench.benchmark.suite import failure_noted, load_table, note_start
    from stt_bench.benchmark.suite.before import check_anew
    from stt_bench.benchmark.suite.one import Data
    from stt_bench.benchmark.system.folders import check_writable
    from stt_bench.benchmark.system.progress import Reporter
    from stt_bench.benchmark.training import train as training
    from stt_bench.benchmark.training.checks import idle_classifiers
    from stt_bench.benchmark.tuning.winners import Winners, tuned_run

    check_writable(runs, "--runs")
    check_writable(results, "--results")
    table = load_table(config, overrides or (), only=[row])
    table.one(row)
    one = tuned_run(Winners(table, results), row, seed, runs)
    reporter = Reporter(quiet=quiet)
    if idle := idle_classifiers(table.select([row])):
        reporter.warn(f"{table.name}: {idle}")
    if force:
        check_anew([one], results, Data(reporter))
    with held(one):
        if force:
            one.discard()
        note_start(one, results)
        with failure_noted(one, results):
            training.train(one, reporter)
    print(one.folder)


def embed(
    run: RunArgument,
    split: SplitOption = "test",
    images: Annotated[
        Path | None,
        typer.Option(help="Other images: a folder, whose class folders are labels, or a csv list."),
    ] = None,
    columns: ColumnsOption = None,
    to: Annotated[Path | None, folder_option("--to", help="Folder of their embeddings.")] = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write the embeddings of a trained run to disk; or those of any images under its network.

    - `stt-bench embed runs/digits_retrieval/hard_triplet/seed-0`
    - `stt-bench embed runs/digits_retrieval/hard_triplet/seed-0 --images photos --to my-embeddings`
    """
    from stt_bench.benchmark.embedding import embed as embedding
    from stt_bench.benchmark.embedding.images import embed_images
    from stt_bench.benchmark.store.runs import open_run
    from stt_bench.benchmark.system.folders import check_writable
    from stt_bench.benchmark.system.progress import Reporter

    reporter = Reporter(quiet=quiet)
    if (images is None) != (to is None) or (images is not None and split != "test"):
        raise BenchError("give --images and --to together, without --split, or none of the two")
    if columns and images is None:
        raise BenchError("--columns needs --images with a csv list: a run has its own")
    if images is not None and to is not None:
        check_writable(to, "--to")
        named = columns_in(columns)
        one = open_run(run)
        print(embed_images(one, reporter, images=images, folder=to, columns=named, force=force))
    else:
        print(embedding.embed(open_run(run), reporter, split=split, force=force))


def export(
    source: Annotated[Path, typer.Argument(help="A run's folder, or an embedding set's.")],
    to: Annotated[Path, typer.Option(help="The HDF5 file; the csv is written beside it.")],
    split: SplitOption = "test",
    force: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write embeddings as HDF5 (`emb`, N × D), and a csv `class,path` in the same order.

    - `stt-bench export runs/digits_retrieval/hard_triplet/seed-0 --to digits.h5`
    """
    from stt_bench.benchmark.embedding.hdf5 import export_hdf5
    from stt_bench.benchmark.system.progress import Reporter

    export_hdf5(source, to, Reporter(quiet=quiet), split=split, force=force)
    print(to)


STAGES: dict[str, Callable[..., None]] = {
    "train": train,
    "embed": embed,
    "export": export,
    "eval": evaluate,
}
