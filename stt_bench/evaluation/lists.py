"""From the nearest points of a query to its tie groups: certain by a bound, or compared exactly.

Where neighbouring distances of a list differ by more than twice the error bound, their order is
certain; the others form runs, and exact distances order the runs that hold a positive. The last
run may go on beyond the list, so it is left out, unless the list is the whole gallery.
"""

from typing import NamedTuple

import numpy as np
import torch

from stt_bench.evaluation.checks import blocks
from stt_bench.evaluation.crowded import runs_of_positives
from stt_bench.evaluation.exact import Points, exact_pairs
from stt_bench.evaluation.gallery import Gallery
from stt_bench.evaluation.ranking import TieGroups, find_tie_groups

PAIRS_BYTES = 2**18  # what a processor keeps at hand
LAST_RUN = 64  # neighbours, among which the last run of most lists begins


class OutsideBoundError(Exception):
    """Coarse distances are not what they promise, as of a GPU in reduced precision."""


class Bounds(NamedTuple):
    """Bounds on the errors of lists' distances v: `start` (Q,) + `slope` · v; 0 of exact ones.

    With a slope no v is below 0.
    """

    start: np.ndarray
    slope: float = 0.0

    def of(self, rows: np.ndarray | slice) -> "Bounds":
        """Return those of some lists."""
        return Bounds(self.start[rows], self.slope)

    def at(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return the bounds of distances (M,) in lists (M,)."""
        return self.start[rows] + self.slope * values

    @property
    def exact(self) -> bool:
        """Tell whether there are no errors."""
        return not (self.slope or self.start.any())


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
        close = _close(values, bounds)
        sizes, positives = self.gallery.others(queries, points)
        depth = self.gallery.depth[queries]
        enough = np.ones(len(queries), dtype=bool)  # the whole gallery is
        if width < len(self.gallery.points):
            start = _last_run(close)
            least = int(start.min())  # where the last runs begin, which are mostly short
            within = np.arange(least, width) < start[:, None]
            for table in (sizes, positives):
                table[:, least:] *= within
            enough = sizes.sum(axis=1) >= depth
        there = positives.astype(bool, copy=False)
        holds = there.any(axis=1)
        ready = enough & holds
        tied = np.any(self._matter(sizes, positives, there) & close, axis=1)
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
            ranked, groups, left = self._ordered(
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
            if len(ranked):
                found.append((ranked, groups))
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
    ) -> tuple[np.ndarray, TieGroups, np.ndarray]:
        """Compare exactly where the order of a positive is not certain; return also who is left."""
        width = values.shape[1]
        depth = self.gallery.depth[queries]
        # One of every list at least, to see that the coarse search keeps its promise.
        places = _first(positives) + np.arange(len(queries)) * width
        left = np.zeros(len(queries), dtype=bool)
        if not bounds.exact:
            doubtful, left = _doubtful(
                close, sizes, positives, depth, places, patience, self.gallery.crowded
            )
            places = np.union1d(places, doubtful)
        self.compared += len(places)
        query = places // width
        values.ravel()[places] = self.check(
            queries[query],
            points.ravel()[places],
            values.ravel()[places],
            bounds.at(query, values.ravel()[places]),
            unit,
        )
        kept = np.flatnonzero(~left)
        if left.any():
            values, sizes, positives = values[kept], sizes[kept], positives[kept]
        if not bounds.exact:
            moved = np.flatnonzero((values[:, 1:] < values[:, :-1]).any(axis=1))
            order = np.argsort(values[moved], axis=1, kind="stable")
            for table in (values, sizes, positives):
                table[moved] = np.take_along_axis(table[moved], order, axis=1)
            close = np.equal(values[:, 1:], values[:, :-1])
        if close.any():
            groups = find_tie_groups(values, sizes, positives, depth[kept], close)
        else:
            groups = self._untied(sizes, positives, depth[kept])
        return queries[kept], groups, queries[left]

    def _matter(self, sizes: np.ndarray, positives: np.ndarray, there: np.ndarray) -> np.ndarray:
        """Tell of which neighbours (Q, L - 1) of lists the order matters, if they are close."""
        if not self.gallery.crowded:
            return there[:, 1:] | there[:, :-1]
        # Two positives may stand in any order; what counts as none is on neither side.
        others = sizes > positives
        alone = others & ~there
        return (others[:, 1:] | others[:, :-1]) & ~(alone[:, 1:] & alone[:, :-1])

    def _untied(self, sizes: np.ndarray, positives: np.ndarray, depth: np.ndarray) -> TieGroups:
        """Return the tie groups of lists without ties: each point with a positive is one."""
        if self.gallery.plain:
            return _alone(sizes, positives, depth, self.gallery.crowded)
        through = torch.from_numpy(sizes).cumsum(1, dtype=torch.int32).numpy()
        kept = through - sizes < depth[:, None].astype(np.int32)
        kept &= positives > 0
        kept[np.arange(len(kept)), _first(positives)] = True
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


def _first(positives: np.ndarray) -> np.ndarray:
    """Return the place of the first positive of each list, (Q,), given their numbers (Q, L)."""
    return np.argmax(positives.astype(bool, copy=False), axis=1)


def _close(values: np.ndarray, bounds: Bounds) -> np.ndarray:
    """Tell where neighbours (Q, L - 1) of lists may stand in another order, or are equal."""
    if bounds.exact:
        return np.equal(values[:, 1:], values[:, :-1])
    # All lists as one, which takes half the time; what goes from one to the next is left out.
    flat, twice = values.ravel(), 2 * bounds.start[:, None]
    if not bounds.slope:
        steps = np.empty(values.shape)
        steps[-1:, -1] = 0
        np.subtract(flat[1:], flat[:-1], out=steps.ravel()[:-1])
        return (steps <= twice)[:, :-1]
    # Of two neighbours v and w ≥ v the farther one's bound: w − v ≤ 2 (start + slope · w).
    least = (1 - 2 * bounds.slope - 2.0**-50) * values
    least -= twice
    close = np.empty(values.shape, dtype=bool)
    np.less_equal(least.ravel()[1:], flat[:-1], out=close.ravel()[:-1])
    return close[:, :-1]


def _doubtful(
    close: np.ndarray,
    sizes: np.ndarray,
    positives: np.ndarray,
    depth: np.ndarray,
    first: np.ndarray,
    patience: float,
    crowded: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the places whose order is not certain and matters, and which lists have too many.

    They form runs of close neighbours that hold a positive, and of a `crowded` gallery another item
    too: those before the depth of the list, and that of its first positive, at the place `first`.
    Places are those of the flat table.
    """
    count, width = sizes.shape
    pairs = np.flatnonzero(close)
    pairs += pairs // max(1, width - 1)  # the place of the first of two
    run = np.append(0, 1 + np.flatnonzero(pairs[1:] != pairs[:-1] + 1))  # its first pair
    starts, lengths = pairs[run], np.diff(run, append=len(pairs)) + 1
    query = starts // width
    held = positives.ravel()
    holds = np.logical_or.reduceat((held[pairs] > 0) | (held[pairs + 1] > 0), run)
    if crowded:
        others = sizes.ravel() > held
        holds &= np.logical_or.reduceat(others[pairs] | others[pairs + 1], run)
    before = (np.cumsum(sizes, axis=1) - sizes).ravel()[starts]
    unclear = holds & ((before < depth[query]) | (starts <= first[query]))
    left = np.bincount(query, lengths * unclear, minlength=count) > patience
    of_these = pairs[np.repeat(unclear & ~left[query], lengths - 1)]
    return np.concatenate([of_these, of_these + 1]), left


def _last_run(close: np.ndarray) -> np.ndarray:
    """Return where the last run of each list starts, (Q,), given which neighbours are close."""
    count, width = close.shape
    if not width:
        return np.zeros(count, dtype=np.int64)
    end = close[:, -LAST_RUN:]
    start = width - np.argmin(end[:, ::-1], axis=1)
    longer = np.flatnonzero(end.all(axis=1))
    if len(longer):
        rows = close[longer]
        start[longer] = np.where(rows.all(axis=1), 0, width - np.argmin(rows[:, ::-1], axis=1))
    return start
