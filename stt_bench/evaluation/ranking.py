"""Metrics of ranked lists in which equally distant items stand in random order.

A ranked list is given as its *tie groups that hold a positive*, nearest first. One group is
(before, size, positives): n items are strictly nearer, t items share this distance, p of these
are positives. All other items earn nothing, so nothing else is needed. Every metric is the
closed-form expectation over the orders of the ties; without ties it is the usual number.
"""

from collections.abc import Callable, Sequence
from math import comb
from typing import Any, NamedTuple

import numpy as np
from scipy.special import digamma


class TieGroups(NamedTuple):
    """The tie groups of many queries, each an array (T,), ordered by query and by distance.

    `query` counts the queries from 0, of which every one has a group.
    """

    query: np.ndarray
    before: np.ndarray
    size: np.ndarray
    positives: np.ndarray


def find_tie_groups(
    distances: np.ndarray, sizes: np.ndarray, positives: np.ndarray, depth: np.ndarray
) -> TieGroups:
    """Return the tie groups of ranked points, each of which stands for some items.

    Args:
        distances: (Q, L) the distances of the points, ascending in every row.
        sizes: (Q, L) how many items a point stands for; 0 leaves it out.
        positives: (Q, L) how many of these are positives; at least one in every row.
        depth: (Q,) the position up to which a list counts, R for MAP@R. Beyond it only the first
            group does, so the others are dropped.
    """
    count, width = distances.shape
    new = np.ones(distances.shape, dtype=bool)
    np.not_equal(distances[:, 1:], distances[:, :-1], out=new[:, 1:])
    bounds = np.append(np.flatnonzero(new), distances.size)
    groups = np.count_nonzero(new, axis=1)
    items, hits = (_sums_before(table) for table in (sizes, positives))
    at = items[bounds]
    size, found = np.diff(at), np.diff(hits[bounds])
    before = at[:-1] - np.repeat(items[np.arange(count) * width], groups)
    query = np.repeat(np.arange(count), groups)
    held = found > 0
    kept = held & (before < np.repeat(depth, groups))
    # Where the first group that holds a positive lies beyond the depth, it is kept all the same.
    beyond = np.flatnonzero(np.bincount(query[kept], minlength=count) == 0)
    if len(beyond):
        places = np.flatnonzero(held)
        kept[places[np.searchsorted(query[places], beyond)]] = True
    if not kept.all():
        query, before, size, found = (one[kept] for one in (query, before, size, found))
    return TieGroups(query, before, size, found)


def _sums_before(table: np.ndarray) -> np.ndarray:
    """Return the sums of the first 0, 1, 2 ... entries of a table, row by row."""
    sums = np.zeros(table.size + 1, dtype=np.int64)
    np.cumsum(table, out=sums[1:])
    return sums


def ranked_list_metrics(groups: TieGroups, relevant: np.ndarray, ks: Sequence[int]) -> np.ndarray:
    """Return the metrics of every query, shape (Q, len(ks) + 3).

    Args:
        groups: the tie groups of Q queries.
        relevant: (Q,) the number R >= 1 of positives of each query.
        ks: the cut-offs of Recall@K.

    The columns are Recall@K for each K, R-Precision, MAP@R and the reciprocal rank.
    """
    query, before, size, positives = groups
    first = np.searchsorted(query, np.arange(len(relevant)))
    found = positives_before(groups, first)
    precision, share = within_reach(groups, found, relevant[query])
    n, t, p = before[first], size[first], positives[first]
    columns = [(n < k).astype(np.float64) for k in ks]
    reciprocal = 1.0 / (n + 1)
    drawn_from = np.flatnonzero(t > p)
    if len(drawn_from):
        some = n[drawn_from], t[drawn_from], p[drawn_from]
        for column, k in zip(columns, ks, strict=True):
            column[drawn_from] = per_distinct(_hit, *some, np.full(len(drawn_from), k))
        reciprocal[drawn_from] = per_distinct(_reciprocal_rank, *some)
    # The sum of truths is exact in any order; of numbers bincount keeps it.
    whole = share.dtype == bool
    hits = np.add.reduceat(share, first, dtype=np.int64) if whole else np.bincount(query, share)
    precisions = np.bincount(query, precision)
    columns += [hits / relevant, precisions / relevant, reciprocal]
    return np.stack(columns, axis=1)


