"""Points of few possible distances, as codes of ±1: items are counted at each, nothing is sorted.

On a grid, squared distances are whole multiples of the square of its spacing, up to what its
extent allows. Where these are few beside the gallery, a query's tie groups are how many items, and
how many positives, stand at each of them.
"""

from typing import NamedTuple

import numpy as np

from stt_bench.evaluation.checks import blocks
from stt_bench.evaluation.coarse import TorchSearch
from stt_bench.evaluation.exact import Points
from stt_bench.evaluation.frames import CoarseFrame
from stt_bench.evaluation.gallery import Gallery
from stt_bench.evaluation.levels import Level
from stt_bench.evaluation.lists import ListRanker, OutsideBoundError
from stt_bench.evaluation.ranking import TieGroups, find_tie_groups

# Of the gallery's points, as many distances may be possible; and where the gallery is read for
# every block of queries, so that these are to be many.
FEW_SHARE, FEW_SHARE_READ = 1 / 4, 1 / 512
POSITIVE = 2.0**26  # beside an item: one float64 holds the numbers of both
CELLS = 2**17  # pairs that are counted at once
CELL_BYTES = 64  # what each takes


class Grid(NamedTuple):
    """All squared distances in a frame are `square` times 0, 1, … `distances` − 1."""

    square: float
    distances: int


def grid_of(frame: CoarseFrame, queries: Points, gallery: Gallery, kept: bool) -> Grid | None:
    """Return the grid of an exact frame; None where many distances are possible.

    Nor is there one for rules, which would be asked of all pairs; `kept` tells whether the gallery
    is read once.
    """
    if not frame.exact or gallery.ruled or int(gallery.sizes.sum()) >= POSITIVE:
        return None
    most = (FEW_SHARE if kept else FEW_SHARE_READ) * len(gallery.points)
    origin = frame.rows(gallery.points, slice(0, 1))
    low = high = bits = np.zeros(queries.dimension, dtype=np.int64)
    distances, spacing = 1, 1
    for points in (gallery.points,) if queries is gallery.points else (gallery.points, queries):
        for index in points.blocks():
            steps = ((frame.rows(points, index) - origin) / frame.step).astype(np.int64)
            low, high = np.minimum(low, steps.min(axis=0)), np.maximum(high, steps.max(axis=0))
            bits = bits | np.bitwise_or.reduce(steps, axis=0)
            together = int(np.bitwise_or.reduce(bits))
            spacing = together & -together or 1
            distances = 1 + int((((high - low) // spacing) ** 2).sum())
            if distances > most:
                return None
    return Grid((spacing * frame.step) ** 2, distances)


def count_at_distances(
    grid: Grid, level: Level, ranker: ListRanker, queries: np.ndarray
) -> TieGroups:
    """Return the tie groups of queries (Q,), each of which has a positive.

    Raises:
        OutsideBoundError: a distance of the level is not exact.
    """
    gallery = ranker.gallery
    assert isinstance(level.searcher, TorchSearch), "a dense search has no frame"
    held = level.searcher.queries(level.frame.rows(ranker.queries, queries))
    counts = np.zeros((len(queries), grid.distances))
    at_once = min(CELLS, level.memory // 4 // CELL_BYTES)
    for place, part in level.parts():
        for block, table in level.searcher.distances(held, part):
            few = max(1, at_once // max(len(part), grid.distances))
            for some in blocks(len(table), few):
                to = slice(block.start + some.start, block.start + some.stop)
                distances, asked = table[some], queries[to]
                _check(ranker, asked, place, distances, level.frame.unit)
                cells = distances * (1 / grid.square)
                if cells.min() < 0 or cells.max() >= grid.distances:
                    raise OutsideBoundError
                cells += grid.distances * np.arange(len(asked), dtype=cells.dtype)[:, None]
                items = gallery.weighed(asked, place, POSITIVE)
                found = np.bincount(cells.ravel().astype(np.int64), items.ravel(), counts[to].size)
                counts[to] += found.reshape(len(asked), -1)
    positives = np.floor(counts / POSITIVE)
    counts -= POSITIVE * positives
    apart = np.zeros((len(queries), grid.distances - 1), dtype=bool)
    depth = gallery.depth[queries]
    return find_tie_groups(apart, counts.astype(np.int64), positives.astype(np.int64), depth)


def _check(
    ranker: ListRanker, queries: np.ndarray, place: slice, distances: np.ndarray, unit: float
) -> None:
    """Compare one distance of each query (Q, n) with the exact one."""
    count = distances.shape[1]
    one = (queries + count // 2) % count  # which is seldom its own
    values = distances[np.arange(len(queries)), one]
    ranker.check(queries, place.start + one, values, np.zeros(len(queries)), unit)
