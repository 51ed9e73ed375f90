"""The command eval: a run's embeddings, or anybody's, are measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stt_bench.benchmark.cli.evaluation_settings import (
    given_of,
    option_of,
    rates_in,
    settings_of,
)
from stt_bench.benchmark.cli.options import (
    ArrayOption,
    ColumnsOption,
    OverwriteOption,
    QuietOption,
    ResultsOption,
    columns_in,
    integers,
    names_in,
    numbers,
)
from stt_bench.benchmark.system.errors import BenchError

if TYPE_CHECKING:
    from stt_bench.benchmark.config.evaluation_section import EvaluationConfig
    from stt_bench.benchmark.scoring.evaluate import Measurement
    from stt_bench.benchmark.store.runs import Run
    from stt_bench.benchmark.system.progress import Reporter

_OF_THE_TABLE = ("ks", "distance", "clustering")
_RULES = "Rules and further metrics"


def evaluate(
    run: Annotated[Path | None, typer.Argument(help="A run's folder.")] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(help="Anybody's embeddings, (N, D): `.npy`, `.h5` (`emb`) or `.parquet`."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Their csv: `label` (and `id`, `split`, `role`), or one column."),
    ] = None,
    array: ArrayOption = None,
    columns: ColumnsOption = None,
    ks: Annotated[
        str | None,
        typer.Option(metavar="K,K", help="K of Recall@K, with --embeddings; else 1,2,4,8."),
    ] = None,
    distance: Annotated[
        Literal["euclidean", "cosine"] | None,
        typer.Option(
            help="What ranks, with --embeddings; else cosine. Exact search tells the other, too."
        ),
    ] = None,
    clustering: Annotated[
        bool | None, typer.Option(help="k-means, NMI and AMI, with --embeddings; else they are.")
    ] = None,
    approximate: Annotated[
        Literal["ivf", "ivfpq", "hnsw"] | None,
        typer.Option(help="An approximate index of FAISS, with --embeddings; reports its error."),
    ] = None,
    probes: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Cells of ivf and ivfpq that a query visits; else an eighth, 64 at most.",
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="What searches: torch-cpu, torch-cuda, faiss-cpu, faiss-gpu, dense."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="Where torch searches and clusters, with --embeddings: `auto`, `cpu`, `cuda` or "
            "`cuda:N`; else auto."
        ),
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
    query_groups: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Camera, sequence: a gallery item of the query's label and group is taken out.",
            rich_help_panel=_RULES,
        ),
    ] = None,
    groups_apply_to: Annotated[
        Literal["label", "all"] | None,
        typer.Option(help="`all`: the query's group whatever the label.", rich_help_panel=_RULES),
    ] = None,
    junk: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="true: the item is in no list.", rich_help_panel=_RULES
        ),
    ] = None,
    label_separator: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Labels hold several, parted by this; a hit is a shared one.",
            rich_help_panel=_RULES,
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME",
            help="Also map (mAP of whole lists), precision, map@k, ndcg.",
            rich_help_panel=_RULES,
        ),
    ] = None,
    map_at_k: Annotated[
        Literal["min", "relevant", "hits"] | None,
        typer.Option(help="What MAP@K divides by; else min.", rich_help_panel=_RULES),
    ] = None,
    class_average: Annotated[
        bool,
        typer.Option(
            "--class-average", help="Means over classes, not queries.", rich_help_panel=_RULES
        ),
    ] = False,
    verification: Annotated[
        str | None,
        typer.Option(
            metavar="FAR,FAR",
            help="TAR at these false accept rates, and equal error rate.",
            rich_help_panel=_RULES,
        ),
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option(
            metavar="K1,K2,WEIGHT",
            help="k-reciprocal re-ranking, usually 20,6,0.3.",
            rich_help_panel=_RULES,
        ),
    ] = None,
    query_expansion: Annotated[
        str | None,
        typer.Option(
            metavar="K,ALPHA",
            help="Queries are joined by their K nearest items, usually 10,0.",
            rich_help_panel=_RULES,
        ),
    ] = None,
    queries: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            help="Only N queries, drawn at random, search the whole gallery; with --approximate "
            "they are those that measure its error.",
            rich_help_panel=_RULES,
        ),
    ] = None,
    results: ResultsOption = Path("results"),
    force: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure a run's embeddings and write its record; or score anybody's embeddings.

    With rules, a run is measured and told of, and its record left alone: the rules of a record
    are those of its table (`evaluation`).

    - `stt-bench eval runs/digits_retrieval/hard_triplet/seed-0`
    - `stt-bench eval --embeddings X.npy --labels Y.csv`
    - `stt-bench eval --embeddings X.h5 --labels test.csv --intervals --per-class classes.csv`
    - `stt-bench eval --embeddings X.npy --labels Y.csv --query-groups camera --metrics map`
    - `stt-bench eval --embeddings X.npy --labels Y.csv --rerank 20,6,0.3`
    - `stt-bench eval --embeddings million.npy --labels Y.csv --queries 5000`
    - `stt-bench eval --embeddings million.npy --labels Y.csv --approximate ivf`
    """
    from stt_bench.benchmark.cli.screen_records import COUNTS
    from stt_bench.benchmark.embedding.external import read_external_set
    from stt_bench.benchmark.scoring import evaluate as evaluation
    from stt_bench.benchmark.scoring.rules import without_a_group
    from stt_bench.benchmark.store.runs import open_run
    from stt_bench.benchmark.system.devices import given_device
    from stt_bench.benchmark.system.files import finite
    from stt_bench.benchmark.system.folders import check_writable
    from stt_bench.benchmark.system.memory import full_memory_told
    from stt_bench.benchmark.system.outputs import check_output
    from stt_bench.benchmark.system.progress import Reporter
    from stt_bench.evaluation import on_device

    if (run is None) == (embeddings is None) or (embeddings is None) != (labels is None):
        raise BenchError("give either a run's folder, or --embeddings X.npy with --labels Y.csv")
    if run is not None and (array or columns):
        raise BenchError("--array and --columns need --embeddings: a run has its own")
    if run is not None and device is not None:
        raise BenchError(
            "--device needs --embeddings: a run is measured on its own (`train.device`)"
        )
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
    rules = given_of(
        query_groups=query_groups,
        groups_apply_to=groups_apply_to,
        junk=junk,
        label_separator=label_separator,
        metrics=None if metrics is None else names_in("--metrics", metrics),
        map_at_k=map_at_k,
        class_average=class_average or None,
        verification=rates_in(verification),
        rerank=numbers("--rerank", rerank, {"k1": int, "k2": int, "weight": float}),
        query_expansion=numbers("--query-expansion", query_expansion, {"k": int, "alpha": float}),
    )
    if approximate and rules:
        raise BenchError(f"--approximate goes without --{option_of(next(iter(rules)))}")
    if approximate is None:
        rules |= given_of(queries=queries)
        if probes is not None:
            raise BenchError("--probes needs --approximate ivf or ivfpq")
    index = given_of(index=approximate, probes=probes, sample=queries) if approximate else None
    given = given_of(**options) | rules
    if run is not None and given.keys() & set(_OF_THE_TABLE):
        raise BenchError(
            "--ks, --distance and --clustering need --embeddings: a run is measured as its table "
            "says (`evaluation`)"
        )
    if label_separator is not None and clustering is None:
        given["clustering"] = False
    reporter = Reporter(quiet=quiet)
    if run is not None:
        one = open_run(run)
        config = settings_of(one.experiment.evaluation.model_dump() | given)
        if rules:
            found, scores, other = _without_a_record(one, config, reporter)
        else:
            check_writable(results, "--results")
            record, scores = evaluation.evaluate_queries(one, results, reporter, config)
            found, other = record.metrics, record.other_distance
    else:
        assert embeddings is not None
        assert labels is not None
        config = settings_of(given)
        with full_memory_told(str(embeddings), "eval"):
            theirs = read_external_set(
                embeddings, labels, reporter, columns=columns_in(columns), array=array
            )
        if told := without_a_group(theirs, config):
            reporter.say(f"note: {labels}: {told}")
        chosen = given_device(device or "auto", reporter)
        with on_device(chosen), full_memory_told(str(embeddings), "eval"):
            found, scores, other = evaluation.measure(
                theirs,
                config,
                reporter,
                where=str(embeddings),
                approximate=index,
                any_clustering=bool(clustering),
            )
    shown: dict[str, Any] = {"distance": config.distance} | given_of(approximate=approximate)
    if config.rules_set:
        shown["rules"] = config.rules_set
    shown |= found
    if other is not None:
        shown["other_distance"] = {"distance": other.distance, **other.metrics}
    if scores and intervals and config.class_average:
        reporter.warn("no intervals: they are of means over queries, not over classes")
    elif scores and intervals:
        try:
            shown["intervals"] = scores.intervals(
                unit="class" if scores.owners is None else "query"
            )
        except ValueError as error:
            reporter.warn(str(error))
    shown |= {name: int(shown[name]) for name in COUNTS if name in shown}
    print(json.dumps(finite(shown), indent=2))
    if scores and per_class:
        evaluation.write_class_scores(scores, per_class)
    if not scores and (intervals or per_class):
        reporter.warn("no intervals and no scores of classes: no query has a positive")


def _without_a_record(run: Run, config: EvaluationConfig, reporter: Reporter) -> Measurement:
    from stt_bench.benchmark.scoring.evaluate import measure
    from stt_bench.benchmark.store.embedding_set import read_embedding_set
    from stt_bench.benchmark.system.devices import device_here
    from stt_bench.benchmark.system.memory import full_memory_told
    from stt_bench.evaluation import on_device

    folder = run.embeddings("test")
    if not (folder / "meta.json").exists():
        raise BenchError(f"{run.folder} has no test embeddings; run `stt-bench embed` first")
    device = device_here(run.experiment.train.device, reporter)
    with on_device(device), full_memory_told(run.name, "evaluate"):
        found = measure(read_embedding_set(folder), config, reporter, where=str(folder))
    reporter.say("note: no record is written: a record has the rules of its table (`evaluation`)")
    return found
