"""Exact neighbour search: the tie groups of every query, in bounded memory.

All ranks follow from `exact_pairs`, so every searcher gives the same groups:

* A float32 search **lists** the nearest points of a query, and `ListRanker` tells what is certain.
* Where much would have to be compared exactly, where a list ends before the position up to which
  it counts, or where it would hold a good part of the gallery, a float64 search makes another: a
  **wide** one, longer each time, up to the whole gallery. On a grid that float32 holds it is a
  float32 search, too.
* Of points of few possible distances, as codes of ±1, items are **counted at each distance**
  instead of by a wide search.
* Where a list is long enough but holds no positive, only the rank of the nearest positive is
  missing. Its exact distance is found among the positives; nearer points are then **counted**, and
  those too close to call are compared exactly; if a rule removes very many, lists grow instead.

Equal rows of the gallery are one point that stands for several items.
"""

from collections.abc import Callable, Generator, Iterator

import numpy as np
import torch

from stt_bench.evaluation import coarse
from stt_bench.evaluation.backends import devices_of
from stt_bench.evaluation.checks import blocks, evenly
from stt_bench.evaluation.coarse import DenseSearch, TorchSearch
from stt_bench.evaluation.counting import count_nearer
from stt_bench.evaluation.crowded import joined
from stt_bench.evaluation.exact import Points
from stt_bench.evaluation.faiss_search import FaissSearch
from stt_bench.evaluation.frames import CoarseFrame, ExactFrame
from stt_bench.evaluation.gallery import Gallery
from stt_bench.evaluation.grids import Grid, count_at_distances, grid_of
from stt_bench.evaluation.levels import Level
from stt_bench.evaluation.lists import ListRanker, OutsideBoundError
from stt_bench.evaluation.ranking import TieGroups
from stt_bench.evaluation.regions import regions
from stt_bench.evaluation.wide import WideSearch, key_bits

# How many points a list holds beyond the position it counts to, at least, and as a share of it.
SPARE, SPARE_SHARE = 32, 1 / 16
LONGER = 8
WIDE_SHARE = 1 / 16  # of the gallery, that a wide list holds at least
WHOLE_SHARE = 7 / 8  # beyond which a wide list is all of the gallery: nothing is short then
WHOLE_SHARE_READ = 3 / 4  # of a gallery that would be read once more for what is short
GRID_SHARE = 24  # beyond one so-manieth of the gallery, a list of many ties is all of it
PROBED = 64  # queries that show whether float32 is worth it for the others
FEW_PROBES = 4  # times as many queries as are probed, for which it is worth probing a wide search
DOUBTFUL_SHARE = 1 / 4  # of a wide search's price, that exact comparisons may add to it
MISSED_SHARE = 1 / 3  # of first queries whose lists hold no positive, that makes lists a detour
PLACES = 2**17  # of lists that are ranked at once
LISTS_BYTES = 2**25  # of lists that are made at once
GRID_BYTES = 128  # of a query's items that are counted at a distance
LOADED = 4  # nanoseconds, about, that each coordinate of the gallery costs once more
LISTED = 190  # nanoseconds, about, that each place of a narrow list costs


