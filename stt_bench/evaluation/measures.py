"""Which metrics of ranked lists there are, what they are called and how much of a list they need.

L items and R positives are in a query's list, hits of these among the first K:

* `recall`: Recall@K, also called CMC@K: 1 if hits > 0, else 0;
* `r_precision`, `map@r`, `mrr`: see `retrieval_metrics`;
* `map`: mean over the queries of AP = (1/R) Σ rel(i) · precision(i), i = 1 .. L;
* `precision`: Precision@K = hits / K, also where L < K;
* `map@k`: MAP@K = (1/d) Σ rel(i) · precision(i), i = 1 .. K, with d = min(K, R), or R or hits;
* `ndcg`: nDCG@K = Σ rel(i) / log₂(i + 1), i = 1 .. K, over the same sum for an ideal list.

Where items are tied each is its expectation over their orders, as in `ranking`.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from stt_bench.evaluation.checks import check_choice
from stt_bench.evaluation.gallery import Gallery
from stt_bench.evaluation.ranking import (
    TieGroups,
    per_distinct,
    positives_before,
    ranked_list_metrics,
    summed_precision,
    sums_of_queries,
    within_reach,
)

METRICS = ("recall", "r_precision", "map@r", "mrr", "map", "precision", "map@k", "ndcg")
USUAL = METRICS[:4]
OF_K = {"recall": "recall", "precision": "precision", "map@k": "map", "ndcg": "ndcg"}
DIVISORS = ("min", "relevant", "hits")


def check_metrics(metrics: Any, ks: Sequence[int]) -> tuple[str, ...]:
    """Return the names of `metrics` in the order of `METRICS`."""
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise ValueError(f"metrics must be a sequence of names, not {metrics!r:.80}.")
    asked = {check_choice("metric", one, METRICS) for one in metrics}
    if not names_of(tuple(asked), ks):
        raise ValueError("metrics and ks name nothing to measure: give a metric, and a K for it.")
    return tuple(one for one in METRICS if one in asked)


def names_of(metrics: Sequence[str], ks: Sequence[int]) -> tuple[str, ...]:
    """Return the names of the columns of `list_metrics`."""
    return tuple(
        name
        for one in metrics
        for name in ([f"{OF_K[one]}@{k}" for k in ks] if one in OF_K else [one])
    )


def depth_of(metrics: Sequence[str], ks: Sequence[int], gallery: Gallery) -> np.ndarray:
    """Return the position up to which each query's list counts, (Q,), at least 1."""
    depth = np.ones_like(gallery.relevant)
    if {"r_precision", "map@r"} & set(metrics):
        depth = np.maximum(depth, gallery.relevant)
    if {"precision", "map@k", "ndcg"} & set(metrics):
        depth = np.maximum(depth, max(ks, default=1))
    if "map" in metrics:
        depth = gallery.lengths
    return np.minimum(depth, gallery.lengths)


def list_metrics(
    groups: TieGroups, relevant: np.ndarray, ks: Sequence[int], metrics: Sequence[str], divisor: str
) -> np.ndarray:
    """Return the metrics of every query, (Q, M), in the order of `names_of`.

    Takes what `ranked_list_metrics` does, with groups up to the position of `depth_of`; `divisor`
    is that of MAP@K.
    """
    usual = ranked_list_metrics(groups, relevant, ks)
    columns = []
    first = found = np.empty(0, dtype=np.int64)
    if not set(metrics) <= set(USUAL):
        first = np.searchsorted(groups.query, np.arange(len(relevant)))
        found = positives_before(groups, first)
    for one in metrics:
        if one == "recall":
            columns += list(usual[:, : len(ks)].T)
        elif one in USUAL:
            columns.append(usual[:, len(ks) - 1 + USUAL.index(one)])
        elif one == "map":
            everything = np.full(len(relevant), int((groups.before + groups.size).max()))
            precision, _ = within_reach(groups, first, found, everything)
            columns.append(sums_of_queries(precision, first) / relevant)
        elif one == "ndcg":
            columns += [_ndcg(groups, relevant, k) for k in ks]
        elif one == "precision":
            for k in ks:
                _, hits = within_reach(groups, first, found, np.full(len(relevant), k))
                columns.append(hits / k)
        else:
            columns += [_map_at(groups, first, found, relevant, k, divisor) for k in ks]
    return np.stack(columns, axis=1)


def _ndcg(groups: TieGroups, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return nDCG@K of every query, (Q,)."""
    query, before, size, positives = groups
    start, end = np.minimum(before, k), np.minimum(before + size, k)
    longest = max(int(end.max()), int(np.minimum(relevant, k).max()))
    discounts = 1.0 / np.log2(np.arange(2, longest + 2))
    summed = np.concatenate(([0.0], np.cumsum(discounts)))
    gains = np.append(discounts, 0.0)[start]
    shared = size > 1
    gains[shared] = ((summed[end] - summed[start]) * (positives / size))[shared]
    gains[start == end] = 0.0
    return np.minimum(np.bincount(query, gains) / summed[np.minimum(relevant, k)], 1.0)


def _map_at(
    groups: TieGroups,
    first: np.ndarray,
    found: np.ndarray,
    relevant: np.ndarray,
    k: int,
    divisor: str,
) -> np.ndarray:
    """Return MAP@K of every query, (Q,)."""
    query, before, size, positives = groups
    precision, total = within_reach(groups, first, found, np.full(len(relevant), k))
    if divisor != "hits":
        by = np.minimum(relevant, k) if divisor == "min" else relevant
        return sums_of_queries(precision, first) / by
    # The group that K cuts decides how many hits there are, so it is counted case by case.
    cut = np.flatnonzero((before < k) & (before + size > k) & (positives < size))
    total[query[cut]], precision[cut] = found[cut], 0
    sums = sums_of_queries(precision, first)
    averages = sums / np.maximum(total, 1)
    if len(cut):
        drawn = k - before[cut]
        inverse, share = per_distinct(
            _over_hits, *(c[cut] for c in (before, size, positives, found)), drawn
        ).T
        averages[query[cut]] = sums[query[cut]] * inverse + share
    return averages


def _over_hits(n: int, t: int, p: int, c: int, m: int) -> tuple[float, float]:
    """Return E[1 / hits] and E[Σ relevance × precision / hits] over a group's first m places.

    X of the p positives are among them, with probability C(p, x) C(t−p, m−x) / C(t, m); given x
    the m places are a group of their own. Without a hit both are 0.
    """
    x = np.arange(max(0, m - (t - p)), min(p, m) + 1)
    steps = [(p - i) * (m - i) / ((i + 1) * (t - p - m + i + 1)) for i, _ in pairwise(x.tolist())]
    logs = np.concatenate(([0.0], np.cumsum(np.log(steps))))
    chances = np.exp(logs - logs.max())
    chances /= chances.sum()
    x, chances = x[c + x > 0], chances[c + x > 0]
    inverse = chances / (c + x)
    if m == 1:
        inside = x * (c + 1) / (n + 1)
    else:
        inside = summed_precision(*np.broadcast_arrays(n, m, x, c, m))
    return float(inverse.sum()), float((inverse * inside).sum())
