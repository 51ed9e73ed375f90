"""From the nearest points of a query to its tie groups: certain by a bound, or compared exactly.

Where neighbouring distances of a list differ by more than twice the error bound, their order is
certain; the others form runs, and exact distances order the runs that hold a positive. The last
run may go on beyond the list, so it is left out, unless the list is the whole gallery.
"""

from typing import NamedTuple

import numpy as np
import torch

from stt_bench.evaluation.certainty import (
    Bounds,
    are_doubtful,
    close_neighbours,
    doubtful_pairs,
    first_places,
    last_run,
)
from stt_bench.evaluation.checks import blocks
from stt_bench.evaluation.crowded import runs_of_points, runs_of_positives
from stt_bench.evaluation.exact import Points, exact_pairs
from stt_bench.evaluation.gallery import Gallery
from stt_bench.evaluation.ranking import TieGroups, find_tie_groups, tied_neighbours

PAIRS_BYTES = 2**18  # what a processor keeps at hand


class OutsideBoundError(Exception):
    """Coarse distances are not what they promise, as of a GPU in reduced precision."""


class Ranked(NamedTuple):
    """What lists are certain of.

    `found` are queries with their tie groups; `short` are those whose list is too short,
    `missed` those whose positives all lie beyond it, and `unclear` those with more doubtful pairs
    than are worth comparing.
    """

    found: list[tuple[np.ndarray, TieGroups]]
    short: np.ndarray
    missed: np.ndarray
    unclear: np.ndarray


