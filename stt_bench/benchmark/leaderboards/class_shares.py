"""What a record says of single test classes, in the one form that the statistics read."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from stt_bench.benchmark.statistics.weights import linearised, uneven
from stt_bench.benchmark.store.records import Record


class ClassShares(NamedTuple):
    """Values of C classes (or groups of classes) that average to the metric.

    `weighting` tells over what the metric is averaged: `query` or `class`.
    """

    groups: tuple[Any, ...]
    values: np.ndarray
    weighting: str


def class_shares(record: Record, metric: str) -> ClassShares | None:
    """Return the values of a record's classes, or None where it holds none of this metric.

    Retrieval: the leave-class-out values of `record.class_values`. Accuracies: the classes' own,
    of `record.per_class`, linearised about the mean over the items.
    """
    held = record.class_values
    if held is not None and metric in held.metrics:
        values = np.asarray(held.metrics[metric].values)
        return ClassShares(tuple(held.groups), values, held.weighting)
    if record.per_class is None or metric not in ("accuracy", "macro_accuracy"):
        return None
    scores = record.per_class
    there = [place for place, recall in enumerate(scores.recall) if recall is not None]
    recalls = np.array([scores.recall[place] for place in there], dtype=float)
    counts = np.array([scores.items[place] for place in there], dtype=float)
    groups = tuple(scores.labels[place] for place in there)
    if metric == "macro_accuracy" or uneven(counts):
        return ClassShares(groups, recalls, "class")
    return ClassShares(groups, linearised(recalls, counts), "query")
