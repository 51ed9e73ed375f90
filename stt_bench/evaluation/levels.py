"""A searcher with its frame and the gallery: lists of the nearest points, in bounded memory."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from stt_bench.evaluation import coarse
from stt_bench.evaluation.certainty import Bounds
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
)

PART_ROWS = 65_536
# Where the bound is wide for the points up to one so-manieth of a list, so large a share of their
# distances that so many of them are doubtful, and their own bounds are so many times smaller, each
# point has its own.
EARLY, CROWDED, WORTH_BOUNDING = 8, 2**-14, 4


class Lists(NamedTuple):
    """Lists of Q queries.

    `of` gives some queries' distances, ascending, and points, both (S, width), and bounds on the
    errors of the distances.
    """

    of: Callable[[slice], tuple[np.ndarray, np.ndarray, Bounds]]
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
    ) -> "Lists":
        """Return the `width` nearest points by coarse distance, of queries (Q,).

        Given a place `last`, lists may leave out what is farther than what stands there, but for
        one.
        """
        rows = self.frame.rows(queries, index)
        size = len(self.gallery.points)
        if isinstance(self.searcher, WideSearch):
            keys = self.searcher.keys(rows, self.parts(), width, size)
            return self._by_keys(rows, nearest_keys(keys, last, size), keys[:, -1:])
        values, points = nearest_of_parts(self.searcher, rows, self.parts(), width)
        bounds = Bounds(self.frame.errors(rows, values[:, -1]))
        return Lists(lambda some: (values[some], points[some], bounds.of(some)), width)

    def _by_keys(self, rows: np.ndarray, keys: np.ndarray, last: np.ndarray) -> "Lists":
        """Return lists of keys (Q, width), given those of the farthest points, (Q, 1)."""
        assert isinstance(self.frame, CoarseFrame), "a wide search has no other"
        size = len(self.gallery.points)
        share = 0.0 if self.frame.exact else lost_share(size)
        farthest = split_keys(last, size)[0][:, 0]
        errors = self.frame.errors(rows, (1 + 2 * share) * farthest) + share * farthest
        start, slope = self.frame.errors_by_distance(rows)
        slope = (1 + 2 * share) * slope + share

        def of(some: slice) -> tuple[np.ndarray, np.ndarray, Bounds]:
            values, points = split_keys(keys[some], size)
            # Far points, as outliers or other tight classes, make no near ones doubtful.
            early = values[:, values.shape[1] // EARLY]
            wide = errors[some] * values.shape[1] > CROWDED * early
            if np.any(wide & (start[some] + slope * early < errors[some] / WORTH_BOUNDING)):
                return values, points, Bounds(start[some], slope)
            return values, points, Bounds(errors[some])

        return Lists(of, keys.shape[1])

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
