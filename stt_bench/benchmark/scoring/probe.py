"""A probe of all numeric code, and whether a record was made by today's.

To what `training.probe` gives come the metrics of built-in embeddings whose ranks no rounding can
change: retrieval by both distances with its class values, clustering and classification.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from stt_bench.benchmark.config.evaluation_section import EvaluationConfig
from stt_bench.benchmark.store.records import Record
from stt_bench.benchmark.training.probe import changed, numbers, training_probe
from stt_bench.evaluation import (
    class_values,
    classification_metrics,
    clustering_metrics,
    on_device,
    retrieval_metrics,
)

_CLASSES, _PER_CLASS, _WIDTH = 8, 6, 5
_OF_CLUSTERING = ("nmi", "ami", "nmi_chance")


def metrics_probe(config: EvaluationConfig) -> dict[str, float]:
    """Return the metrics of 48 built-in vectors of eight classes, under a row's own settings."""
    count = _CLASSES * _PER_CLASS
    labels = np.repeat(np.arange(_CLASSES), _PER_CLASS)
    centres = numbers(_CLASSES * _WIDTH, 200).reshape(_CLASSES, -1)
    vectors = centres[labels] + numbers(count * _WIDTH, 201).reshape(count, -1)
    found: dict[str, float] = {}
    for distance in ("euclidean", "cosine"):
        own: dict[str, Any] = {"ks": (1, 2), "distance": distance}
        metrics = retrieval_metrics(vectors, labels, backend="torch-cpu", **own)
        left_out = class_values(vectors, labels, **own)
        for name in ("recall@1", "recall@2", "r_precision", "map@r", "mrr"):
            found[f"{distance}.{name}"] = metrics[name]
        place = left_out.names.index("map@r")
        found[f"{distance}.class_values"] = float(left_out.values[:, place] @ np.arange(_CLASSES))
    if config.clustering:
        with on_device("cpu"):  # the same numbers on every machine
            clusters = clustering_metrics(
                vectors, labels, restarts=1, distance=config.distance, start=config.clustering_start
            )
        found |= {name: clusters[name] for name in _OF_CLUSTERING}
    scores = numbers(count * _CLASSES, 202).reshape(count, -1) + np.eye(_CLASSES)[labels]
    found |= {
        f"classes.{name}": value
        for name, value in classification_metrics(scores, labels).items()
        if name.endswith("accuracy")
    }
    return {name: float(f"{value:.9g}") for name, value in found.items()}


def made_by_other_code(records: Iterable[Record]) -> dict[str, list[str]]:
    """Return the rows whose records were made by code that computes otherwise than today's.

    For each row it names what differs. Rows without a probe are left out: nothing is known of the
    code of theirs. Of a loss that is not known here, such as a plugin's, the metrics alone tell.
    """
    trained: dict[str, dict[str, float] | None] = {}
    measured: dict[str, dict[str, float]] = {}
    found: dict[str, dict[str, None]] = {}
    for record in records:
        if record.probe is None:
            continue
        digest, config = record.config_digest, record.experiment.evaluation
        if digest not in trained:
            trained[digest] = training_probe(record.experiment)
        if (key := config.model_dump_json()) not in measured:
            measured[key] = metrics_probe(config)
        now = (trained[digest] or {}) | measured[key]
        if names := changed(record.probe, now):
            found.setdefault(record.row, {}).update(dict.fromkeys(names))
    return {row: list(names) for row, names in found.items()}
