"""Exact neighbour search: the tie groups of every query, in bounded memory.

Three ways give the same groups, because all of them rank by ``exact_distances``:

* **listed**: FAISS lists candidates by float32 distance, the exact distances of the candidates
  re-rank them, and the float32 error bound certifies the part of the list that no item outside
  of it can enter.
* **dense**: all distances of a query, exact.  For small galleries, and for queries whose
  certified part is too short, such as those of a collapsed embedding.
* **counted**: where the certified part is long enough for R-Precision and MAP@R but holds no
  positive, only the rank of the nearest positive is missing.  Its exact distance is found among
  the positives; nearer items are then counted in float32 tables, and those too close to call
  are compared exactly.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from evaluation.backends import GPU_MAX_NEIGHBOURS, flat_index
from evaluation.checks import ROWS_AT_ONCE, blocks
from evaluation.distances import CoarseFrame, Points, exact_distances
from evaluation.ranking import find_tie_groups

# Above this share of the gallery, a candidate list costs as much as all distances.
LARGEST_LISTED_SHARE = 1 / 8


class NeighborSearch:
    """Queries, a gallery, and for each query the gallery row that is the query itself."""

    def __init__(
        self,
        queries: Points,
        query_labels: np.ndarray,
        gallery: Points,
        gallery_labels: np.ndarray,
        own_rows: np.ndarray,
        memory: int,
    ) -> None:
        """Take integer labels; ``own_rows`` is -1 for a query that the gallery does not hold.

        ``memory`` bounds the bytes of the working tables, not counting O(N·D) copies.
        """
        self.queries = queries
        self.gallery = gallery
        self.distance = gallery.distance
        self.query_labels = query_labels
        self.gallery_labels = gallery_labels
        self.own_rows = own_rows
        self.memory = memory
        self._by_label = np.argsort(gallery_labels, kind="stable")
        classes = np.arange(max(query_labels.max(), gallery_labels.max()) + 2)
        self._starts = np.searchsorted(gallery_labels, classes, sorter=self._by_label)
        counts = np.diff(self._starts)[query_labels]
        own_counted = (own_rows >= 0) & (gallery_labels[own_rows] == query_labels)
        self.relevant = counts - own_counted

    def positives(self, query: int) -> np.ndarray:
        """Return the gallery rows of the query's class, without the query itself."""
        label = self.query_labels[query]
        rows = self._by_label[self._starts[label] : self._starts[label + 1]]
        return rows[rows != self.own_rows[query]]

    def tie_groups(
        self, queries: np.ndarray, backend: str, automatic: bool
    ) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """Yield blocks of ``queries`` with the tie groups of each; each must have a positive.

        ``automatic`` leaves the coarse pass out where it would not pay.
        """
        size = len(self.gallery)
        deepest = int(self.relevant[queries].max())
        width = min(size, deepest + 1 + max(32, deepest // 16))
        if backend == "faiss-gpu":
            width = min(width, GPU_MAX_NEIGHBOURS)
        if backend == "dense" or (automatic and width > LARGEST_LISTED_SHARE * size):
            for block in blocks(len(queries), self._rows_within(16 * size + 128 * deepest)):
                yield queries[block], self._dense(queries[block])
            return

        frame = CoarseFrame(self.queries, self.gallery, self.distance == "cosine")
        index = flat_index(self.gallery.dimension, frame.inner_product, backend)
        for rows in blocks(size, ROWS_AT_ONCE):
            index.add(frame.rows(self.gallery, rows))
        step = self._rows_within(128 * width + 16 * self.gallery.dimension)
        for block in blocks(len(queries), min(step, 4096)):
            yield queries[block], self._listed(queries[block], frame, index, width)

    def _rows_within(self, bytes_per_row: int) -> int:
        return max(1, self.memory // bytes_per_row)

    def _listed(
        self, queries: np.ndarray, frame: CoarseFrame, index: Any, width: int
    ) -> list[np.ndarray]:
        """Return the tie groups from candidate lists, completed where they fall short."""
        coarse_rows = frame.rows(self.queries, queries)
        coarse, nearest = index.search(coarse_rows, width)
        coarse = (1.0 - coarse if frame.inner_product else coarse).astype(np.float64)
        errors = frame.errors(coarse_rows)
        exact_rows = self.queries.rows(queries)

        groups: list[np.ndarray] = [np.empty((0, 3), dtype=np.int64)] * len(queries)
        to_complete, to_count = [], []
        for i, query in enumerate(queries):
            others = nearest[i] != self.own_rows[query]
            rows = nearest[i][others]
            distances = self._exact(exact_rows[i], rows)
            if np.any(np.abs(distances * frame.unit - coarse[i][others]) > errors[i]):
                # The bound does not hold: a reduced-precision mode of the GPU, say.
                to_complete.append(i)
                continue
            horizon = (coarse[i, -1] - errors[i]) / frame.unit
            certain = distances < horizon if width < len(self.gallery) else slice(None)
            ranked = np.sort(distances[certain])
            is_positive = self.gallery_labels[rows[certain]] == self.query_labels[query]
            positives = np.sort(distances[certain][is_positive])
            relevant = self.relevant[query]
            if len(ranked) < relevant and len(positives) < relevant:
                to_complete.append(i)
            elif len(positives):
                groups[i] = find_tie_groups(ranked, positives, relevant)
            else:
                to_count.append(i)

        step = self._rows_within(16 * len(self.gallery))
        for block in blocks(len(to_complete), step):
            part = to_complete[block]
            for i, found in zip(part, self._dense(queries[part]), strict=True):
                groups[i] = found
        if to_count:
            counted = self._counted(queries[to_count], frame, coarse_rows[to_count])
            for i, found in zip(to_count, counted, strict=True):
                groups[i] = found
        return groups

    def _exact(self, query_row: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the exact distances of one float64 query row to some gallery rows."""
        return exact_distances(query_row[None], self.gallery.rows(rows), self.distance)[0]

    def _dense(self, queries: np.ndarray) -> list[np.ndarray]:
        """Return the tie groups from the distances of ``queries`` to the whole gallery."""
        rows = self.queries.rows(queries)
        table = np.empty((len(queries), len(self.gallery)))
        for part in blocks(len(self.gallery), self._rows_within(32 * self.gallery.dimension)):
            table[:, part] = exact_distances(rows, self.gallery.rows(part), self.distance)
        positives = [np.sort(table[i, self.positives(query)]) for i, query in enumerate(queries)]
        own = self.own_rows[queries]
        table[own >= 0, own[own >= 0]] = np.inf
        table.sort(axis=1)
        return [
            find_tie_groups(table[i], positives[i], self.relevant[query])
            for i, query in enumerate(queries)
        ]

    def _counted(
        self, queries: np.ndarray, frame: CoarseFrame, coarse_rows: np.ndarray
    ) -> list[np.ndarray]:
        """Return the first tie group alone: before, size and positives are counted."""
        rows = self.queries.rows(queries)
        nearest = np.array(
            [self._exact(rows[i], self.positives(q)).min() for i, q in enumerate(queries)]
        )
        errors = frame.errors(coarse_rows)
        low = np.nextafter((nearest * frame.unit - errors).astype(np.float32), np.float32(-np.inf))
        high = np.nextafter((nearest * frame.unit + errors).astype(np.float32), np.float32(np.inf))

        counts = np.zeros((len(queries), 3), dtype=np.int64)
        for part in blocks(len(self.gallery), self._rows_within(16 * len(queries))):
            table = frame.distances(coarse_rows, frame.rows(self.gallery, part))
            own = self.own_rows[queries]
            held = (own >= part.start) & (own < part.stop)
            table[held, own[held] - part.start] = np.inf
            nearer = table < low[:, None]
            counts[:, 0] += nearer.sum(axis=1)
            in_doubt = (table <= high[:, None]) & ~nearer
            for i in np.flatnonzero(in_doubt.any(axis=1)):
                doubtful = part.start + np.flatnonzero(in_doubt[i])
                distances = self._exact(rows[i], doubtful)
                tied = doubtful[distances == nearest[i]]
                labels = self.gallery_labels[tied]
                counts[i] += (
                    np.count_nonzero(distances < nearest[i]),
                    len(tied),
                    np.count_nonzero(labels == self.query_labels[queries[i]]),
                )
        return list(counts[:, None, :])
