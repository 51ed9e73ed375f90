"""The nearest items of queries with their exact distances: lists that can be cut again."""

import numpy as np

from stt_bench.evaluation.exact import Points, exact_pairs, row_squares
from stt_bench.evaluation.frames import CoarseFrame
from stt_bench.evaluation.gallery import Gallery

SPARE = 16


class NearestItems:
    """Lists of the gallery's items by exact float64 distance, from products in float64."""

    def __init__(self, queries: Points, gallery: Gallery) -> None:
        """Keep the points, and the gallery in a frame of known rounding."""
        self.queries, self.gallery = queries, gallery
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
        rows = self.frame.rows(self.queries, index)
        coarse = rows @ self.rows.T
        if self.cosine:
            np.negative(coarse, out=coarse)
            constant = np.ones(len(rows))
        else:
            coarse *= -2
            coarse += self.squares
            constant = row_squares(rows)
        if not self.gallery.plain:
            coarse = coarse[:, self.gallery.places]
        own = self.gallery.own_rows[index]
        itself = np.flatnonzero(own >= 0)
        coarse[itself, own[itself]] = np.inf
        size = coarse.shape[1]
        width = min(depth + SPARE, size)
        items = np.argpartition(coarse, width - 1, axis=1)[:, :width]
        if width == size:
            return self._sorted(index, items, own)
        last = constant + np.take_along_axis(coarse, items, axis=1).max(axis=1)
        del coarse
        distances, items = self._sorted(index, items, own)
        # What lies beyond a list is farther than its last item, but for the rounding.
        beyond = (last - self.frame.errors(rows)) / self.frame.unit
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
