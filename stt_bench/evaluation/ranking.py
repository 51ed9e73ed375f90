"""Metrics of ranked lists in which equally distant items stand in random order.

A ranked list is given as its *tie groups that hold a positive*, nearest first. One group is
(before, size, positives): n items are strictly nearer, t items share this distance, p of these
are positives. All other items earn nothing, so nothing else is needed. Every metric is the
closed-form expectation over the orders of the ties; without ties it is the usual number.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import comb
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import digamma

from stt_bench.evaluation.checks import blocks

EXACT_BITS = 53  # of whole numbers that float64 holds
GROUPS_AT_ONCE = 2**13  # what a processor keeps at hand
MOST_KEPT = 2**17  # numbers of a function
FEW = 64  # items of a group


class TieGroups(NamedTuple):
    """The tie groups of many queries, each an array (T,), ordered by query and by distance.

    `query` counts the queries from 0, of which every one has a group.
    """

    query: np.ndarray
    before: np.ndarray
    size: np.ndarray
    positives: np.ndarray


def tied_neighbours(distances: np.ndarray) -> np.ndarray:
    """Return which distances (Q, L), ascending in every row, equal the next one, (Q, L - 1)."""
    return np.equal(distances[:, 1:], distances[:, :-1])


def find_tie_groups(
    tied: np.ndarray, sizes: np.ndarray, positives: np.ndarray, depth: np.ndarray
) -> TieGroups:
    """Return the tie groups of ranked points, each of which stands for some items.

    Args:
        tied: (Q, L - 1) which points are as far as the next one, as `tied_neighbours` has it.
        sizes: (Q, L) how many items a point stands for; 0 leaves it out.
        positives: (Q, L) how many of these are positives; at least one in every row.
        depth: (Q,) the position up to which a list counts, R for MAP@R. Beyond it only the first
            group does, so the others are dropped.
    """
    count, width = sizes.shape
    ends = np.ones((count, width), dtype=bool)
    np.logical_not(tied, out=ends[:, :-1])
    last = np.flatnonzero(ends)
    first = np.searchsorted(last, width * np.arange(count))
    # Sums along each row, of items and of positives in the halves of one number; torch takes half
    # the time of NumPy.
    both = sizes.astype(np.int64)
    both <<= 32
    both += positives
    through = torch.from_numpy(both).cumsum_(1).numpy().take(last)
    before = np.empty_like(through)
    before[1:] = through[:-1]
    before[first] = 0
    through -= before
    held = (through & (2**32 - 1)) > 0
    limit = np.repeat(np.left_shift(depth, 32, dtype=np.int64), _counts(first, len(before)))
    kept = held & (before < limit)
    places = np.flatnonzero(kept)  # which take more quickly than truths do
    counts = _counts(np.searchsorted(places, first), len(places))
    # Where the first group that holds a positive lies beyond the depth, it is kept all the same.
    beyond = np.flatnonzero(counts == 0)
    if len(beyond):
        places = np.flatnonzero(held)
        kept[places[np.searchsorted(places, first[beyond])]] = True
        places = np.flatnonzero(kept)
        counts[beyond] = 1
    query = np.repeat(np.arange(count), counts)
    before, both = before.take(places), through.take(places)
    return TieGroups(query, before >> 32, both >> 32, both & (2**32 - 1))


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
    precision, hits = within_reach(groups, first, found, relevant)
    n, t, p = before[first], size[first], positives[first]
    columns = [(n < k).astype(np.float64) for k in ks]
    reciprocal = 1.0 / (n + 1)
    drawn_from = np.flatnonzero(t > p)
    if len(drawn_from):
        some = n[drawn_from], t[drawn_from], p[drawn_from]
        each = np.repeat(np.array(ks, dtype=np.int64), len(drawn_from))  # all K at once
        n, t, p = (np.tile(x, len(ks)) for x in some)
        chances = _hits(n, t, p, each)
        for column, chance in zip(columns, chances.reshape(len(ks), len(drawn_from)), strict=True):
            column[drawn_from] = chance
        reciprocal[drawn_from] = per_distinct(_reciprocal_rank, *some)
    columns += [hits / relevant, sums_of_queries(precision, first) / relevant, reciprocal]
    return np.stack(columns, axis=1)


def positives_before(groups: TieGroups, first: np.ndarray) -> np.ndarray:
    """Return how many positives stand before each group, (T,), given each query's first group."""
    counts = _counts(first, len(groups.query))
    if _largest(groups.size) <= 1:
        found = np.arange(len(groups.query))
        found -= np.repeat(first, counts)
        return found
    found = torch.from_numpy(groups.positives).cumsum(0).numpy()
    found -= groups.positives
    found -= np.repeat(found[first], counts)
    return found


