"""A searcher with its frame and the gallery: lists of the nearest points, in bounded memory."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from stt_bench.evaluation import coarse
from stt_bench.evaluation.checks import blocks
from stt_bench.evaluation.coarse import DenseSearch, Part, TorchSearch, nearest_of_parts
from stt_bench.evaluation.exact import Points
from stt_bench.evaluation.frames import CoarseFrame, ExactFrame
from stt_bench.evaluation.gallery import Gallery
from stt_bench.evaluation.wide import (
    WideSearch,
    lost_share,
    nearest_keys,
    split_keys,
    without_outliers,
)

PART_ROWS = 65_536


class Lists(NamedTuple):
    """Lists of Q queries.

    `of` gives some queries' distances, ascending, and points, both (S, width). `errors` (Q,)
    bounds the error of the distances.
    """

    of: Callable[[slice], tuple[np.ndarray, np.ndarray]]
    errors: np.ndarray
    width: int


class Level:
    """A searcher with the frame of its points, and the gallery in parts."""

    def __init__(
        self,
        frame: CoarseFrame | ExactFrame,
        searcher: TorchSearch | DenseSearch,
        gallery: Gallery,
        memory: int,
    ) -> None:
        """Take what belongs together; `memory` bounds the bytes of parts and tables."""
        self.frame = frame
        self.searcher = searcher
        self.gallery = gallery
        self.memory = memory
        self._kept_parts: list[tuple[slice, Part]] = []

    def lists(
        self,
        queries: Points,
        index: np.ndarray,
        width: int,
        last: int | None = None,
        needed: int | None = None,
    ) -> "Lists":
        """Return the `width` nearest points by coarse distance, of queries (Q,).

        Given a place `last`, lists may leave out what is farther than what stands there, but for
        one; given how many are `needed`, what is very far beyond them.
        """
        rows = self.frame.rows(queries, index)
        size = len(self.gallery.points)
        if isinstance(self.searcher, WideSearch):
            keys = self.searcher.keys(rows, self.parts(), width, size)
            if needed is not None:
                keys = without_outliers(keys, needed, size)
            farthest = split_keys(keys[:, -1:], size)[0][:, 0]
            lost = np.zeros(len(rows)) if self.frame.exact else lost_share(size) * farthest
            errors = self.frame.errors(rows, farthest + 2 * lost) + lost
            keys = nearest_keys(keys, last, size)
            return Lists(lambda some: split_keys(keys[some], size), errors, keys.shape[1])
        values, points = nearest_of_parts(self.searcher, rows, self.parts(), width)
        errors = self.frame.errors(rows, values[:, -1])
        return Lists(lambda some: (values[some], points[some]), errors, width)

    @property
    def is_kept(self) -> bool:
        """Tell whether the gallery fits in half of the memory, so that it is read once."""
        points = self.gallery.points
        return 4 * self.searcher.copies * len(points) * points.dimension <= self.memory // 2

    def parts(self) -> Iterator[tuple[slice, Part]]:
        """Yield the gallery in parts, which are kept if they fit in the memory."""
        if self._kept_parts:
            yield from self._kept_parts
            return
        points = self.gallery.points
        step = min(PART_ROWS, self.memory // 8 // (4 * points.dimension))
        step = max(
            1, step // coarse.GROUP * coarse.GROUP or step
        )  # whole groups need no filling up
        parts = []
        for rows in blocks(len(points), step):
            framed = self.frame.rows(points, rows, coarse.GROUP)
            part = self.searcher.load(framed, self.gallery.sizes[rows])
            if self.is_kept:
                parts.append((rows, part))
            yield rows, part
        self._kept_parts = parts

    def forget(self) -> None:
        """Give the memory of kept parts back."""
        self._kept_parts = []
