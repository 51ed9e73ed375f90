"""Evaluation: from an embedding set to a result record."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stt_bench.benchmark.config.evaluation_section import EvaluationConfig
from stt_bench.benchmark.scoring.classes import per_class, targets_of
from stt_bench.benchmark.scoring.clustering import clusters_of
from stt_bench.benchmark.scoring.probe import metrics_probe
from stt_bench.benchmark.scoring.retrieval import (
    retrieval_of,
    shares_of_classes,
    some_query_has_a_positive,
)
from stt_bench.benchmark.scoring.rules import columns_of_rules, queries_and_gallery, without_junk
from stt_bench.benchmark.store.distances import OtherDistance, is_retrieval, other_than
from stt_bench.benchmark.store.duplicates import DuplicateCounts, DuplicateScores
from stt_bench.benchmark.store.embedding_set import EmbeddingSet, read_embedding_set
from stt_bench.benchmark.store.facts import Training, TrainingFacts
from stt_bench.benchmark.store.ledger import effort, note, read_ledger, started
from stt_bench.benchmark.store.protocol import fingerprint, protocol_of
from stt_bench.benchmark.store.records import Record, read_record, record_path
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.system.devices import device_here
from stt_bench.benchmark.system.errors import BenchError, ItemsError
from stt_bench.benchmark.system.files import check_not_newer, write_text
from stt_bench.benchmark.system.machine import commit, versions
from stt_bench.benchmark.system.memory import full_memory_told
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.evaluation import (
    NoPositiveError,
    QueryScores,
    approximate_retrieval_metrics,
    chosen_backend,
    classification_metrics,
    on_device,
)
from stt_bench.evaluation.checks import bad_rows


def evaluate(run: Run, results: Path, reporter: Reporter) -> Record:
    """Measure a run's test embeddings and write its record below ``results/records``.

    Raises:
        BenchError: the run has no test embeddings, or they are damaged.
    """
    return evaluate_queries(run, results, reporter, run.experiment.evaluation)[0]


def evaluate_queries(
    run: Run, results: Path, reporter: Reporter, config: EvaluationConfig
) -> tuple[Record, QueryScores | None]:
    """Do the same, and return the scores of every query beside the record.

    ``config`` is the run's own but for `backend` and `memory_mib`.
    """
    folder = run.embeddings("test")
    if not (folder / "meta.json").exists():
        raise BenchError(f"{run.folder} has no test embeddings; run `stt-bench embed` first")
    return write_record(run, run.facts(), read_embedding_set(folder), results, reporter, config)


def write_record(
    run: Run,
    facts: TrainingFacts,
    embedded: EmbeddingSet,
    results: Path,
    reporter: Reporter,
    config: EvaluationConfig | None = None,
) -> tuple[Record, QueryScores | None]:
    """Measure the test embeddings of a run, note that in the ledger, and write the record.

    A training that the ledger does not know of, since it was started alone, is noted too.

    Raises:
        BenchError: the embeddings were made otherwise, or cannot be measured, or a newer version
            wrote the record that lies there.
    """
    path = record_path(results, run.table, run.row, run.seed)
    check_not_newer(lambda: read_record(path))
    digest, base = run.experiment.digest(), run.base_digest
    trials = run.tuning.studies * run.tuning.trials if run.tuning else 0
    known = read_ledger(results, run.table)
    if run.seed not in started(known, run.row, base):
        note(results, run.table, "start", run.row, run.seed, digest, base)
    note(results, run.table, "reading", run.row, run.seed, digest, base)
    record, scores = score(run, facts, embedded, reporter, config)
    spent = effort(read_ledger(results, run.table), run.row, base, trials)
    record = record.model_copy(update={"effort": spent})
    record.save(path)
    return record, scores


def score(
    run: Run,
    facts: TrainingFacts,
    embedded: EmbeddingSet,
    reporter: Reporter,
    config: EvaluationConfig | None = None,
) -> tuple[Record, QueryScores | None]:
    """Measure the test embeddings of a run; return its record and the scores of every query.

    It is measured on the device that trained, or on another where that is not here, which is told.

    Raises:
        BenchError: the embeddings were made otherwise, or cannot be measured.
    """
    experiment = run.experiment
    config = config or experiment.evaluation
    with (
        on_device(device_here(experiment.train.device, reporter)),
        full_memory_told(run.name, "evaluate"),
    ):
        return _score(run, facts, embedded, reporter, config)


def _score(
    run: Run,
    facts: TrainingFacts,
    embedded: EmbeddingSet,
    reporter: Reporter,
    config: EvaluationConfig,
) -> tuple[Record, QueryScores | None]:
    experiment, folder = run.experiment, run.embeddings("test")
    if embedded.meta["checkpoint_sha256"] != facts.checkpoint_sha256:
        raise BenchError(f"{folder} was embedded with other weights; run `stt-bench embed` again")
    protocol = protocol_of(
        experiment,
        data_hash=facts.data_hash,
        initial_weights=facts.initial_weights,
        embedding_dim=facts.embedding_dim,
        weighted=bool(embedded.meta.get("weighted")),
    )
    if embedded.meta["protocol_fingerprint"] != fingerprint(protocol):
        raise BenchError(
            f"{folder} was embedded otherwise than run.json says; run `stt-bench embed`"
        )
    protocol |= columns_of_rules(embedded, config)
    try:
        backend = chosen_backend(config.backend)
    except ValueError as error:
        raise BenchError(f"evaluation.backend: {error}") from None
    reporter.say(f"{run.name}: evaluate {len(embedded.embeddings):,} embeddings with {backend}")
    metrics, scores, other = measure(embedded, config, reporter, where=str(folder))
    shares = None
    if scores is not None:
        shares = shares_of_classes(embedded, config, config.distance, reporter)
    if other is not None and shares is not None:
        by_other = shares_of_classes(embedded, config, other.distance, reporter)
        other.class_values = by_other.metrics if by_other else None
    record = Record(
        table=run.table,
        row=run.row,
        seed=run.seed,
        display=run.display,
        metrics=metrics,
        experiment=experiment.model_copy(
            update={"data": experiment.data.model_copy(update={"root": None})}
        ),
        config_digest=experiment.digest(),
        tuning=run.tuning,
        protocol=protocol,
        protocol_fingerprint=fingerprint(protocol),
        data_hash=facts.data_hash,
        checkpoint_sha256=facts.checkpoint_sha256,
        embeddings_sha256=embedded.meta["embeddings_sha256"],
        training=Training.model_validate(facts.model_dump(include=set(Training.model_fields))),
        versions=facts.versions,
        commit=facts.commit,
        probe=None if facts.probe is None else facts.probe | metrics_probe(config),
        evaluated_with={"backend": backend, **versions(), "commit": commit() or "none"},
        per_class=per_class(embedded),
        near_duplicates=without_duplicates(embedded, config, reporter),
        class_values=shares,
        other_distance=other,
    )
    return record, scores


def without_duplicates(
    embedded: EmbeddingSet, config: EvaluationConfig, reporter: Reporter | None = None
) -> DuplicateScores | None:
    """Return the metrics without the test items that have a near-duplicate in training.

    They are neither queries nor in the gallery. Clustering is left out.
    """
    found = embedded.meta.get("near_duplicates")
    if found is None:
        return None
    counts = {name: found[name] for name in DuplicateCounts.model_fields}
    kept = ~np.isin(embedded.ids, found["test_ids"])
    metrics = None
    if 0 < kept.sum() < len(kept):
        rest = embedded.rows(kept)
        with suppress(BenchError):  # no query has a positive left
            config = config.model_copy(update={"clustering": False, "verification": None})
            metrics = measure(rest, config, reporter, both=False).metrics
    return DuplicateScores(**counts, test_items=len(found["test_ids"]), metrics_without=metrics)


class Measurement(NamedTuple):
    """All metrics of an embedding set, and the scores of every query, if any has a positive.

    `other` is retrieval under the distance that does not rank.
    """

    metrics: dict[str, float]
    scores: QueryScores | None
    other: OtherDistance | None


def measure(
    embedded: EmbeddingSet,
    config: EvaluationConfig,
    reporter: Reporter | None = None,
    *,
    where: str = "embeddings",
    approximate: Mapping[str, Any] | None = None,
    both: bool = True,
    any_clustering: bool = False,
) -> Measurement:
    """Measure an embedding set.

    Retrieval is leave-one-out where every item has the role ``both``, else from the queries to the
    gallery, by both distances; clustering is over all items, by the one that ranks; accuracy where
    the set holds class scores. Junk is left out of retrieval and clustering. A set with class
    scores in which no query has a positive has no retrieval metrics, and 0 queries.

    Args:
        embedded: the embedding set.
        config: what is measured, and how.
        reporter: where the progress is shown.
        where: names the set in messages.
        approximate: search with an index of FAISS, and report its error: the arguments index,
            probes and sample of `approximate_retrieval_metrics`.
        both: measure retrieval by the distance that does not rank, too.
        any_clustering: cluster however long it takes; else that is left out of a set too large for
            it, and told.
    """
    reporter = reporter or Reporter(quiet=True)
    metrics, scores, other = {"queries": 0.0}, None, None
    try:
        listed = without_junk(embedded, config)
        if embedded.logits is None or some_query_has_a_positive(listed, config):
            if approximate:
                with reporter.bar(f"retrieval ({approximate['index']})", 1) as bar:
                    metrics = approximate_retrieval_metrics(
                        **queries_and_gallery(listed, config),
                        ks=tuple(config.ks),
                        distance=config.distance,
                        **approximate,
                        progress=bar.of,
                    )
            else:
                metrics, scores = retrieval_of(listed, config, config.distance, reporter)
                if both and config.query_expansion is None:  # which is by cosine alone
                    other = _by_the_other_distance(listed, config, reporter, where)
        if config.clustering:
            metrics |= clusters_of(listed, config, reporter, anyway=any_clustering)
        if embedded.logits is not None:
            metrics |= classification_metrics(embedded.logits, targets_of(embedded))
    except (BenchError, ValueError, TypeError) as error:
        raise BenchError(_told(error, embedded, where)) from None
    return Measurement({name: float(value) for name, value in metrics.items()}, scores, other)


def _told(error: Exception, embedded: EmbeddingSet, where: str) -> str:
    """Return the sentence of an error, with the file that is at fault."""
    if isinstance(error, ItemsError | NoPositiveError) and embedded.listed_in:
        return f"{embedded.listed_in}: {error}"
    if not isinstance(error, ValueError):
        return f"{where}: {error}"
    bad = np.flatnonzero(bad_rows(embedded.embeddings))
    if not len(bad):
        return f"{where}: {error}"
    row = int(bad[0] if embedded.places is None else embedded.places[bad[0]])
    whole = embedded.embeddings.dtype.kind in "iu"
    what, sound = (
        ("beyond 2**53", "abs(X) <= 2**53") if whole else ("NaN or infinite", "isfinite(X)")
    )
    return (
        f"{where}: values are {what} in {len(bad):,} of {len(embedded.ids):,} rows, the first is "
        f"row {row + 1:,}, X[{row}] in NumPy: compute such rows anew, or leave them and their "
        f"labels out; ({sound}).all(axis=1) tells the sound ones"
    )


def _by_the_other_distance(
    embedded: EmbeddingSet, config: EvaluationConfig, reporter: Reporter, where: str
) -> OtherDistance | None:
    """Return retrieval under the distance that does not rank; None where it has none.

    Only numbers too far apart for Euclidean distance can keep it from being measured.
    """
    distance = other_than(config.distance)
    try:
        metrics, _ = retrieval_of(embedded, config, distance, reporter)
    except ValueError as error:
        reporter.warn(f"{where}: not measured by {distance} distance as well: {error}")
        return None
    return OtherDistance(
        distance=distance,
        metrics={name: float(value) for name, value in metrics.items() if is_retrieval(name)},
    )


def write_class_scores(scores: QueryScores, path: Path) -> None:
    """Write a csv with the metrics of each class, a line each, and the number of its queries."""
    table = pd.DataFrame.from_dict(scores.per_class(), orient="index")
    write_text(path, table.to_csv(index_label="label", lineterminator="\n"))
