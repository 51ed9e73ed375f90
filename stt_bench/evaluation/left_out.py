"""Ranked lists from which the items of one class are taken away, for each class in turn.

A query's metrics change only where the class has an item in reach, that is before the place up to
which the list counts. Its tie groups then move up by the items that stood before them, and shrink
by those that stood in them; what the metrics make of groups is told by `ranking`.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from stt_bench.evaluation.ranking import TieGroups, find_tie_groups, tied_neighbours


class Lists(NamedTuple):
    """Ranked lists of Q queries.

    `ranks` (Q, K), ascending, equal where items are tied; `held` (Q, K) where there is an item;
    `positives` (Q, K); `classes` (Q, K) int16 of the items from 0, -1 where an item is of none that
    is left out or there is no item; `relevant` (Q,) R; `reach` (Q,) how many places count: K is at
    least this plus the largest class, and no tie group is cut off.
    """

    ranks: np.ndarray
    held: np.ndarray
    positives: np.ndarray
    classes: np.ndarray
    relevant: np.ndarray
    reach: np.ndarray


class Without(NamedTuple):
    """The queries (rows of the lists, ascending) that a class left out changes, and their groups.

    `rows` are those that have a group; `groups` counts them from 0.
    """

    left_out: int
    rows: np.ndarray
    groups: TieGroups


def groups_of(lists: Lists) -> tuple[np.ndarray, TieGroups]:
    """Return the rows that have a positive in their list, and their tie groups.

    Groups that may come within reach when a class is taken away are there too.
    """
    rows = np.flatnonzero(lists.positives.any(axis=1))
    kept = rows if len(rows) < len(lists.ranks) else slice(None)  # which copies nothing
    width = np.full(len(rows), lists.ranks.shape[1])
    tables = tied_neighbours(lists.ranks[kept]), lists.held[kept], lists.positives[kept]
    return rows, find_tie_groups(*tables, width)


def without_each(
    lists: Lists, own: np.ndarray, rows: np.ndarray, groups: TieGroups
) -> Iterator[Without]:
    """Yield, for each class that changes a query of another class, the changed queries' groups.

    Args:
        lists: the lists.
        own: (Q,) the queries' own classes.
        rows: (r,) the rows that have groups, and
        groups: these, as `groups_of` returns them.
    """
    if not len(rows):
        return
    width = lists.ranks.shape[1]
    starts = np.searchsorted(groups.query, np.arange(len(rows) + 1))
    # Column 0 stands for the places before the first group.
    flags = np.zeros((len(rows), width + 1), dtype=np.int32)
    flags[groups.query, groups.before + 1] = 1
    # Which of its row's groups begins last, from 1; 0: none.
    slots = np.cumsum(flags, axis=1, dtype=np.int32)[:, 1:]
    end = np.zeros(len(groups.query) + 1, dtype=np.int64)
    end[1:] = groups.before + groups.size

    classes = lists.classes[rows]
    last = np.take_along_axis(
        lists.ranks[rows], np.minimum(lists.reach[rows], width)[:, None] - 1, axis=1
    )
    flat = np.flatnonzero((classes >= 0) & (classes != own[rows][:, None]))
    kind = classes.ravel()[flat]
    order = np.argsort(kind, kind="stable")
    flat, kind = flat[order], kind[order]
    row = flat // width
    near = (lists.ranks[rows] <= last).ravel()[flat]
    slots = slots.ravel()[flat]
    at = np.where(slots > 0, starts[row] + slots, 0)
    inside = flat - row * width < end[at]
    bounds = np.flatnonzero(np.diff(kind, prepend=-1, append=-1))
    for first, after in pairwise(bounds):
        one = slice(first, after)
        touched = np.zeros(len(rows), dtype=bool)
        touched[row[one][near[one]]] = True
        changed = np.flatnonzero(touched)
        if not len(changed):
            continue
        which = np.full(len(rows), -1)
        which[changed] = np.arange(len(changed))
        counts = (starts[1:] - starts[:-1])[changed]
        local = np.cumsum(counts + 1) - (counts + 1)  # of each row's slot 0
        held = which[row[one]] >= 0
        slot = local[which[row[one][held]]] + slots[one][held]
        total = int((counts + 1).sum())
        gone = np.bincount(slot, minlength=total)
        within = np.bincount(slot[inside[one][held]], minlength=total)
        before = np.cumsum(gone) - gone
        before -= np.repeat(before[local], counts + 1)
        kept = np.ones(total, dtype=bool)
        kept[local] = False
        source = np.repeat(starts[changed] - np.cumsum(counts) + counts, counts)
        source += np.arange(int(counts.sum()))
        yield Without(
            int(kind[first]),
            rows[changed],
            TieGroups(
                np.repeat(np.arange(len(changed)), counts),
                groups.before[source] - before[kept],
                groups.size[source] - within[kept],
                groups.positives[source],
            ),
        )
