"""A gallery from whose lists a rule removes items, or whose items have several labels.

Re-identification removes what the query's own camera saw of its identity: an item that matches the
query's label and has its group (`label`). The rule `all` removes every item of the query's group,
whatever its label. Junk is in no list.
"""

from copy import copy

import numpy as np

from stt_bench.evaluation.checks import blocks
from stt_bench.evaluation.crowded import is_crowded
from stt_bench.evaluation.exact import Points
from stt_bench.evaluation.gallery import Gallery
from stt_bench.evaluation.label_sets import TABLE, LabelSets

RULES = ("label", "all")


class RuledGallery(Gallery):
    """A gallery whose points are items of equal rows, label set and group, so each is of one kind.

    What `Gallery` has for its queries is had here too; `junk` items are counted nowhere.
    """

    def __init__(
        self,
        points: Points,
        labels: LabelSets,
        own_rows: np.ndarray,
        groups: tuple[np.ndarray, np.ndarray] | None,
        rule: str,
        junk: np.ndarray | None,
    ) -> None:
        """Take each query's own row, -1 where there is none, and the groups as integers from 0.

        `groups` are those of the queries (Q,) and of the items (G,); `junk` (G,) is boolean.
        """
        self.labels = labels
        self.rule = rule if groups is not None else None
        self.scattered = self.rule == "all"
        nothing = np.zeros(len(labels.queries), int), np.zeros(len(labels.gallery), int)
        self.query_groups, item_groups = groups if groups is not None else nothing
        self._group_of_item = item_groups
        held = np.arange(len(points)) if junk is None else np.flatnonzero(~junk)
        of_row = self._one_kind(points, held, item_groups)
        self.plain, self.ruled = False, True
        self._single = bool(self.sizes.max() == 1)

        self._by_set = _Index(self._set, labels.number)
        most = int(max(self.query_groups.max(), item_groups.max())) + 1
        self._by_group = _Index(self._group, most)
        held_rows = np.where(own_rows >= 0, of_row[own_rows], -1)
        at = np.maximum(held_rows, 0)[:, None]
        everyone = np.arange(len(labels.queries))
        alike = labels.match(labels.queries, self._set[at])[:, 0]
        there = (held_rows >= 0) & ~self._taken(everyone, at, alike[:, None])[:, 0]
        self.own = np.where(there, held_rows, -1)
        self.own_positive = there & alike
        self._count(most)
        self.depth = self.relevant
        self.crowded = is_crowded(self.relevant, self.lengths, self.plain)

    def _one_kind(self, points: Points, held: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """Set the points, each of one kind, and return the point of every row, -1 for junk."""
        _, places = points.distinct()
        most = int(groups.max()) + 1
        _, kinds = np.unique(self.labels.gallery[held] * most + groups[held], return_inverse=True)
        _, first, point = np.unique(
            places[held] * (int(kinds.max()) + 1) + kinds, return_index=True, return_inverse=True
        )
        order = np.argsort(first)  # rows keep their order, so that a memory map is read forwards
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        rows = held[first[order]]
        self.points = points
        if len(rows) < len(points):
            self.points = copy(points)
            self.points.kept = rows
        self.sizes = np.bincount(rank[point])
        self._set, self._group = self.labels.gallery[rows], groups[rows]
        of_row = np.full(len(places), -1)
        of_row[held] = rank[point]
        return of_row

    def _count(self, most: int) -> None:
        """Set `relevant`, `removed` and `lengths`; `most` is the number of groups."""
        sets, places = np.unique(
            self.labels.queries * most + self.query_groups, return_inverse=True
        )
        kinds, of_point = np.unique(self._set * most + self._group, return_inverse=True)
        sizes = np.bincount(of_point, self.sizes).astype(np.int64)
        by_set = np.bincount(kinds // most, sizes, self.labels.number).astype(np.int64)
        alike, near = np.zeros((2, len(sets)), dtype=np.int64)
        for part in blocks(len(sets), max(1, TABLE // self.labels.number)):
            row, match = self.labels.matches(sets[part] // most)
            wanted = match * most + sets[part][row] % most
            at = np.minimum(np.searchsorted(kinds, wanted), len(kinds) - 1)
            both = np.where(kinds[at] == wanted, sizes[at], 0)
            count = part.stop - part.start
            alike[part] = np.bincount(row, by_set[match], count)
            near[part] = np.bincount(row, both, count)
        if self.rule is None:
            near[:] = 0
        self.relevant = (alike - near)[places] - self.own_positive
        self.removed = near[places]
        if self.rule == "all":
            self.removed = np.bincount(self._group, self.sizes, most)[self.query_groups]
            self.removed = self.removed.astype(np.int64)
        self.lengths = int(self.sizes.sum()) - self.removed - (self.own >= 0)

    def _taken(self, queries: np.ndarray, points: np.ndarray, alike: np.ndarray) -> np.ndarray:
        """Tell which points (Q, L) the rule removes, given which match the queries."""
        if self.rule is None:
            return np.zeros(points.shape, dtype=bool)
        same = self._group[points] == self.query_groups[queries][:, None]
        return same if self.rule == "all" else same & alike

    def takes(self, queries: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Tell which items (Q, L), rows of the gallery, the rule removes; junk is not asked of."""
        if self.rule is None:
            return np.zeros(items.shape, dtype=bool)
        same = self._group_of_item[items] == self.query_groups[queries][:, None]
        if self.rule == "label":
            same &= self.labels.match(self.labels.queries[queries], self.labels.gallery[items])
        return same

    def others(self, queries: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how many items (Q, L) points stand for, and how many of these are positives."""
        alike = self.labels.match(self.labels.queries[queries], self._set[points])
        kept = ~self._taken(queries, points, alike)
        own = points == self.own[queries][:, None]
        if self._single:
            kept &= ~own
            return kept, kept & alike
        sizes = self.sizes[points] * kept - own
        return sizes, sizes * alike

    def positive_points(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return each point that holds a positive, (T,), after the place of its query, (T,)."""
        query, points = self._alike(queries)
        kept = ~self._taken(queries[query], points[:, None], np.ones((len(points), 1), bool))[:, 0]
        kept &= self.sizes[points] > (points == self.own[queries[query]])
        return query[kept], points[kept]

    def removed_points(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what lists leave out: the places of queries, points and numbers of items, (T,)."""
        own_query, own, once = super().removed_points(queries)
        if self.rule is None:
            return own_query, own, once
        if self.rule == "all":
            query, points = self._by_group.of(np.arange(len(queries)), self.query_groups[queries])
        else:
            query, points = self._alike(queries)
            same = self._group[points] == self.query_groups[queries[query]]
            query, points = query[same], points[same]
        return (
            np.concatenate([own_query, query]),
            np.concatenate([own, points]),
            np.concatenate([once, self.sizes[points]]),
        )

    def _alike(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the points that match each query: the places of queries and points, (T,)."""
        return self._by_set.of(*self.labels.matches(self.labels.queries[queries]))


class _Index:
    """The points of each key."""

    def __init__(self, keys: np.ndarray, most: int) -> None:
        """Take the key of every point, from 0 to below `most`."""
        self.order = np.argsort(keys, kind="stable")
        self.starts = np.searchsorted(keys[self.order], np.arange(most + 1))

    def of(self, query: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the points of each pair's key, after the pair's `query`, in that order, (T,)."""
        counts = self.starts[keys + 1] - self.starts[keys]
        pair = np.repeat(np.arange(len(keys)), counts)
        rank = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        return query[pair], self.order[self.starts[keys][pair] + rank]
