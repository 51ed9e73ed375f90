"""The nearest items of queries, ranked by exact distances: lists that can be cut again."""

from typing import NamedTuple

import numpy as np

from stt_bench.evaluation.checks import blocks
from stt_bench.evaluation.exact import Points, exact_pairs, row_squares
from stt_bench.evaluation.frames import CoarseFrame
from stt_bench.evaluation.gallery import Gallery
from stt_bench.evaluation.lists import ListRanker

NO_RANK = np.iinfo(np.int32).max
SPARE = 16
FEW = 32  # items for each distinct point, from which on all distances are made exactly
TABLE = 2**20  # numbers that a processor keeps at hand
SAMPLE = 512  # of the gallery, which tells about how far a list reaches


class _Cut(NamedTuple):
    """Ranks and items (Q, K), and which queries (Q,) have a list that may end too early."""

    ranks: np.ndarray
    items: np.ndarray
    short: np.ndarray


class NearestItems:
    """Lists of the gallery's items by exact float64 distance, from products in float64."""

    def __init__(self, queries: Points, gallery: Gallery) -> None:
        """Keep the points, and the gallery in a frame of known rounding."""
        self.queries, self.gallery = queries, gallery
        self._ranker = ListRanker(queries, gallery)
        self.cosine = queries.distance == "cosine"
        self.frame = CoarseFrame(queries, gallery.points, self.cosine).widened(
            queries, gallery.points, 0
        )
        self.rows = self.frame.rows(gallery.points, slice(None))
        self.squares = row_squares(self.rows)

    def lists(self, index: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Return exact distances (Q, K), ascending, and the items (Q, K) they belong to.

        The query itself is left out. The first `depth` items of a list are certain, and so are the
        ties of the last of them; -1 with an infinite distance is no item.
        """
        coarse, constant, errors, own = self._coarse(index)
        size = coarse.shape[1]
        width = min(depth + SPARE, size)
        items = np.argpartition(coarse, width - 1, axis=1)[:, :width]
        if width == size:
            return self._sorted(index, items, own)
        last = constant + np.take_along_axis(coarse, items, axis=1).max(axis=1)
        del coarse
        distances, items = self._sorted(index, items, own)
        # What lies beyond a list is farther than its last item, but for the rounding.
        beyond = (last - errors) / self.frame.unit
        short = np.flatnonzero(~(distances[:, depth - 1] < beyond))
        if not len(short):
            return distances, items
        longer = np.full((len(index), size), np.inf), np.full((len(index), size), -1)
        for table, part in zip(longer, (distances, items), strict=True):
            table[:, :width] = part
        everything = np.broadcast_to(np.arange(size), (len(short), size))
        for table, part in zip(
            longer, self._sorted(index[short], everything, own[short]), strict=True
        ):
            table[short] = part
        return longer

    def ranks(self, index: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Return ranks (Q, K), ascending, and the items (Q, K) they belong to.

        The ranks of a query count its distinct distances from 0: ties share one. They are those of
        `lists`, with its promises, in less time: exact distances are made only where the rounding
        leaves an order open. -1 with `NO_RANK` is no item.
        """
        size = len(self.gallery.item_labels)
        parts = []
        for part in blocks(len(index), max(1, TABLE // size)):
            coarse, constant, errors, _ = self._coarse(index[part])
            limits = _limits(coarse, min(depth + SPARE, size))
            cut = self._in_order(index[part], coarse, limits, constant, errors, depth)
            places = np.arange(part.start, part.stop)
            parts.append((places[~cut.short], cut.ranks[~cut.short], cut.items[~cut.short]))
            if cut.short.any():
                few = np.flatnonzero(cut.short)
                everything = np.full(len(few), np.inf)
                whole = self._in_order(
                    index[part][few], coarse[few], everything, constant[few], errors[few], depth
                )
                parts.append((places[few], whole.ranks, whole.items))
        width = max(items.shape[1] for _, _, items in parts)
        ranks = np.full((len(index), width), NO_RANK, dtype=np.int32)
        found = np.full((len(index), width), -1)
        for places, some, items in parts:
            ranks[places, : some.shape[1]], found[places, : some.shape[1]] = some, items
        return ranks, found

    def _coarse(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return distances in the frame to all items (Q, G), less a constant (Q,) of each query.

        Then that constant, the bound on the error and the query's own item, or -1, which is
        infinitely far.
        """
        count = len(self.gallery.points)
        if count * FEW <= len(self.gallery.item_labels):
            pairs = np.repeat(index, count), np.tile(np.arange(count), len(index))
            coarse = self._ranker.exact(*pairs).reshape(len(index), count) * self.frame.unit
            constant = errors = np.zeros(len(index))
        else:
            rows = self.frame.rows(self.queries, index)
            coarse, errors = rows @ self.rows.T, self.frame.errors(rows)
            coarse *= -1 if self.cosine else -2
            if not self.cosine:
                coarse += self.squares
            constant = np.ones(len(rows)) if self.cosine else row_squares(rows)
        if not self.gallery.plain:
            coarse = coarse[:, self.gallery.places]
        own = self.gallery.own_rows[index]
        itself = np.flatnonzero(own >= 0)
        coarse[itself, own[itself]] = np.inf
        return coarse, constant, errors, own

    def _in_order(
        self,
        index: np.ndarray,
        coarse: np.ndarray,
        limits: np.ndarray,
        constant: np.ndarray,
        errors: np.ndarray,
        depth: int,
    ) -> _Cut:
        """Return the ranks of the items (Q, G) whose coarse distances do not exceed limits (Q,)."""
        within = (coarse <= limits[:, None]) & (coarse < np.inf)
        counts = within.sum(axis=1)
        values = np.full((len(index), int(counts.max())), np.inf)
        items = np.full(values.shape, -1)
        filled = np.arange(values.shape[1]) < counts[:, None]
        flat = np.flatnonzero(within)
        values[filled] = coarse.ravel()[flat]
        items[filled] = flat - np.repeat(np.arange(len(index)) * coarse.shape[1], counts)
        values += constant[:, None]
        values, items = _by(np.argsort(values, axis=1), values, items)
        largest = values + errors[:, None]  # that a distance may be
        if errors.any():
            with np.errstate(invalid="ignore"):  # of two that are no items
                close = np.diff(values, axis=1) <= 2 * errors[:, None]
            if close.any():
                opened = np.zeros(values.shape, dtype=bool)
                opened[:, 1:] = close
                opened[:, :-1] |= close
                row, place = np.nonzero(opened)
                points = self.gallery.places[items[row, place]]
                exact = self._ranker.exact(index[row], points) * self.frame.unit
                values[row, place] = largest[row, place] = exact
                rows = np.unique(row)
                order = np.argsort(values[rows], axis=1, kind="stable")
                values[rows], items[rows], largest[rows] = _by(
                    order, values[rows], items[rows], largest[rows]
                )
        new = np.zeros(values.shape, dtype=np.int32)
        np.not_equal(values[:, 1:], values[:, :-1], out=new[:, 1:], casting="unsafe")
        ranks = np.cumsum(new, axis=1, dtype=np.int32)
        ranks[items < 0] = NO_RANK
        last = min(depth, values.shape[1]) - 1
        # What lies beyond a list is farther than its limit, but for the rounding.
        short = (largest[:, last] >= limits + constant - errors) & (limits < np.inf)
        short &= errors > 0
        kept = int((ranks <= ranks[:, last : last + 1]).sum(axis=1).max())
        return _Cut(ranks[:, :kept], items[:, :kept], short)

    def _sorted(
        self, index: np.ndarray, items: np.ndarray, own: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return exact distances, ascending, and items; the query itself stands last, as none."""
        places = self.gallery.places[items]
        distances = np.empty(items.shape)
        for number, query in enumerate(index):
            left = self.queries.rows(np.array([query]))
            right = self.gallery.points.rows(places[number])
            distances[number] = exact_pairs(left, right, self.queries.distance)
        itself = items == own[:, None]
        distances[itself] = np.inf
        order = np.argsort(distances, axis=1, kind="stable")
        items = np.where(itself, -1, items)
        distances = np.take_along_axis(distances, order, axis=1)
        return distances, np.take_along_axis(items, order, axis=1)


def _limits(coarse: np.ndarray, width: int) -> np.ndarray:
    """Return a limit of each row (Q,) that at least `width` of its numbers (Q, G) do not exceed.

    A sample of the row tells about where it lies; it may leave more than `width` within.
    """
    size = coarse.shape[1]
    if width >= size:
        return np.full(len(coarse), np.inf)
    sample = np.sort(coarse[:, :: max(1, size // SAMPLE)], axis=1)
    count = sample.shape[1]
    share = width / size
    place = int(count * share + 3 * np.sqrt(count * share * (1 - share))) + 2
    limits = sample[:, min(place, count - 1)].copy()
    wrong = np.flatnonzero(((coarse <= limits[:, None]).sum(axis=1) < width) | np.isinf(limits))
    limits[wrong] = np.partition(coarse[wrong], width - 1, axis=1)[:, width - 1]
    return limits


def _by(order: np.ndarray, *tables: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.take_along_axis(table, order, axis=1) for table in tables)