def positives_before(groups: TieGroups, first: np.ndarray) -> np.ndarray:
    """Return how many positives stand before each group, (T,), given each query's first group."""
    query, _, size, positives = groups
    if np.all(size <= 1):
        return np.arange(len(query)) - first[query]
    found = np.cumsum(positives) - positives
    return found - found[first][query]


def within_reach(
    groups: TieGroups, found: np.ndarray, reach: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return each group's Σ E[relevance × precision] and Σ E[relevance] up to a position, (T,).

    `reach` (T,) is that position of each group's list; `found` (T,) the positives before it.
    """
    _, before, size, positives = groups
    # A group of one is what it is; expectations are for the others.
    within = before < reach
    precision = np.reciprocal(before + 1.0)
    precision *= found - before
    precision += 1.0
    precision *= within
    shared = np.flatnonzero(size > 1)
    if not len(shared):
        return precision, within
    drawn = np.clip(reach - before, 0, size)
    precision[shared] = summed_precision(
        *(column[shared] for column in (before, size, positives, found, drawn))
    )
    return precision, positives * (drawn / size)


def _hit(n: int, t: int, p: int, k: int) -> float:
    """Return the probability that a positive is among the first `k`.

    All r = k − n places that the group gets are negatives with probability
    C(t−p, r) / C(t, r) = C(t−r, p) / C(t, p); big integers make it exact.
    """
    r = min(max(k - n, 0), t)
    fewer, more = min(p, r), max(p, r)
    return 1.0 - comb(t - more, fewer) / comb(t, fewer)


def _reciprocal_rank(n: int, t: int, p: int) -> float:
    """Return E[1 / rank of the first positive] = Σⱼ Pr(first at j) / (n + j).

    Pr(first at j) = C(t−j, p−1) / C(t, p), j = 1 .. t−p+1; each from the one before it.
    """
    j = np.arange(1, t - p + 2)
    steps = (t - p + 1 - j[:-1]) / (t - j[:-1])
    chances = p / t * np.concatenate(([1.0], np.cumprod(steps)))
    return float((chances / (n + j)).sum())


def summed_precision(
    n: np.ndarray, t: np.ndarray, p: np.ndarray, c: np.ndarray, m: np.ndarray
) -> np.ndarray:
    """Return Σ E[relevance × precision] over the first m of a group's t places.

    With n items and c positives before the group, place j adds (α(c+1) + β(j−1)) / (n+j), where
    α = p/t and β = p(p−1) / t(t−1). As (j−1) / (n+j) = 1 − (n+1) / (n+j), the sum is
    βm + (α(c+1) − β(n+1))·H with H = Σ 1/(n+j). Written so, a list of positives alone
    (c = n, p = t) yields exactly m.
    """
    alpha = p / t
    beta = p * (p - 1) / (t * (t - 1))
    last = n + m + 1
    # Long lists ask for the same places again and again.
    psi = digamma(np.arange(last.max() + 1.0)).take if last.size > last.max() else digamma
    harmonic = np.where(m == 1, 1.0 / (n + 1), psi(last) - psi(n + 1))
    return beta * m + (alpha * (c + 1) - beta * (n + 1)) * harmonic


def per_distinct(function: Callable[..., Any], *columns: np.ndarray) -> np.ndarray:
    """Return `function` of every row of `columns`, called once for each distinct row."""
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    values = {row: function(*row) for row in set(rows)}
    return np.array([values[row] for row in rows])
