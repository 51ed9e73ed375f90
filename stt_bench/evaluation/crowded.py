"""Lists with many positives: neighbours that are all positives are one tie group.

Among them the order changes no metric, so it need not be known; and where few negatives part long
runs of positives, groups are few.
"""

import numpy as np

from stt_bench.evaluation.ranking import TieGroups

# Of all lists' items, that are positives; more where points stand for several items, or a rule
# removes some: there runs are dearer to find.
CROWDED_SHARE, CROWDED_SHARE_OF_COPIES = 0.4, 0.6


def is_crowded(relevant: np.ndarray, lengths: np.ndarray, plain: bool) -> bool:
    """Tell whether so many items of the lists are positives that runs of them are worth finding.

    There are `relevant` (Q,) of them among `lengths` (Q,); `plain` lists are of single items.
    """
    share = CROWDED_SHARE if plain else CROWDED_SHARE_OF_COPIES
    return bool(relevant.sum() > share * lengths.sum())


def joined(groups: TieGroups, depth: np.ndarray) -> TieGroups:
    """Return the groups, those neighbours made one that hold positives alone, cut at `depth` (Q,).

    Every metric stays what it is: such a group stands for its places in any order. Those of
    `runs_of_positives`, whose sizes are their positives, are such already.
    """
    query, before, size, positives = groups
    if size is positives:
        return groups
    pure = positives == size
    end = before + size
    begins = np.ones(len(query), dtype=bool)
    np.not_equal(before[1:], end[:-1], out=begins[1:])
    begins[1:] |= ~(pure[1:] & pure[:-1])
    begins[np.searchsorted(query, np.arange(query[-1] + 1))] = True
    first = np.flatnonzero(begins)
    query, before, pure, positives = (one.take(first) for one in (query, before, pure, positives))
    size = end.take(np.append(first[1:], len(end)) - 1) - before
    size = np.where(pure, np.clip(depth.take(query) - before, 1, size), size)
    return TieGroups(query, before, size, np.where(pure, size, positives))


def runs_of_positives(positives: np.ndarray, itself: np.ndarray, limit: np.ndarray) -> TieGroups:
    """Return the groups of lists (Q, L) without ties where every point is one item.

    Args:
        positives: (Q, L) which points are positives, one of each list at least.
        itself: (Q,) the place of the query itself, L where it is not in its list.
        limit: (Q,) up to which place lists count; beyond it only the first positive does.
    """
    count, width = positives.shape
    reached = np.zeros((count, width + 1), dtype=bool)  # which parts each list from the next one
    reached[:, :-1] = positives
    least = int(limit.min(initial=width))
    reached[:, least:] &= np.arange(least, width + 1, dtype=np.int32) < limit[:, None]
    reached[np.arange(count), np.argmax(positives, axis=1)] = True
    amid = np.flatnonzero((itself > 0) & (itself < width))
    at = itself[amid]
    reached[amid, at] = reached[amid, at - 1] & reached[amid, at + 1]
    flat = reached.ravel()
    edges = 1 + np.flatnonzero(flat[1:] != flat[:-1])
    if flat[0]:
        edges = np.append(0, edges)
    start, end = edges.reshape(-1, 2).T
    query = start // (width + 1)
    before = start - query * (width + 1)
    size = end - start
    own = itself.take(query)
    size -= (before < own) & (own < before + size)
    before -= before > own
    return TieGroups(query, before, size, size)


def runs_of_points(
    sizes: np.ndarray, positives: np.ndarray, through: np.ndarray, kept: np.ndarray
) -> TieGroups:
    """Return the groups of lists (Q, L) without ties; neighbours of positives alone are one.

    Args:
        sizes: (Q, L) how many items a point stands for.
        positives: (Q, L) how many of them are positives.
        through: (Q, L) items up to the point, itself too.
        kept: (Q, L) which points with a positive are groups.
    """
    pure = kept & (positives == sizes)
    within = pure[:, 1:] & pure[:, :-1]
    starts, ends = kept.copy(), kept.copy()
    starts[:, 1:] &= ~within
    ends[:, :-1] &= ~within
    start, end = np.flatnonzero(starts), np.flatnonzero(ends)
    before = through.take(start).astype(np.int64) - sizes.take(start)
    size = through.take(end) - before
    found = np.where(pure.take(start), size, positives.take(start))
    return TieGroups(start // sizes.shape[1], before, size, found)
