"""The commands for the stages one by one: train, embed, eval; and export."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stt_bench.benchmark.cli.options import (
    ConfigArgument,
    ForceOption,
    OverwriteOption,
    QuietOption,
    ResultsOption,
    RunArgument,
    RunsOption,
    SetOption,
    SplitOption,
    integers,
)
from stt_bench.benchmark.system.errors import BenchError

if TYPE_CHECKING:
    from stt_bench.benchmark.config.evaluation_section import EvaluationConfig


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
    from stt_bench.benchmark.suite import load_table, note_start
    from stt_bench.benchmark.system.progress import Reporter
    from stt_bench.benchmark.training import train as training
    from stt_bench.benchmark.training.checks import idle_classifiers
    from stt_bench.benchmark.tuning.winners import Winners, tuned_run

    table = load_table(config, overrides or (), only=[row])
    table.select([row])
    one = tuned_run(Winners(table, results), row, seed, runs)
    reporter = Reporter(quiet=quiet)
    if idle := idle_classifiers(table.select([row])):
        reporter.warn(f"{table.name}: {idle}")
    with held(one):
        if force:
            one.discard()
        note_start(one, results)
        training.train(one, reporter)
    print(one.folder)


def embed(
    run: RunArgument,
    split: SplitOption = "test",
    images: Annotated[
        Path | None,
        typer.Option(help="Other images: a folder (all below it, no labels) or a csv list."),
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Folder of their embeddings.")] = None,
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
    from stt_bench.benchmark.system.progress import Reporter

    reporter = Reporter(quiet=quiet)
    if (images is None) != (to is None) or (images is not None and split != "test"):
        raise BenchError("give --images and --to together, without --split, or none of the two")
    if images is not None and to is not None:
        print(embed_images(open_run(run), reporter, images=images, folder=to, force=force))
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


def evaluate(
    run: Annotated[Path | None, typer.Argument(help="A run's folder.")] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(help="Anybody's embeddings, (N, D): a `.npy` file, or `emb` of an `.h5`."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Their labels: a csv with `label` (and `id`, `split`, `role`), or one column, "
            "or `class,path`."
        ),
    ] = None,
    ks: Annotated[
        str | None,
        typer.Option(metavar="K,K", help="K of Recall@K, with --embeddings; else 1,2,4,8."),
    ] = None,
    distance: Annotated[
        Literal["euclidean", "cosine"] | None,
        typer.Option(help="What ranks, with --embeddings; else cosine. The other is told too."),
    ] = None,
    clustering: Annotated[
        bool | None, typer.Option(help="k-means, NMI and AMI, with --embeddings; else they are.")
    ] = None,
    approximate: Annotated[
        Literal["ivf", "hnsw"] | None,
        typer.Option(help="An approximate index of FAISS, with --embeddings; reports its error."),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="What searches: torch-cpu, torch-cuda, faiss-cpu, faiss-gpu, dense."),
    ] = None,
    memory: Annotated[
        int | None, typer.Option(metavar="MIB", min=1, help="Memory of the search.")
    ] = None,
    intervals: Annotated[
        bool, typer.Option("--intervals", help="Bootstrap intervals (95 %) over the test classes.")
    ] = False,
    per_class: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write each class's retrieval metrics.")
    ] = None,
    results: ResultsOption = Path("results"),
    force: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure a run's embeddings and write its record; or score anybody's embeddings.

    - `stt-bench eval runs/digits_retrieval/hard_triplet/seed-0`
    - `stt-bench eval --embeddings X.npy --labels Y.csv`
    - `stt-bench eval --embeddings X.h5 --labels test.csv --intervals --per-class classes.csv`
    - `stt-bench eval --embeddings million.npy --labels Y.csv --approximate ivf --no-clustering`
    """
    from stt_bench.benchmark.embedding.external import read_external_set
    from stt_bench.benchmark.scoring import evaluate as evaluation
    from stt_bench.benchmark.store.runs import open_run
    from stt_bench.benchmark.system.outputs import check_output
    from stt_bench.benchmark.system.progress import Reporter

    if (run is None) == (embeddings is None) or (embeddings is None) != (labels is None):
        raise BenchError("give either a run's folder, or --embeddings X.npy with --labels Y.csv")
    if approximate and run is not None:
        raise BenchError("--approximate needs --embeddings: a record's numbers are exact")
    if approximate and (backend or memory or intervals or per_class):
        raise BenchError(
            "--approximate goes without --backend, --memory, --intervals and --per-class: "
            "they belong to exact search"
        )
    if per_class is not None and (per_class.suffix != ".csv" or per_class.is_dir()):
        raise BenchError(f"--per-class {per_class}: name a file FILE.csv")
    if per_class is not None:
        inputs = [path for path in (run, embeddings, labels) if path is not None]
        check_output(per_class, inputs=inputs, force=force)
    options = {
        "ks": None if ks is None else integers("--ks", ks),
        "distance": distance,
        "clustering": clustering,
        "backend": backend,
        "memory_mib": memory,
    }
    given = {name: value for name, value in options.items() if value is not None}
    if run is not None and given.keys() & {"ks", "distance", "clustering"}:
        raise BenchError(
            "--ks, --distance and --clustering need --embeddings: a run is measured as its table "
            "says (`evaluation`)"
        )
    reporter = Reporter(quiet=quiet)
    if run is not None:
        one = open_run(run)
        config = _settings(one.experiment.evaluation.model_dump() | given)
        record, scores = evaluation.evaluate_queries(one, results, reporter, config)
        metrics, other = record.metrics, record.other_distance
    else:
        assert embeddings is not None
        assert labels is not None
        config = _settings(given)
        metrics, scores, other = evaluation.measure(
            read_external_set(embeddings, labels, reporter),
            config,
            reporter,
            where=str(embeddings),
            approximate=approximate,
        )
    shown: dict[str, Any] = {"distance": config.distance, **metrics}
    if other is not None:
        shown["other_distance"] = {"distance": other.distance, **other.metrics}
    if scores and intervals:
        try:
            shown["intervals"] = scores.intervals()
        except ValueError as error:
            reporter.warn(str(error))
    print(json.dumps(shown, indent=2))
    if scores and per_class:
        evaluation.write_class_scores(scores, per_class)
    if not scores and (intervals or per_class):
        reporter.warn("no intervals and no scores of classes: no query has a positive")


def _settings(values: dict[str, Any]) -> EvaluationConfig:
    from pydantic import ValidationError

    from stt_bench.benchmark.config.evaluation_section import EvaluationConfig
    from stt_bench.benchmark.config.mistakes import first_mistake

    try:
        return EvaluationConfig.model_validate(values)
    except ValidationError as error:
        keys, sentence = first_mistake(error, EvaluationConfig)
        option = "memory" if keys[0] == "memory_mib" else keys[0]
        raise BenchError(f"--{option}: {sentence}") from None


STAGES: dict[str, Callable[..., None]] = {
    "train": train,
    "embed": embed,
    "export": export,
    "eval": evaluate,
}
