"""Clustering of an embedding set, where it is not too large for that."""

from __future__ import annotations

import numpy as np

from stt_bench.benchmark.config.evaluation_section import EvaluationConfig
from stt_bench.benchmark.store.embedding_set import EmbeddingSet
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.evaluation import clustering_metrics

MOST_PRODUCTS = 10**13  # of an iteration, 28 times those of Stanford Online Products


def clusters_of(
    embedded: EmbeddingSet, config: EvaluationConfig, reporter: Reporter, *, anyway: bool = False
) -> dict[str, float]:
    """Return NMI and AMI; none, and a warning, where k-means would take hours.

    A sample of the items, or k-means on small batches, would be numbers of the same name that no
    other can be compared with.

    Args:
        embedded: the embedding set.
        config: says how.
        reporter: where the progress is shown.
        anyway: cluster however long it takes.

    Raises:
        ValueError: the embeddings cannot be clustered.
    """
    clusters = len(np.unique(embedded.labels))
    items, size = embedded.embeddings.shape
    products = items * clusters * size
    if products > MOST_PRODUCTS and not anyway:
        reporter.warn(
            f"no NMI and AMI: k-means of {items:,} items to {clusters:,} clusters takes "
            f"{products:.0e} products an iteration, hours in all; `stt-bench eval --embeddings X "
            "--labels Y --clustering` takes them"
        )
        return {}
    with reporter.bar("k-means", 1) as bar:
        return clustering_metrics(
            embedded.embeddings,
            embedded.labels,
            restarts=config.restarts,
            distance=config.distance,
            start=config.clustering_start,
            progress=bar.of,
        )