def within_reach(
    groups: TieGroups, first: np.ndarray, found: np.ndarray, reach: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return Σ E[relevance × precision] of each group (T,) and Σ E[relevance] of each query (Q,).

    Both up to a position of each query's list, `reach` (Q,). `first` (Q,) is the first group of
    each query; `found` (T,) are the positives before each group.
    """
    _, before, size, positives = groups
    counts = _counts(first, len(before))
    within: np.ndarray | None = None
    last = first + counts - 1
    if np.any(before[last] >= reach):  # most lists end where they are reached up to
        within = before < np.repeat(reach, counts)
        last = first + np.maximum(np.add.reduceat(within, first, dtype=np.int64), 1) - 1
    # Of the groups that are reached all but the last count whole.
    drawn = np.clip(reach - before[last], 0, size[last])
    shared = _largest(size) > 1
    places = size
    if shared:
        places = size.copy() if within is None else size * within
        places[last] = drawn
    if shared:
        precision = np.empty(len(before))
        for part in blocks(len(before), GROUPS_AT_ONCE):
            precision[part] = _summed(*(x[part] for x in (before, size, positives, found, places)))
    else:
        precision = _precision(before, found)
        if within is not None:
            precision *= within
    held, p = size[last], positives[last]
    return precision, found[last] + np.where(p == held, drawn, p * (drawn / held))


def sums_of_queries(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the sum of each query's values (T,), one after another, from its `first` on, (Q,)."""
    counts = torch.from_numpy(_counts(first, len(values)))
    # As np.bincount would sum them, in a quarter of its time.
    sums = torch.segment_reduce(torch.from_numpy(values), "sum", lengths=counts)
    return np.asarray(sums)


def _largest(sizes: np.ndarray) -> int:
    """Return the largest of sizes (T,), which may be one number, broadcast."""
    return int((sizes if sizes.strides[0] else sizes[:1]).max(initial=0))


def _counts(first: np.ndarray, total: int) -> np.ndarray:
    """Return how many groups each query has, given where its first one is among all."""
    return np.append(first[1:], total) - first


def _hits(n: np.ndarray, t: np.ndarray, p: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return the probability that a positive is among the first `k`, all (Q,), of each group.

    All r = k − n places that the group gets are negatives with probability
    C(t−p, r) / C(t, r) = C(t−r, p) / C(t, p); big integers make it exact where int64 does not.
    """
    r = np.clip(k - n, 0, t)
    fewer, more = np.minimum(p, r), np.maximum(p, r)
    chances = np.empty(len(n))
    small = fewer * np.log2(t) < EXACT_BITS
    few, sizes, rest = fewer[small], t[small], (t - more)[small]
    ways = of = np.ones(len(few), dtype=np.int64)
    for i in range(int(few.max(initial=0))):
        ways = ways * np.where(i < few, np.maximum(rest - i, 0), 1)
        of = of * np.where(i < few, sizes - i, 1)
    chances[small] = 1.0 - ways / of
    if not small.all():
        large = (column[~small] for column in (t, more, fewer))
        chances[~small] = per_distinct(lambda t, m, f: 1.0 - comb(t - m, f) / comb(t, f), *large)
    return chances


def _reciprocal_rank(n: int, t: int, p: int) -> float:
    """Return E[1 / rank of the first positive] = Σⱼ Pr(first at j) / (n + j).

    Pr(first at j) = C(t−j, p−1) / C(t, p), j = 1 .. t−p+1; each from the one before it.
    """
    j = np.arange(1, t - p + 2)
    if p == 1:  # it is as likely at each
        return float((p / t / (n + j)).sum())
    steps = (t - p + 1 - j[:-1]) / (t - j[:-1])
    chances = p / t * np.concatenate(([1.0], np.cumprod(steps)))
    return float((chances / (n + j)).sum())


def _precision(n: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return the precision (c + 1) / (n + 1) at a positive after n items and c positives.

    Written as 1 + (c − n) / (n + 1): a list of positives alone yields exactly 1.
    """
    most = int(n.max(initial=0))
    # Long lists ask for the same places again and again.
    precision = _inverses(most.bit_length()).take(n) if most < MOST_KEPT else 1.0 / (n + 1.0)
    precision *= c - n
    precision += 1.0
    return precision


def _summed(
    n: np.ndarray, t: np.ndarray, p: np.ndarray, c: np.ndarray, m: np.ndarray
) -> np.ndarray:
    """Return what `summed_precision` does, also for groups of one, which are what they are."""
    if np.array_equal(t, p):
        return _of_positives(n, c, m)
    shared = t > 1
    if 2 * np.count_nonzero(shared) > len(t):
        sums = summed_precision(n, t, p, c, m)
        alone = np.flatnonzero(~shared)
        sums[alone] = _precision(n[alone], c[alone]) * m[alone]
        return sums
    sums = _precision(n, c)
    sums *= m
    some = np.flatnonzero(shared)
    if len(some):
        sums[some] = summed_precision(*(x.take(some) for x in (n, t, p, c, m)))
    return sums


def summed_precision(
    n: np.ndarray, t: np.ndarray, p: np.ndarray, c: np.ndarray, m: np.ndarray
) -> np.ndarray:
    """Return Σ E[relevance × precision] over the first m of a group's t > 1 places.

    With n items and c positives before the group, place j adds (α(c+1) + β(j−1)) / (n+j), where
    α = p/t and β = p(p−1) / t(t−1). As (j−1) / (n+j) = 1 − (n+1) / (n+j), the sum is
    βm + (α(c+1) − β(n+1))·H with H = Σ 1/(n+j). Written so, a list of positives alone
    (c = n, p = t) yields exactly m.
    """
    start = n + 1
    harmonic = _harmonic(start, m)
    if t.max(initial=0) < FEW:  # so are they of groups of few items
        code = t * FEW + p
        alpha, beta = (table.take(code) for table in _few_shares())
    else:
        alpha, beta = _shares(t.astype(np.float64), p.astype(np.float64))
    start, c, m = (one.astype(np.float64) for one in (start, c, m))
    c += 1
    c *= alpha
    start *= beta
    c -= start
    c *= harmonic
    m *= beta
    c += m
    return c


def _of_positives(n: np.ndarray, c: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Return what `summed_precision` does, of groups of positives alone: α and β are 1."""
    sums = _harmonic(n + 1, m)
    sums *= c - n
    sums += m
    return sums


def _harmonic(start: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Return Σ 1/i of the m whole numbers i from `start` on."""
    last = start + m
    most = int(last.max(initial=0))
    psi = _digammas(most.bit_length()).take if most < MOST_KEPT else digamma
    harmonic = psi(last)
    harmonic -= psi(start)
    alone = np.flatnonzero(m == 1)
    harmonic[alone] = 1.0 / start[alone]
    return harmonic


def _shares(t: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return α and β of groups of t items, p of them positives; 0 is β of one item."""
    return p / t, p * (p - 1) / np.maximum(t * (t - 1), 1.0)


@lru_cache
def _few_shares() -> tuple[np.ndarray, np.ndarray]:
    """Return α and β of all groups of fewer items than `FEW`, (FEW²,)."""
    t, p = np.divmod(np.arange(FEW**2, dtype=np.float64), FEW)
    return _shares(np.maximum(t, 1.0), p)


@lru_cache
def _inverses(bits: int) -> np.ndarray:
    """Return 1 / (n + 1) of all whole numbers n of up to `bits` bits."""
    return 1.0 / np.arange(1.0, 2.0**bits + 1)


@lru_cache
def _digammas(bits: int) -> np.ndarray:
    """Return ψ of all whole numbers of up to `bits` bits."""
    return digamma(np.arange(2.0**bits))


def per_distinct(function: Callable[..., Any], *columns: np.ndarray) -> np.ndarray:
    """Return `function` of every row of `columns`, called once for each distinct row."""
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    values = {row: function(*row) for row in set(rows)}
    return np.array([values[row] for row in rows])
