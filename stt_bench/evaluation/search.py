"""Exact neighbour search: the tie groups of every query, in bounded memory.

All ranks follow from `exact_pairs`, so every searcher gives the same groups:

* The coarse search **lists** the nearest points of a query. Where neighbouring distances of the
  list differ by more than twice the error bound, their order is certain; the others form runs,
  and exact distances order the runs that hold a positive. The last run may go on beyond the
  list, so it is left out.
* A list that ends before position R is made **longer**, up to the whole gallery.
* Where it is long enough for R-Precision and MAP@R but holds no positive, only the rank of the
  nearest positive is missing. Its exact distance is found among the positives; nearer points are
  then **counted**, and those too close to call are compared exactly.

Equal rows of the gallery are one point that stands for several items.
"""

from collections.abc import Callable, Iterator

import numpy as np

from stt_bench.evaluation import coarse
from stt_bench.evaluation.backends import torch_device
from stt_bench.evaluation.checks import blocks
from stt_bench.evaluation.coarse import DenseSearch, FaissSearch, Part, TorchSearch
from stt_bench.evaluation.exact import CoarseFrame, ExactFrame, Points, exact_pairs
from stt_bench.evaluation.gallery import Gallery
from stt_bench.evaluation.ranking import TieGroups, find_tie_groups

# How many points a list holds beyond position R, at least, and as a share of R.
SPARE, SPARE_SHARE = 32, 1 / 16
LONGER = 8
PART_ROWS = 65_536
PAIRS_BYTES = 2**20  # what a processor keeps at hand
PLACES = 2**20  # of lists that are merged or sorted at once


class OutsideBoundError(Exception):
    """Coarse distances are not what they promise, as of a GPU in reduced precision."""