class ListRanker:
    """Ranks the lists of queries."""

    def __init__(self, queries: Points, gallery: Gallery) -> None:
        """Keep the points and what they stand for; `compared` counts exact comparisons."""
        self.queries = queries
        self.gallery = gallery
        self.compared = 0

    def rank(
        self,
        queries: np.ndarray,
        values: np.ndarray,
        points: np.ndarray,
        bounds: Bounds,
        unit: float,
        patience: float = np.inf,
    ) -> Ranked:
        """Rank lists of points.

        Args:
            queries: (Q,) rows of queries.
            values: (Q, L) coarse distances, ascending.
            points: (Q, L) points of the gallery.
            bounds: on |value − exact · unit|.
            unit: of the values.
            patience: how many doubtful pairs of a query are compared at most.

        Raises:
            OutsideBoundError: a coarse distance is off by more than its bound.
        """
        values = values.astype(np.float64, copy=False)
        width = values.shape[1]
        close = close_neighbours(values, bounds)
        sizes, positives = self.gallery.others(queries, points)
        depth = self.gallery.depth[queries]
        enough = np.ones(len(queries), dtype=bool)  # the whole gallery is
        if width < len(self.gallery.points):
            start = last_run(close)
            least = int(start.min())  # where the last runs begin, which are mostly short
            within = np.arange(least, width) < start[:, None]
            for table in (sizes, positives):
                table[:, least:] *= within
            enough = sizes.sum(axis=1) >= depth
        there = positives.astype(bool, copy=False)
        holds = there.any(axis=1)
        ready = enough & holds
        tied = are_doubtful(close, sizes, positives, self.gallery.crowded)
        first = np.argmax(there, axis=1)
        found, unclear = [], []
        held: np.ndarray | slice
        if (clear := np.flatnonzero(ready & ~tied)).size:
            at = clear, first[clear]
            off = bounds.at(clear, values[at])
            self.check(queries[clear], points[at], values[at], off, unit)
            held = clear if len(clear) < len(queries) else slice(None)  # which copies nothing
            groups = self._untied(sizes[held], positives[held], depth[held])
            found.append((queries[clear], groups))
        if (doubtful := np.flatnonzero(ready & tied)).size:
            held = doubtful if len(doubtful) < len(queries) else slice(None)
            ranked, left = self._ordered(
                queries[held],
                values[held],
                points[held],
                sizes[held],
                positives[held],
                close[held],
                bounds.of(held),
                unit,
                patience,
            )
            found += ranked
            unclear.append(left)
        none = np.empty(0, dtype=np.int64)
        return Ranked(
            found, queries[~enough], queries[enough & ~holds], np.concatenate([none, *unclear])
        )

    def check(
        self,
        queries: np.ndarray,
        points: np.ndarray,
        values: np.ndarray,
        errors: np.ndarray,
        unit: float,
    ) -> np.ndarray:
        """Return exact distances in the frame, which must agree with the coarse ones."""
        exact = self.exact(queries, points) * unit
        if np.any(np.abs(exact - values) > errors):
            raise OutsideBoundError
        return exact

    def _ordered(
        self,
        queries: np.ndarray,
        values: np.ndarray,
        points: np.ndarray,
        sizes: np.ndarray,
        positives: np.ndarray,
        close: np.ndarray,
        bounds: Bounds,
        unit: float,
        patience: float,
    ) -> tuple[list[tuple[np.ndarray, TieGroups]], np.ndarray]:
        """Compare exactly where the order of a positive is not certain; return also who is left."""
        count, width = values.shape
        depth = self.gallery.depth[queries]
        # One of every list at least, to see that the coarse search keeps its promise.
        places = first_places(positives) + np.arange(count) * width
        left, tied = np.zeros(count, dtype=bool), np.ones(count, dtype=bool)
        if not bounds.exact:
            asked = np.zeros(values.size, dtype=bool)
            asked[places] = True
            doubtful, left = doubtful_pairs(
                close, sizes, positives, depth, places, patience, self.gallery.crowded
            )
            asked[doubtful] = asked[doubtful + 1] = True
            places = np.flatnonzero(asked)
        self.compared += len(places)
        query = places // width
        flat = values.ravel()
        flat[places] = self.check(
            queries[query],
            points.ravel()[places],
            flat[places],
            bounds.at(query, flat[places]),
            unit,
        )
        if not bounds.exact:
            # Runs keep their places; within them distances are exact.
            pairs = places[:-1][(places[1:] == places[:-1] + 1) & (query[1:] == query[:-1])]
            moved = np.zeros(count, dtype=bool)
            moved[pairs[flat[pairs + 1] < flat[pairs]] // width] = True
            order = np.argsort(values[moved], axis=1, kind="stable")
            for table in (values, sizes, positives):
                table[moved] = np.take_along_axis(table[moved], order, axis=1)
            tied[:] = False
            tied[pairs[flat[pairs + 1] == flat[pairs]] // width] = True
        found = []
        for of_ties in (True, False):
            some = np.flatnonzero((tied == of_ties) & ~left)
            if not len(some):
                continue
            held = some if len(some) < count else slice(None)
            tables = sizes[held], positives[held], depth[held]
            if of_ties:
                same = close[held] if bounds.exact else tied_neighbours(values[held])
                groups = find_tie_groups(same, *tables)
            else:
                groups = self._untied(*tables)
            found.append((queries[held], groups))
        return found, queries[left]

    def _untied(self, sizes: np.ndarray, positives: np.ndarray, depth: np.ndarray) -> TieGroups:
        """Return the tie groups of lists without ties: each point with a positive is one."""
        if self.gallery.plain:
            return _alone(sizes, positives, depth, self.gallery.crowded)
        through = torch.from_numpy(sizes).cumsum(1, dtype=torch.int32).numpy()
        kept = through - sizes < depth[:, None].astype(np.int32)
        kept &= positives > 0
        kept[np.arange(len(kept)), first_places(positives)] = True
        if self.gallery.crowded:
            return runs_of_points(sizes, positives, through, kept)
        query = np.repeat(np.arange(len(kept)), np.count_nonzero(kept, axis=1))
        flat = np.flatnonzero(kept)
        before, size, found = (
            table.take(flat).astype(np.int64) for table in (through, sizes, positives)
        )
        before -= size
        return TieGroups(query, before, size, found)

    def exact(self, queries: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Return the exact distances of pairs of a query and a gallery point, (M,)."""
        distances = np.empty(len(queries))
        for part in blocks(len(queries), max(1, PAIRS_BYTES // (8 * self.queries.dimension))):
            left = self.queries.rows(queries[part])
            right = self.gallery.points.rows(points[part])
            distances[part] = exact_pairs(left, right, self.queries.distance)
        return distances


def _alone(
    others: np.ndarray, positives: np.ndarray, depth: np.ndarray, crowded: bool
) -> TieGroups:
    """Return the tie groups of lists without ties where every point is one item.

    Only the query itself, at most, is not among the `others` (Q, L), and so is not counted.
    """
    count, width = positives.shape
    itself = np.where(others.all(axis=1), width, np.argmin(others, axis=1))
    limit = (depth + (itself <= depth)).astype(np.int32)
    if crowded:
        return runs_of_positives(positives, itself, limit)
    least = int(limit.min(initial=width))
    reached = positives.copy()
    reached[:, least:] &= np.arange(least, width, dtype=np.int32) < limit[:, None]
    reached[np.arange(count), np.argmax(positives, axis=1)] = True
    flat = np.flatnonzero(reached)
    # Each list up to the query itself, and after it, where one item less is nearer.
    start = width * np.arange(count)
    halves = np.searchsorted(flat, np.stack([start, start + itself], axis=1).ravel())
    counts = np.diff(halves, append=len(flat))
    flat -= np.repeat(np.stack([start, start + 1], axis=1).ravel(), counts)
    query = np.repeat(np.arange(count), counts.reshape(count, 2).sum(axis=1))
    one = np.broadcast_to(np.int64(1), len(flat))
    return TieGroups(query, flat, one, one)
