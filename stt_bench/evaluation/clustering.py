"""Clustering: NMI and AMI of k-means, beside what chance alone would score."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import gammaln
from scipy.stats import entropy
from threadpoolctl import threadpool_limits

from stt_bench.evaluation.backends import torch_device
from stt_bench.evaluation.callback import ProgressCallback, quietly, share
from stt_bench.evaluation.checks import (
    ROWS_AT_ONCE,
    blocks,
    check_choice,
    check_count,
    check_labels,
    check_matrix,
)
from stt_bench.evaluation.exact import DISTANCES, points_of
from stt_bench.evaluation.frames import CoarseFrame
from stt_bench.evaluation.kmeans import ITERATIONS, kmeans
from stt_bench.evaluation.kmeans_start import STARTS, first_rows

# From so many clusters on our own k-means is quicker (`tests/perf/clustering.py --crossover`).
FEW_CLUSTERS = 400


def clustering_metrics(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    restarts: int = 3,
    seed: int = 0,
    distance: str = "euclidean",
    start: str = "random",
    progress: ProgressCallback = quietly,
) -> dict[str, float]:
    """Cluster the embeddings by k-means, k = the number of labels, and compare with the labels.

    With I the mutual information of labels and clusters, H their entropies and E the expected I
    of a random assignment with the same cluster sizes (hypergeometric, no simulation):

    * NMI = I / mean(H), the arithmetic mean; on many small classes a random embedding is far
      above 0, so read it beside NMI chance = E / mean(H);
    * AMI = (I − E) / (mean(H) − E), 0 for a random assignment and 1 for a perfect one
      (Vinh, Epps and Bailey, 'Information Theoretic Measures for Clusterings Comparison',
      JMLR 2010).

    k-means is exact: at most 50 of Lloyd's iterations, by scikit-learn where clusters are few,
    else by `kmeans`, on a GPU where torch sees one. The same input, seed and machine give the
    same numbers. With one label, or one point for each label, the perfect clustering is the only
    one: NMI, AMI and chance are then 1. Where clusters are many and small, k-means++ ends in
    better ones than random rows do, and a few points of NMI higher, at ten times the cost.
    A collapsed embedding falls into one cluster: NMI, AMI and chance are 0.

    Args:
        embeddings: (N, D) finite real numbers, N >= 2.
        labels: (N,) integers or strings.
        restarts: how many times k-means is run, each from its own seed.
        seed: from which the seeds of the restarts are derived, >= 0.
        distance: `euclidean`, or `cosine`, for which the rows are normalised first.
        start: the first centroids: `random` rows, or `k-means++`, greedy as in scikit-learn.
        progress: is told, now and then, how many iterations are done, and how many there are.

    Returns:
        `nmi`, `ami` and `nmi_chance`: means over the restarts, NMI in [0, 1] and AMI at
        most 1; `nmi_std`: sample standard deviation of NMI, 0 for one restart; `clusters`: k.

    Raises:
        ValueError: for NaN or infinite rows, shapes or lengths that do not fit, fewer than two
            rows, restarts < 1, seed < 0, an unknown distance or start, arguments of a wrong type.

    Example:
        >>> points = [[0.0, 0.0], [0.1, 0.0], [9.0, 9.0], [9.1, 9.0]]
        >>> scores = clustering_metrics(points, ["a", "a", "b", "b"])
        >>> scores["nmi"], scores["ami"], scores["clusters"]
        (1.0, 1.0, 2)
    """
    check_choice("distance", distance, DISTANCES)
    check_choice("start", start, STARTS)
    restarts = check_count("restarts", restarts)
    seed = check_count("seed", seed, least=0)
    matrix = check_matrix("embeddings", embeddings)
    if len(matrix) < 2:
        raise ValueError("Clustering needs at least two rows of embeddings.")
    names, classes = np.unique(check_labels("labels", labels, len(matrix)), return_inverse=True)

    (points,) = points_of(distance, matrix)
    # Moving and scaling the points is nothing to k-means, and much to float32.
    frame = CoarseFrame(points, points, inner_product=False)
    framed = np.empty(matrix.shape, dtype=np.float32)
    for rows in blocks(len(matrix), ROWS_AT_ONCE):
        framed[rows] = frame.rows(points, rows)
    seeds = np.random.SeedSequence(seed).generate_state(restarts) >> 1
    agreements = []
    for number, one in enumerate(seeds):
        clusters = _clusters(framed, len(names), start, int(one), share(progress, number, restarts))
        agreements.append(_agreement(classes, clusters))
    scores = np.array(agreements)
    nmi, ami, chance = scores.mean(axis=0).tolist()
    return {
        "nmi": nmi,
        "nmi_std": float(scores[:, 0].std(ddof=1)) if restarts > 1 else 0.0,
        "ami": ami,
        "nmi_chance": chance,
        "clusters": len(names),
    }


def _clusters(
    points: np.ndarray, count: int, start: str, seed: int, progress: ProgressCallback
) -> np.ndarray:
    """Return each point's cluster, (N,), by whichever of two equal ways is quicker."""
    if count >= FEW_CLUSTERS or torch_device().type == "cuda":
        return kmeans(points, count, seed=seed, init=start, progress=progress)[0]
    from sklearn.cluster import KMeans

    progress(0, ITERATIONS)
    first = first_rows(points, count, start, seed, torch.device("cpu"))
    lloyd = KMeans(len(first), init=first, n_init=1, max_iter=ITERATIONS, tol=0, algorithm="lloyd")
    # Threads would sum in another order; and equal points may leave clusters empty.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clusters = np.asarray(lloyd.fit_predict(points), dtype=np.int64)
    progress(ITERATIONS, ITERATIONS)
    return clusters


