"""Retrieval: Recall@K, R-Precision, MAP@R and MRR, exact and in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from stt_bench.evaluation.backends import resolve_backend
from stt_bench.evaluation.callback import ProgressCallback, quietly
from stt_bench.evaluation.checks import (
    check_choice,
    check_count,
    check_ks,
    check_labels,
    check_matrix,
    check_same_kind,
)
from stt_bench.evaluation.exact import DISTANCES, Points, points_of
from stt_bench.evaluation.gallery import Gallery
from stt_bench.evaluation.query_scores import QueryScores
from stt_bench.evaluation.ranking import ranked_list_metrics
from stt_bench.evaluation.search import NeighborSearch

MEMORY_MIB = 256
MOST_MIB = 2**30  # more is no more
MIB = 2**20


def retrieval_metrics(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    gallery: ArrayLike | None = None,
    gallery_labels: ArrayLike | None = None,
    query_ids: ArrayLike | None = None,
    gallery_ids: ArrayLike | None = None,
    ks: Sequence[int] = (1, 2, 4, 8, 16),
    distance: str = "euclidean",
    backend: str = "auto",
    memory_mib: int = MEMORY_MIB,
    progress: ProgressCallback = quietly,
) -> dict[str, float]:
    """Rank a gallery by its distance to every query, and score the ranked lists.

    Without `gallery`, every item queries all the others. With it, every row of
    `embeddings` queries the whole gallery, except that a query never retrieves the gallery
    item of its own id where `query_ids` and `gallery_ids` are given: that is how sets are
    scored whose items are query, gallery or both.

    For a query with R positives (gallery items of its label, itself excluded):

    * Recall@K = 1 if a positive is among the K nearest, else 0;
    * R-Precision = (positives among the R nearest) / R;
    * MAP@R = (1/R) Σ rel(i) · precision(i), i = 1 .. R (Musgrave, Belongie and Lim, 'A Metric
      Learning Reality Check', ECCV 2020);
    * MRR = 1 / (rank of the nearest positive), over the whole gallery.

    Each is averaged over the queries that have a positive; the others are only counted. Items
    at equal distance count as their expectation over a random order, so a collapsed embedding
    scores chance and the order of the data never matters. Ranks follow from float64 distances
    of the coordinates as they are given; they do not depend on `backend`, `memory_mib` or
    threads. Where all items are of one class, every metric is 1 by construction.

    Args:
        embeddings: (N, D) finite real numbers; float64 and integers up to 2**53 are read as they
            are. A memory map is read in blocks.
        labels: (N,) integers or strings; floats that are whole numbers count as integers.
        gallery: (G, D), if it is another set than the queries.
        gallery_labels: (G,), of the kind of `labels`.
        query_ids: (N,) distinct integers or strings.
        gallery_ids: (G,) distinct, of the kind of `query_ids`.
        ks: the cut-offs of Recall@K; K beyond the gallery means the whole gallery.
        distance: `euclidean`, or `cosine` (1 − cosine similarity, which is 0 for a zero row).
        backend: `auto`, `torch-cpu`, `torch-cuda`, `faiss-cpu`, `faiss-gpu` or `dense`
            (`stt_bench.evaluation.backends.resolve_backend`).
        memory_mib: memory for the working tables and a copy of the gallery, in float32 and, for
            long lists, in float64; a gallery that does not fit in half of it is read again for
            every block of queries.
        progress: is told, now and then, how many queries are done, and how many there are.

    Returns:
        `recall@K` for every K, `r_precision`, `map@r`, `mrr` (all in [0, 1]), `queries`
        (those averaged over) and `queries_without_positive`.

    Raises:
        ValueError: for NaN or infinite rows, shapes or lengths that do not fit, empty input,
            repeated ids, an unknown distance or backend, K < 1, no query with a positive, numbers
            too far apart for `euclidean` in float64, or arguments of a wrong type.

    Example:
        >>> scores = retrieval_metrics([[0.0], [1.0], [5.0], [6.0]], ["a", "a", "b", "b"], ks=[1])
        >>> scores["recall@1"], scores["map@r"], scores["queries"]
        (1.0, 1.0, 4)
    """
    return retrieval_scores(
        embeddings,
        labels,
        gallery=gallery,
        gallery_labels=gallery_labels,
        query_ids=query_ids,
        gallery_ids=gallery_ids,
        ks=ks,
        distance=distance,
        backend=backend,
        memory_mib=memory_mib,
        progress=progress,
    ).metrics()


def retrieval_scores(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    gallery: ArrayLike | None = None,
    gallery_labels: ArrayLike | None = None,
    query_ids: ArrayLike | None = None,
    gallery_ids: ArrayLike | None = None,
    ks: Sequence[int] = (1, 2, 4, 8, 16),
    distance: str = "euclidean",
    backend: str = "auto",
    memory_mib: int = MEMORY_MIB,
    progress: ProgressCallback = quietly,
) -> QueryScores:
    """Return what `retrieval_metrics` averages: the metrics of every query.

    Takes the same arguments and raises the same errors.

    Example:
        >>> scores = retrieval_scores([[0.0], [1.0], [3.0], [9.0]], ["a", "a", "b", "b"], ks=[1])
        >>> scores.values[:, 0].tolist()
        [1.0, 1.0, 0.0, 1.0]
        >>> scores.per_class()["b"]["recall@1"]
        0.5
    """
    resolved = resolve_backend(backend)
    cutoffs = check_ks(ks)
    memory = min(check_count("memory_mib", memory_mib), MOST_MIB) * MIB
    queries, held, query_labels = search_space(
        embeddings, labels, gallery, gallery_labels, query_ids, gallery_ids, distance
    )
    search = NeighborSearch(queries, held, resolved, memory)
    wanted = np.flatnonzero(held.relevant > 0)
    values = np.full((len(queries), len(cutoffs) + 3), np.nan)
    for block, groups in search.tie_groups(wanted, lambda done: progress(done, len(wanted))):
        values[block] = ranked_list_metrics(groups, held.relevant[block], cutoffs)
    return QueryScores(metric_names(cutoffs), values, query_labels)


def metric_names(ks: Sequence[int]) -> tuple[str, ...]:
    """Return the names of the columns of `ranked_list_metrics`."""
    return (*(f"recall@{k}" for k in ks), "r_precision", "map@r", "mrr")


def search_space(
    embeddings: ArrayLike,
    labels: ArrayLike,
    gallery: ArrayLike | None,
    gallery_labels: ArrayLike | None,
    query_ids: ArrayLike | None,
    gallery_ids: ArrayLike | None,
    distance: str,
) -> tuple[Points, Gallery, np.ndarray]:
    """Return the checked queries, the gallery, and the queries' labels; some have a positive."""
    check_choice("distance", distance, DISTANCES)
    query_matrix = check_matrix("embeddings", embeddings)
    query_labels = check_labels("labels", labels, len(query_matrix))
    if gallery is None:
        (queries,) = points_of(distance, query_matrix)
        for name, value in [
            ("gallery_labels", gallery_labels),
            ("query_ids", query_ids),
            ("gallery_ids", gallery_ids),
        ]:
            if value is not None:
                raise ValueError(f"{name} needs gallery.")
        _, codes = np.unique(query_labels, return_inverse=True)
        held = Gallery(queries, codes, codes, np.arange(len(codes)))
    else:
        if gallery_labels is None:
            raise ValueError("gallery needs gallery_labels.")
        gallery_matrix = check_matrix("gallery", gallery)
        if gallery_matrix.shape[1] != query_matrix.shape[1]:
            raise ValueError(
                f"gallery has {gallery_matrix.shape[1]} dimensions "
                f"and embeddings has {query_matrix.shape[1]}."
            )
        targets = check_labels("gallery_labels", gallery_labels, len(gallery_matrix))
        check_same_kind("labels", query_labels, "gallery_labels", targets)
        _, codes = np.unique(np.concatenate([query_labels, targets]), return_inverse=True)
        queries, held_points = points_of(distance, query_matrix, gallery_matrix)
        held = Gallery(
            held_points,
            codes[len(query_labels) :],
            codes[: len(query_labels)],
            _own_rows(query_ids, gallery_ids, len(query_matrix), len(gallery_matrix)),
        )
    if not held.relevant.any():
        raise ValueError("No query has a positive: no other item of the gallery has its label.")
    return queries, held, query_labels


def _own_rows(
    query_ids: ArrayLike | None, gallery_ids: ArrayLike | None, queries: int, gallery: int
) -> np.ndarray:
    """Return for each query the gallery row of its own id, -1 where there is none."""
    if query_ids is None and gallery_ids is None:
        return np.full(queries, -1)
    if query_ids is None or gallery_ids is None:
        raise ValueError("query_ids and gallery_ids go together.")
    wanted = check_labels("query_ids", query_ids, queries)
    held = check_labels("gallery_ids", gallery_ids, gallery)
    check_same_kind("query_ids", wanted, "gallery_ids", held)
    for name, ids in (("query_ids", wanted), ("gallery_ids", held)):
        distinct, counts = np.unique(ids, return_counts=True)
        if len(distinct) < len(ids):
            raise ValueError(f"{name} repeats '{distinct[counts.argmax()]}'.")
    order = np.argsort(held)
    places = np.minimum(np.searchsorted(held, wanted, sorter=order), gallery - 1)
    rows = order[places]
    return np.where(held[rows] == wanted, rows, -1)
