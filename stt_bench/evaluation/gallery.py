"""The gallery as distinct points, each of which stands for one item or more."""

import numpy as np

from stt_bench.evaluation.crowded import is_crowded
from stt_bench.evaluation.exact import Points

TABLE = 2**20  # numbers
FIRST = 8  # places of a list, at which a query is looked for in it


class Gallery:
    """Which items a point stands for, and which of them are positives of a query.

    `points` are the U distinct rows, and `sizes` (U,) the items that each stands for. For
    each query, (Q,): `own` is the point that holds the query itself, or -1; `own_positive`
    tells whether it would be a positive of itself; `relevant` is R, the number of its
    positives, itself left out; `removed` the other items that a rule keeps out of its list, 0 here,
    which are `scattered` all over it if their labels do not matter;
    `lengths` the items in its list, a good part of them positives in a `crowded` gallery.
    Lists are needed up to position `depth` (Q,), which is R
    until something else is asked. `item_labels` (G,) and `places` (G,) are the label and the point
    of each item, `own_rows` (Q,) the query's own item, or -1.
    """

    def __init__(
        self,
        points: Points,
        labels: np.ndarray,
        query_labels: np.ndarray,
        own_rows: np.ndarray,
    ) -> None:
        """Take labels as integers from 0, and each query's own row, -1 where there is none."""
        self.points, places = points.distinct()
        self.query_labels = query_labels
        self.item_labels, self.places, self.own_rows = labels, places, own_rows
        self.sizes = np.bincount(places)
        self._sizes = self.sizes.astype(np.int32)  # half as long to read, as are labels
        # One key for each label that a point's items have, ordered by label.
        self._keys, self._counts = np.unique(
            labels.astype(np.int64) * len(self.points) + places, return_counts=True
        )
        self._label = np.full(len(self.points), -1, dtype=np.int32)
        self._label[places] = labels
        self._query_label = query_labels.astype(np.int32)
        mixed = np.bincount(self._keys % len(self.points)) > 1
        self._label[mixed] = -1
        self._mixed = bool(mixed.any())
        # For few labels, all counts: where each label has how many of each point.
        self._table: np.ndarray | None = None
        labels_held = int(max(labels.max(), query_labels.max())) + 1
        if self._mixed and labels_held * len(self.points) <= TABLE:
            self._table = np.zeros(labels_held * len(self.points), dtype=np.int32)
            self._table[self._keys] = self._counts

        self.plain = bool(self.sizes.max() == 1)  # every point stands for one item
        self.ruled = False

        held = own_rows >= 0
        self.own = np.where(held, places[own_rows], -1)
        self.own_positive = held & (labels[own_rows] == query_labels)
        totals = np.bincount(labels, minlength=int(query_labels.max()) + 1)
        self.relevant = totals[query_labels] - self.own_positive
        self.removed = np.zeros(len(query_labels), dtype=np.int64)
        self.scattered = False
        self.lengths = len(labels) - held
        self.depth = self.relevant
        self.crowded = is_crowded(self.relevant, self.lengths, self.plain)

    def _items(self, queries: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what `others` does, the query itself counted like any other item."""
        if self._table is not None:
            rows = self.query_labels[queries] * len(self.points)
            return self._sizes.take(points), self._table.take(rows[:, None] + points)
        sizes = self._sizes.take(points)
        if self._mixed:
            asked, row = np.unique(self.query_labels[queries], return_inverse=True)
            if len(asked) * len(self.points) <= points.size:  # a table is quicker for long lists
                starts = row[:, None] * len(self.points)
                counts = self._counts_of(asked, slice(0, len(self.points)))
                return sizes, counts.take(starts + points)
        labels = self._label.take(points)
        positives = sizes * (labels == self._query_label[queries][:, None])
        if not self._mixed:
            return sizes, positives
        mixed = np.nonzero(labels < 0)
        keys = self.query_labels[queries[mixed[0]]] * len(self.points) + points[mixed]
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        positives[mixed] = np.where(self._keys[at] == keys, self._counts[at], 0)
        return sizes, positives

    def _counts_of(self, labels: np.ndarray, place: slice) -> np.ndarray:
        """Return how many items of each label (L,) every point of a place stands for, (L, n)."""
        table = np.zeros((len(labels), place.stop - place.start), dtype=np.int32)
        first = labels * len(self.points) + place.start
        keys = np.stack([first, first + table.shape[1]])
        starts, ends = np.searchsorted(self._keys, keys)
        counts = ends - starts
        row = np.repeat(np.arange(len(labels)), counts)
        at = np.arange(len(row)) + np.repeat(starts - np.cumsum(counts) + counts, counts)
        table[row, self._keys[at] - first[row]] = self._counts[at]
        return table

    def others(self, queries: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how many items (Q, L) points stand for, and how many of these are positives.

        The query itself is left out. They are booleans where every point is one item.
        """
        if self.plain:
            own = self.own[queries][:, None]
            others = np.ones(points.shape, dtype=bool)
            others[:, :FIRST] = points[:, :FIRST] != own
            # Most queries are the nearest to themselves; those of no item are not looked for.
            farther = np.flatnonzero(others[:, :FIRST].all(axis=1) & (own[:, 0] >= 0))
            if len(farther):
                others[farther] = points[farther] != own[farther]
            labels = self._label.take(points)
            return others, others & (labels == self._query_label[queries][:, None])
        sizes, positives = self._items(queries, points)
        row, place = np.nonzero(points == self.own[queries][:, None])
        sizes[row, place] -= 1
        positives[row, place] -= self.own_positive[queries[row]]
        return sizes, positives

    def weighed(self, queries: np.ndarray, place: slice, positive: float) -> np.ndarray:
        """Return items and, each `positive` more, positives of all points of a place, (Q, n).

        They are counted as by `others`.
        """
        asked, row = np.unique(self.query_labels[queries], return_inverse=True)
        found = (positive * self._counts_of(asked, place) + self.sizes[place]).take(row, axis=0)
        own = self.own[queries]
        here = np.flatnonzero((place.start <= own) & (own < place.stop))
        found[here, own[here] - place.start] -= 1 + positive * self.own_positive[queries[here]]
        return found

    def positive_points(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return each point that holds a positive, (T,), after the place of its query, (T,)."""
        starts, ends = (
            np.searchsorted(self._keys, (self.query_labels[queries] + after) * len(self.points))
            for after in (0, 1)
        )
        counts = ends - starts
        query = np.repeat(np.arange(len(queries)), counts)
        rank = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        key = starts[query] + rank
        points = self._keys[key] % len(self.points)
        own = self.own_positive[queries[query]] & (points == self.own[queries[query]])
        kept = self._counts[key] > own
        return query[kept], points[kept]

    def removed_points(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what lists leave out: the places of queries, points and numbers of items, (T,)."""
        own = np.flatnonzero(self.own[queries] >= 0)
        return own, self.own[queries[own]], np.ones(len(own), dtype=np.int64)
