"""Retrieval: the metrics of ranked lists, exact and in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from stt_bench.evaluation.backends import resolve_backend
from stt_bench.evaluation.callback import ProgressCallback, quietly
from stt_bench.evaluation.checks import check_choice, check_count, check_ks
from stt_bench.evaluation.measures import (
    DIVISORS,
    USUAL,
    check_metrics,
    depth_of,
    list_metrics,
    names_of,
)
from stt_bench.evaluation.query_scores import AVERAGES, QueryScores
from stt_bench.evaluation.search import NeighborSearch
from stt_bench.evaluation.space import Rules, search_space

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
    query_groups: ArrayLike | None = None,
    gallery_groups: ArrayLike | None = None,
    groups_apply_to: str = "label",
    junk: ArrayLike | None = None,
    metrics: Sequence[str] = USUAL,
    average: str = "query",
    map_at_k: str = "min",
    ks: Sequence[int] = (1, 2, 4, 8, 16),
    distance: str = "euclidean",
    backend: str = "auto",
    memory_mib: int = MEMORY_MIB,
    sample: int | None = None,
    seed: int = 0,
    progress: ProgressCallback = quietly,
) -> dict[str, float]:
    """Rank a gallery by its distance to every query, and score the ranked lists.

    Without `gallery`, every item queries all the others. With it, every row of
    `embeddings` queries the whole gallery, except that a query never retrieves the gallery
    item of its own id where `query_ids` and `gallery_ids` are given: that is how sets are
    scored whose items are query, gallery or both.

    Re-identification removes from a query's list what its own camera saw of its identity: with
    groups (a camera, a sequence, a video), an item of the query's label and group is in no list
    of that query, as if it were not in the gallery; with `groups_apply_to="all"` an item of the
    query's group, whatever its label. Junk is in no list at all.

    For a query with R positives (items of its list that have its label):

    * Recall@K = 1 if a positive is among the K nearest, else 0; re-identification calls it CMC@K;
    * R-Precision = (positives among the R nearest) / R;
    * MAP@R = (1/R) Σ rel(i) · precision(i), i = 1 .. R (Musgrave, Belongie and Lim, 'A Metric
      Learning Reality Check', ECCV 2020);
    * MRR = 1 / (rank of the nearest positive), over the whole list;
    * mAP, Precision@K, MAP@K and nDCG@K as `stt_bench/evaluation/measures.py` defines them.

    An item may have several labels: it is a positive where it shares one with the query.

    Each is averaged over the queries that have a positive; the others are only counted. Items
    at equal distance count as their expectation over a random order, so a collapsed embedding
    scores chance and the order of the data never matters. Ranks follow from float64 distances
    of the coordinates as they are given; they do not depend on `backend`, `memory_mib` or
    threads. Where all items are of one class, all of them but Precision@K are 1 by construction.

    Args:
        embeddings: (N, D) finite real numbers; float64 and integers up to 2**53 are read as they
            are. A memory map is read in blocks.
        labels: (N,) integers or strings, floats that are whole numbers count as integers; or for
            each item a list, tuple, set or array of them.
        gallery: (G, D), if it is another set than the queries.
        gallery_labels: (G,), of the kind of `labels`.
        query_ids: (N,) distinct integers or strings.
        gallery_ids: (G,) distinct, of the kind of `query_ids`.
        query_groups: (N,) integers or strings; without `gallery`, those of all items.
        gallery_groups: (G,), of the kind of `query_groups`.
        groups_apply_to: `label` or `all`.
        junk: (G,) booleans.
        metrics: some of `recall`, `r_precision`, `map@r`, `mrr`, `map`, `precision`, `map@k` and
            `ndcg`. Only `map` needs whole lists, which take longer.
        average: `query`, or `class`: the mean over labels of the means over their queries.
        map_at_k: what MAP@K divides by: `min` (K or R, the smaller), `relevant` (R) or `hits`.
        ks: the cut-offs K; K beyond the list means the whole list.
        distance: `euclidean`, or `cosine` (1 − cosine similarity, which is 0 for a zero row).
        backend: `auto`, `torch-cpu`, `torch-cuda`, `faiss-cpu`, `faiss-gpu` or `dense`
            (`stt_bench.evaluation.backends.resolve_backend`).
        memory_mib: memory for the working tables and a copy of the gallery, in float32 and, for
            long lists, in float64; a gallery that does not fit in half of it is read again for
            every block of queries.
        sample: how many queries, drawn from those that have a positive, search the whole gallery;
            None for all of them.
        seed: of the sample; a larger one of the same seed holds the smaller.
        progress: is told, now and then, how many queries are done, and how many there are.

    Returns:
        `recall@K` for every K, `r_precision`, `map@r`, `mrr`, `map`, `precision@K`, `map@K`,
        `ndcg@K` (all in [0, 1]), so far as they are asked for; `queries` (those with a positive,
        which are averaged over) and `queries_without_positive`. Of a sample also `sampled_from`,
        the queries that it was drawn from, and `standard_error_<metric>` (`QueryScores`).

    Raises:
        ValueError: for NaN or infinite rows, shapes or lengths that do not fit, empty input,
            repeated ids, an unknown choice, nothing to measure, K < 1, no query with a positive,
            numbers too far apart for `euclidean` in float64, or arguments of a wrong type.

    Example:
        >>> scores = retrieval_metrics([[0.0], [1.0], [5.0], [6.0]], ["a", "a", "b", "b"], ks=[1])
        >>> scores["recall@1"], scores["map@r"], scores["queries"]
        (1.0, 1.0, 4)
    """
    check_choice("average", average, AVERAGES)
    return retrieval_scores(
        embeddings,
        labels,
        gallery=gallery,
        gallery_labels=gallery_labels,
        query_ids=query_ids,
        gallery_ids=gallery_ids,
        query_groups=query_groups,
        gallery_groups=gallery_groups,
        groups_apply_to=groups_apply_to,
        junk=junk,
        metrics=metrics,
        map_at_k=map_at_k,
        ks=ks,
        distance=distance,
        backend=backend,
        memory_mib=memory_mib,
        sample=sample,
        seed=seed,
        progress=progress,
    ).metrics(average)


def retrieval_scores(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    gallery: ArrayLike | None = None,
    gallery_labels: ArrayLike | None = None,
    query_ids: ArrayLike | None = None,
    gallery_ids: ArrayLike | None = None,
    query_groups: ArrayLike | None = None,
    gallery_groups: ArrayLike | None = None,
    groups_apply_to: str = "label",
    junk: ArrayLike | None = None,
    metrics: Sequence[str] = USUAL,
    map_at_k: str = "min",
    ks: Sequence[int] = (1, 2, 4, 8, 16),
    distance: str = "euclidean",
    backend: str = "auto",
    memory_mib: int = MEMORY_MIB,
    sample: int | None = None,
    seed: int = 0,
    progress: ProgressCallback = quietly,
) -> QueryScores:
    """Return what `retrieval_metrics` averages: the metrics of every query.

    Takes the same arguments, but `average`, and raises the same errors.

    Example:
        >>> scores = retrieval_scores([[0.0], [1.0], [3.0], [9.0]], ["a", "a", "b", "b"], ks=[1])
        >>> scores.values[:, 0].tolist()
        [1.0, 1.0, 0.0, 1.0]
        >>> scores.per_class()["b"]["recall@1"]
        0.5
    """
    resolved = resolve_backend(backend)
    cutoffs = check_ks(ks)
    asked = check_metrics(metrics, cutoffs)
    check_choice("map_at_k", map_at_k, DIVISORS)
    memory = min(check_count("memory_mib", memory_mib), MOST_MIB) * MIB
    drawn = None if sample is None else check_count("sample", sample, least=2)
    rng = np.random.default_rng(check_count("seed", seed, least=0))
    rules = Rules(query_groups, gallery_groups, junk, groups_apply_to)
    queries, held, sets = search_space(
        embeddings, labels, gallery, gallery_labels, query_ids, gallery_ids, distance, rules
    )
    held.depth = depth_of(asked, cutoffs, held)
    search = NeighborSearch(queries, held, resolved, memory)
    wanted = np.flatnonzero(held.relevant > 0)
    sampled_from = None
    if drawn is not None and drawn < len(wanted):
        sampled_from = len(wanted)
        wanted = np.sort(rng.permutation(wanted)[:drawn])
    names = names_of(asked, cutoffs)
    values = np.full((len(queries), len(names)), np.nan)
    for block, groups in search.tie_groups(wanted, lambda done: progress(done, len(wanted))):
        values[block] = list_metrics(groups, held.relevant[block], cutoffs, asked, map_at_k)
    owners = None if sets.members is None else sets.owners
    return QueryScores(names, values, sets.names, owners, sampled_from)
