"""The class scores of an embedding set: which class an item is of, and how each class fares."""

from __future__ import annotations

import numpy as np

from stt_bench.benchmark.store.class_records import ClassScores
from stt_bench.benchmark.store.embedding_set import EmbeddingSet
from stt_bench.evaluation import confusion_matrix


def targets_of(embedded: EmbeddingSet) -> np.ndarray:
    """Return (N,) the columns of the class scores that the items' labels belong to."""
    order = {name: index for index, name in enumerate(embedded.meta["classes"])}
    return np.array([order[label] for label in embedded.labels])


def per_class(embedded: EmbeddingSet) -> ClassScores | None:
    """Return what became of the items of each class; None without class scores."""
    if embedded.logits is None:
        return None
    counts = confusion_matrix(embedded.logits, targets_of(embedded))
    return ClassScores.of(embedded.meta["classes"], counts)