class NeighborSearch:
    """A search for the tie groups of some queries, one after another."""

    def __init__(self, queries: Points, gallery: Gallery, backend: str, memory: int) -> None:
        """Take a resolved backend; `memory` bounds the bytes of the working tables."""
        self.queries = queries
        self.gallery = gallery
        self.distance = queries.distance
        self.memory = memory
        self.frame: CoarseFrame | ExactFrame = ExactFrame()
        self.searcher: TorchSearch | DenseSearch = DenseSearch(self.distance)
        self._kept_parts: list[tuple[slice, Part]] = []
        if backend == "dense":
            return
        inner_product = self.distance == "cosine"
        self.frame = CoarseFrame(queries, gallery.points, inner_product)
        library, device = backend.split("-")
        if library == "faiss":
            self.searcher = FaissSearch(inner_product, memory // 4, torch_device(), device == "gpu")
        else:
            self.searcher = TorchSearch(inner_product, memory // 4, device)

    def tie_groups(
        self, wanted: np.ndarray, progress: Callable[[int], None] = lambda done: None
    ) -> Iterator[tuple[np.ndarray, TieGroups]]:
        """Yield blocks of the `wanted` queries with their groups; each must have a positive.

        `progress` is told how many queries are done.
        """
        left = np.zeros(len(self.queries), dtype=bool)
        left[wanted] = True
        while left.any():
            try:
                for block, groups in self._search(np.flatnonzero(left)):
                    yield block, groups
                    left[block] = False
                    progress(len(wanted) - int(left.sum()))
            except OutsideBoundError:
                self.frame, self.searcher = ExactFrame(), DenseSearch(self.distance)
                self._kept_parts = []

    def _search(self, wanted: np.ndarray) -> Iterator[tuple[np.ndarray, TieGroups]]:
        factor, beyond = 1, [np.empty(0, dtype=np.int64)]
        # Queries of many positives need long lists: together, lest they lengthen all lists.
        pending = wanted[np.argsort(-self.gallery.relevant[wanted], kind="stable")]
        while len(pending):
            too_short = []
            for block, width in self._blocks(pending, factor):
                lists = self._lists(block, width)
                for rows in blocks(len(block), max(1, self.memory // 4 // (128 * width))):
                    ranked, groups, short, missed = self._ranked(
                        block[rows], *(table[rows] for table in lists)
                    )
                    if len(ranked):
                        yield ranked, groups
                    too_short.append(short)
                    beyond.append(missed)
                del lists  # before the memory is given to the next ones, or to counting
            pending, factor = np.concatenate(too_short), factor * LONGER
        to_count = np.concatenate(beyond)
        while len(to_count):
            # What a query takes: its framed rows, and its pairs with all its positives.
            taken = 4 * self.queries.dimension + 128 * (self.gallery.relevant[to_count] + 1)
            count = max(1, int(np.searchsorted(np.cumsum(taken), self.memory // 4)))
            yield to_count[:count], self._counted(to_count[:count])
            to_count = to_count[count:]

    def _blocks(self, queries: np.ndarray, factor: int) -> Iterator[tuple[np.ndarray, int]]:
        """Cut queries, ordered by their positives, into blocks with the length of their lists."""
        size = len(self.gallery.points)
        while len(queries):
            deepest = int(self.gallery.relevant[queries[0]])
            width = factor * (deepest + 2 + max(SPARE, int(SPARE_SHARE * deepest)))
            if isinstance(self.searcher, DenseSearch) or width > coarse.SORTED_SHARE * size:
                width = size
            count = max(1, self.memory // 4 // (16 * width + 4 * self.queries.dimension))
            yield queries[:count], width
            queries = queries[count:]

    def _parts(self) -> Iterator[tuple[slice, Part]]:
        """Yield the gallery in parts, which are kept if they fit in the memory."""
        if self._kept_parts:
            yield from self._kept_parts
            return
        points = self.gallery.points
        fits = 4 * self.searcher.copies * len(points) * points.dimension <= self.memory // 2
        step = max(1, min(PART_ROWS, self.memory // 8 // (4 * points.dimension)))
        parts = []
        for rows in blocks(len(points), step):
            part = self.searcher.load(self.frame.rows(points, rows), self.gallery.sizes[rows])
            if fits:
                parts.append((rows, part))
            yield rows, part
        self._kept_parts = parts

    def _lists(self, queries: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the `width` nearest points by coarse distance, and the bound on its error.

        Shapes (Q, width), distances ascending; (Q, width); (Q,).
        """
        coarse_rows = self.frame.rows(self.queries, queries)
        values = np.full((len(queries), width), np.inf, dtype=self.searcher.precision)
        points = np.zeros((len(queries), width), dtype=np.int64)
        held = self.searcher.queries(coarse_rows)
        few = max(1, PLACES // width)
        for rows, part in self._parts():
            found = self.searcher.nearest(held, part, min(width, len(part)))
            for block, near, places in found:
                if rows.start == 0 and near.shape[1] == width:
                    values[block], points[block] = near, places
                    continue
                for some in blocks(len(near), few):
                    to = slice(block.start + some.start, block.start + some.stop)
                    both = np.concatenate([values[to], near[some]], axis=1)
                    kept = np.argpartition(both, width - 1, axis=1)[:, :width]
                    values[to] = np.take_along_axis(both, kept, axis=1)
                    both = np.concatenate([points[to], places[some] + rows.start], axis=1)
                    points[to] = np.take_along_axis(both, kept, axis=1)
        for some in blocks(len(queries), few):
            order = np.argsort(values[some], axis=1)
            values[some] = np.take_along_axis(values[some], order, axis=1)
            points[some] = np.take_along_axis(points[some], order, axis=1)
        return values, points, self.frame.errors(coarse_rows)

    def _ranked(
        self, queries: np.ndarray, values: np.ndarray, points: np.ndarray, errors: np.ndarray
    ) -> tuple[np.ndarray, TieGroups, np.ndarray, np.ndarray]:
        """Rank what the lists are certain of.

        Returns:
            the queries that this is enough for and their tie groups, those whose list is too
            short, and those whose positives all lie beyond it.
        """
        values = values.astype(np.float64)
        new_run = np.ones(values.shape, dtype=bool)
        new_run[:, 1:] = np.diff(values, axis=1) > 2 * errors[:, None]
        width = values.shape[1]
        certain = np.full(len(queries), width)
        if width < len(self.gallery.points):
            certain -= 1 + np.argmax(new_run[:, ::-1], axis=1)
        beyond = np.arange(width) >= certain[:, None]
        sizes, positives = self.gallery.others(queries, points)
        sizes[beyond] = positives[beyond] = 0

        relevant = self.gallery.relevant[queries]
        enough = sizes.sum(axis=1) >= relevant
        holds = positives.any(axis=1)
        kept = np.flatnonzero(enough & holds)
        values, points, sizes, positives, new_run = (
            table[kept] for table in (values, points, sizes, positives, new_run)
        )
        self._refine(queries[kept], values, points, sizes, positives, new_run, errors[kept])
        order = np.argsort(values, axis=1, kind="stable")
        values, sizes, positives = (
            np.take_along_axis(table, order, axis=1) for table in (values, sizes, positives)
        )
        groups = find_tie_groups(values, sizes, positives, relevant[kept])
        return queries[kept], groups, queries[~enough], queries[enough & ~holds]

    def _refine(
        self,
        queries: np.ndarray,
        values: np.ndarray,
        points: np.ndarray,
        sizes: np.ndarray,
        positives: np.ndarray,
        new_run: np.ndarray,
        errors: np.ndarray,
    ) -> None:
        """Put exact distances, in place, where the order of a positive is not certain.

        Raises:
            OutsideBoundError: a coarse distance is off by more than its bound.
        """
        if not len(queries):
            return
        starts = np.flatnonzero(new_run)
        length = np.diff(starts, append=new_run.size)
        query = starts // values.shape[1]
        holds = np.add.reduceat(positives.ravel(), starts) > 0
        before, found = ((np.cumsum(a, axis=1) - a).ravel()[starts] for a in (sizes, positives))
        relevant = self.gallery.relevant[queries][query]
        unclear = (length > 1) & holds & ((before < relevant) | (found == 0))
        looked_at = np.repeat(unclear, length)
        # One more of every list, to see that the coarse search keeps its promise.
        looked_at[np.argmax(positives > 0, axis=1) + np.arange(len(queries)) * values.shape[1]] = 1
        places = np.flatnonzero(looked_at)
        query = places // values.shape[1]
        exact = self._exact(queries[query], points.ravel()[places]) * self.frame.unit
        off = np.abs(exact - values.ravel()[places])
        if np.any(off > errors[query]):
            raise OutsideBoundError
        values.ravel()[places] = exact

    def _exact(self, queries: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Return the exact distances of pairs of a query and a gallery point, (M,)."""
        distances = np.empty(len(queries))
        for part in blocks(len(queries), max(1, PAIRS_BYTES // (8 * self.queries.dimension))):
            left = self.queries.rows(queries[part])
            right = self.gallery.points.rows(points[part])
            distances[part] = exact_pairs(left, right, self.distance)
        return distances

    def _counted(self, queries: np.ndarray) -> TieGroups:
        """Return the first tie group alone: before, size and positives are counted.

        Raises:
            OutsideBoundError: the count missed the nearest positive.
        """
        assert isinstance(self.searcher, TorchSearch), "a dense list is never too short"
        query, points = self.gallery.positive_points(queries)
        first = np.searchsorted(query, np.arange(len(queries)))
        nearest = np.minimum.reduceat(self._exact(queries[query], points), first)

        coarse_rows = self.frame.rows(self.queries, queries)
        errors = self.frame.errors(coarse_rows)
        low = np.nextafter((nearest * self.frame.unit - errors).astype(np.float32), -np.inf)
        high = np.nextafter((nearest * self.frame.unit + errors).astype(np.float32), np.inf)
        before, size, positives = counts = np.zeros((3, len(queries)), dtype=np.int64)

        def add(query: np.ndarray, points: np.ndarray, items: np.ndarray, hits: np.ndarray) -> None:
            distances = self._exact(queries[query], points)
            np.add.at(before, query, items * (distances < nearest[query]))
            tied = distances == nearest[query]
            np.add.at(size, query, items * tied)
            np.add.at(positives, query, hits * tied)

        held = self.searcher.queries(coarse_rows)
        for rows, part in self._parts():
            for block, below, doubtful, places in self.searcher.nearer(held, part, low, high):
                before[block] += below
                for some in blocks(len(places), max(1, self.memory // 8 // 128)):
                    query, points = block.start + doubtful[some], rows.start + places[some]
                    items, hits = self.gallery.items(queries[query], points[:, None])
                    add(query, points, items[:, 0], hits[:, 0])
        # The query itself was counted like any other item.
        own = np.flatnonzero(self.gallery.own[queries] >= 0)
        itself = self.gallery.own_positive[queries[own]].astype(np.int64)
        add(own, self.gallery.own[queries[own]], np.full(len(own), -1), -itself)
        if np.any(positives < 1):
            raise OutsideBoundError
        return TieGroups(np.arange(len(queries)), *counts)