def _agreement(classes: np.ndarray, clusters: np.ndarray) -> tuple[float, float, float]:
    """Return NMI, AMI and the chance floor of NMI."""
    _, clusters = np.unique(clusters, return_inverse=True)
    class_sizes, cluster_sizes = np.bincount(classes), np.bincount(clusters)
    total = len(classes)
    pairs, joint = np.unique(classes * len(cluster_sizes) + clusters, return_counts=True)
    a = class_sizes[pairs // len(cluster_sizes)]
    b = cluster_sizes[pairs % len(cluster_sizes)]
    perfect = len(pairs) == len(class_sizes) == len(cluster_sizes)
    if perfect and len(pairs) in (1, total):
        return 1.0, 1.0, 1.0
    if len(class_sizes) == 1 or len(cluster_sizes) == 1:
        return 0.0, 0.0, 0.0
    information = max(0.0, float(np.sum(joint / total * np.log(joint / a * (total / b)))))
    expected = expected_information(class_sizes, cluster_sizes)
    mean = (entropy(class_sizes) + entropy(cluster_sizes)) / 2
    chance = expected / mean
    if perfect:
        return 1.0, 1.0, chance
    return information / mean, (information - expected) / (mean - expected), chance


def expected_information(class_sizes: np.ndarray, cluster_sizes: np.ndarray) -> float:
    """Return the expected mutual information, in nats, of random groupings of these sizes.

    The sum over classes a and clusters b of Σ_c Pr(c) · c/N · log(N·c / ab), where c items are
    common to both with the hypergeometric probability Pr(c). It depends on the sizes alone, so
    each distinct pair of sizes is summed once. `sklearn.metrics.cluster` has the same sum over
    all pairs of groups, too slow for 11,316 classes.
    """
    total = int(class_sizes.sum())
    log_factorial = gammaln(np.arange(total + 1) + 1.0)
    expected = 0.0
    for a, classes in zip(*np.unique(class_sizes, return_counts=True), strict=True):
        for b, clusters in zip(*np.unique(cluster_sizes, return_counts=True), strict=True):
            c = np.arange(max(1, a + b - total), min(a, b) + 1)
            log_chance = (
                log_factorial[a]
                + log_factorial[b]
                + log_factorial[total - a]
                + log_factorial[total - b]
                - log_factorial[total]
                - log_factorial[c]
                - log_factorial[a - c]
                - log_factorial[b - c]
                - log_factorial[total - a - b + c]
            )
            information = c / total * np.log(c / a * (total / b))
            expected += classes * clusters * float(np.sum(np.exp(log_chance) * information))
    return expected