class NeighborSearch:
    """A search for the tie groups of some queries, one after another."""

    def __init__(self, queries: Points, gallery: Gallery, backend: str, memory: int) -> None:
        """Take a resolved backend; `memory` bounds the bytes of the working tables."""
        self.queries = queries
        self.gallery = gallery
        self.memory = memory
        self.ranker = ListRanker(queries, gallery)
        self.missed = 0  # queries whose lists hold no positive
        self.narrow: Level | None = None
        self.grid: Grid | None = None
        self._on_processor = True
        self.wide = Level(ExactFrame(), DenseSearch(queries.distance), gallery, memory)
        if backend == "dense":
            return
        inner_product = queries.distance == "cosine"
        frame = CoarseFrame(queries, gallery.points, inner_product)
        device, gpus = devices_of(backend)
        self._on_processor = not gpus and torch.device(device).type == "cpu"
        searcher = TorchSearch(inner_product, memory // 4, device)
        if backend.startswith("faiss"):
            searcher = FaissSearch(inner_product, memory // 4, device, gpus)
        frame = frame.sharpened(queries, gallery.points)
        self.narrow = Level(frame, searcher, gallery, memory)
        frame = frame.widened(queries, gallery.points, key_bits(len(gallery.points)))
        wide = WideSearch(inner_product, memory // 4, device, frame.precision)
        self.wide = Level(frame, wide, gallery, memory)
        self.grid = grid_of(frame, queries, gallery, self.wide.is_kept)

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
                    if self.gallery.crowded:
                        groups = joined(groups, self.gallery.depth[block])
                    yield block, groups
                    left[block] = False
                    progress(len(wanted) - int(left.sum()))
            except OutsideBoundError:
                dense = DenseSearch(self.queries.distance)
                self.narrow = self.grid = None
                self.wide = Level(ExactFrame(), dense, self.gallery, self.memory)

    def _search(self, wanted: np.ndarray) -> Iterator[tuple[np.ndarray, TieGroups]]:
        # Some queries need long lists: together, lest they lengthen all lists.
        pending = wanted[np.argsort(-self._reach(wanted), kind="stable")]
        if self.narrow:
            deep = self._length(pending) > self._most()
            saved = self._wide_price() - self._narrow_price(float(self._length(pending[-1:])[0]))
            if deep.any() and np.count_nonzero(~deep) * saved < self._load_price():
                deep[:] = True  # too few to load the gallery once more for them
            pending, later = pending[~deep], [pending[deep]]
            # Some of all depths show what becomes of the others.
            probe = np.arange(0, len(pending), max(1, len(pending) // PROBED))
            rest = np.delete(pending, probe)
            compared, self.missed = self.ranker.compared, 0
            failed = yield from self._pass(self.narrow, pending[probe], 1, self._patience())
            later.append(failed)
            pairs = self.ranker.compared - compared
            if len(rest) and self._narrow_pays(pending[probe], len(failed), pairs):
                if self.missed > MISSED_SHARE * len(probe):
                    # Lists miss most of the positives: a single one is found by counting alone.
                    single = self.gallery.relevant[rest] == 1
                    single &= self.gallery.removed[rest] <= self._patience()
                    yield from self._first_groups(self.narrow, rest[single])
                    rest = rest[~single]
                rest = yield from self._pass(self.narrow, rest, 1, self._patience())
            later.append(rest)
            self.narrow.forget()
            pending = np.concatenate(later)
            pending = pending[np.argsort(-self._reach(pending), kind="stable")]
        if self.grid:
            yield from self._counted_groups(self.grid, pending)
            return
        yield from self._wide_or_near(pending)

    def _wide_or_near(self, pending: np.ndarray) -> Iterator[tuple[np.ndarray, TieGroups]]:
        """Search widely, or about each region where many pairs would be compared exactly."""
        frame = self.wide.frame
        if not isinstance(frame, CoarseFrame) or frame.exact or len(pending) < FEW_PROBES * PROBED:
            yield from self._wide_groups(self.wide, pending)
            return
        # A gallery that is not kept is not read once more for a few queries.
        kept = self.wide.is_kept
        probe = np.arange(0, len(pending), len(pending) // PROBED if kept else 1)
        factor = 1 if kept else LONGER
        before, patience = self.ranker.compared, self._patience()
        failed = yield from self._pass(self.wide, pending[probe], 1, patience)
        pairs = self.ranker.compared - before + len(failed) * patience
        pending = np.append(np.delete(pending, probe), failed)
        pending = pending[np.argsort(-self._reach(pending), kind="stable")]
        if pairs <= DOUBTFUL_SHARE * patience * len(probe):
            yield from self._wide_groups(self.wide, pending, factor)
            return
        for center, some in regions(self.queries, pending, frame.reach / frame.scale):
            level = self.wide
            if center is not None:
                self.wide.forget()
                near = frame.moved_to(center)
                level = Level(near, self.wide.searcher, self.gallery, self.memory)
            yield from self._wide_groups(level, some, factor)

    def _wide_groups(
        self, level: Level, pending: np.ndarray, factor: int = 1
    ) -> Iterator[tuple[np.ndarray, TieGroups]]:
        """Yield blocks of queries with their groups, by lists that grow until all are done."""
        while len(pending):
            pending = yield from self._pass(level, pending, factor)
            factor *= LONGER

    def _narrow_pays(self, asked: np.ndarray, failed: int, compared: int) -> bool:
        """Tell by the first queries whether a narrow search is worth it for the others.

        To its own price come what is compared exactly, and the wide search of those that fail.
        """
        share, pairs = failed / len(asked), compared / len(asked)
        if not self._on_processor:  # a GPU's product costs hardly anything
            return share <= 1 / 2 and pairs <= self._patience()
        spent = self._narrow_price(float(self._length(asked).mean())) + pairs * self._pair_price()
        return spent + share * self._wide_price() <= self._wide_price()

    def _reach(self, queries: np.ndarray) -> np.ndarray:
        """Return up to which position lists count, of items that a rule removes with the others."""
        depth, removed = self.gallery.depth[queries], self.gallery.removed[queries]
        if self.gallery.scattered:  # twice as many as on average; of more, a list is too short
            most = 2 * (depth + SPARE) * removed / np.maximum(1, self.gallery.lengths[queries])
            removed = np.minimum(removed, most.astype(np.int64))
        return depth + removed

    def _length(self, queries: np.ndarray) -> np.ndarray:
        """Return how long lists are at least."""
        reach = self._reach(queries)
        return reach + 2 + np.maximum(SPARE, (SPARE_SHARE * reach).astype(np.int64))

    def _most(self) -> float:
        """Return the length beyond which lists are wide."""
        size = len(self.gallery.points)
        most = coarse.SORTED_SHARE * size
        if self.narrow is not None and self.narrow.frame.exact:
            most = size / GRID_SHARE
        if not self._on_processor:
            return most
        return min(most, (self._wide_price() - self._narrow_price(0)) / LISTED)

    def _pass(
        self, level: Level, pending: np.ndarray, factor: int, patience: float = np.inf
    ) -> Generator[tuple[np.ndarray, TieGroups], None, np.ndarray]:
        """Yield blocks with their groups, and return the queries that are not done.

        Those are left out of which more than `patience` pairs would be compared exactly.
        """
        counted = self.gallery.removed <= self._patience()
        failed = beyond = np.empty(0, dtype=np.int64)
        for block, width in self._blocks(pending, level, factor):
            last = None
            wide = level.frame.exact and isinstance(level.searcher, WideSearch)
            if wide and counted[block].all():
                # Of many ties, those beyond the last position are nobody's concern.
                most = self.gallery.depth[block] + self.gallery.removed[block]
                last = min(int(most.max()) + 1, width - 1)
            lists = level.lists(self.queries, block, width, last)
            few = max(1, min(self.memory // 4 // 128, PLACES) // lists.width)
            for rows in blocks(len(block), few):
                values, points, bounds = lists.of(rows)
                ranked = self.ranker.rank(
                    block[rows], values, points, bounds, level.frame.unit, patience
                )
                yield from ranked.found
                sought, longer = (ranked.missed[c[ranked.missed]] for c in (counted, ~counted))
                failed = np.concatenate([failed, ranked.short, ranked.unclear, longer])
                beyond = np.concatenate([beyond, sought])
            del lists  # before the memory is given to the next ones, or to counting
        self.missed += len(beyond)
        yield from self._first_groups(level, beyond)
        return failed

    def _counted_groups(
        self, grid: Grid, queries: np.ndarray
    ) -> Iterator[tuple[np.ndarray, TieGroups]]:
        """Yield blocks of queries with their tie groups, by counting at each distance."""
        taken = GRID_BYTES * grid.distances + 8 * self.queries.dimension
        for block in blocks(len(queries), max(1, self.memory // 4 // taken)):
            some = queries[block]
            yield some, count_at_distances(grid, self.wide, self.ranker, some)

    def _first_groups(
        self, level: Level, queries: np.ndarray
    ) -> Iterator[tuple[np.ndarray, TieGroups]]:
        """Yield blocks of queries with their first tie group alone."""
        while len(queries):
            # What a query takes: its framed rows, and its pairs with positives and removed items.
            pairs = self.gallery.relevant[queries] + self.gallery.removed[queries] + 1
            taken = 8 * self.queries.dimension + 128 * pairs
            count = max(1, int(np.searchsorted(np.cumsum(taken), self.memory // 4)))
            yield queries[:count], count_nearer(level, self.ranker, queries[:count])
            queries = queries[count:]

    def _patience(self) -> float:
        """Return how many exact comparisons cost as much as a wide search of one query."""
        return self._wide_price() / self._pair_price()

    # What a query costs on a processor, in nanoseconds, about: measured by
    # tests/perf/search_prices.py. Only their ratios count.

    def _wide_price(self) -> float:
        at_once = 64 if self.wide.searcher.precision is np.float32 else 32
        return len(self.gallery.points) * (self.queries.dimension / at_once + 6)

    def _narrow_price(self, width: float) -> float:
        """Return the price of a narrow list, which is sorted and ordered, without comparisons."""
        return len(self.gallery.points) * (self.queries.dimension / 64 + 3) + LISTED * width

    def _load_price(self) -> float:
        return LOADED * len(self.gallery.points) * self.queries.dimension

    def _pair_price(self) -> float:
        return 3 * self.queries.dimension + 60

    def _blocks(
        self, queries: np.ndarray, level: Level, factor: int
    ) -> Iterator[tuple[np.ndarray, int]]:
        """Cut queries, ordered by their positives, into blocks with the length of their lists."""
        size = len(self.gallery.points)
        while len(queries):
            width = factor * int(self._length(queries[:1])[0])
            if level is not self.narrow:
                width = max(width, int(WIDE_SHARE * size) * factor)
            most = WHOLE_SHARE if level.is_kept else WHOLE_SHARE_READ
            if level.frame.exact:  # many ties, which the end of a list may not part
                most = 1 / GRID_SHARE
            if width > (size if level is self.narrow else most * size):
                width = size
            if isinstance(level.searcher, DenseSearch):
                width = size
            # A gallery that is read for every block leaves room for more queries in it.
            room = min(LISTS_BYTES, self.memory // 4) if level.is_kept else self.memory // 2
            one = 8 if isinstance(level.searcher, WideSearch) else 16
            count = max(1, room // (one * width + 8 * self.queries.dimension))
            count = evenly(len(queries), count)
            yield queries[:count], width
            queries = queries[count:]
