"""Lists with many positives: neighbours that are all positives are one tie group.

Among them the order changes no metric, so it need not be known; and where few negatives part long
runs of positives, groups are few.
"""

import numpy as np

from stt_bench.evaluation.ranking import TieGroups

CROWDED_SHARE = 0.4  # of all lists' items, that are positives


def is_crowded(relevant: np.ndarray, lengths: np.ndarray) -> bool:
    """Tell whether so many items of the lists are positives.

    There are `relevant` (Q,) of them among `lengths` (Q,).
    """
    return bool(relevant.sum() > CROWDED_SHARE * lengths.sum())


def joined(groups: TieGroups, depth: np.ndarray) -> TieGroups:
    """Return the groups, those neighbours made one that hold positives alone, cut at `depth` (Q,).

    Every metric stays what it is: such a group stands for its places in any order. Those of
    `runs_of_positives`, whose sizes are their positives, are such already.
    """
    query, before, size, positives = groups
    if size is positives:
        return groups
    pure = positives == size
    size = np.where(pure, np.clip(depth.take(query) - before, 1, size), size)
    positives = np.where(pure, size, positives)
    goes_on = pure[1:] & pure[:-1] & (query[1:] == query[:-1])
    goes_on &= before[1:] == before[:-1] + size[:-1]
    first = np.flatnonzero(np.append(True, ~goes_on))
    return TieGroups(
        query[first],
        before[first],
        np.add.reduceat(size, first),
        np.add.reduceat(positives, first),
    )


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
