"""Which neighbours of a list by coarse distances may stand in another order."""

from typing import NamedTuple

import numpy as np
import torch

from stt_bench.evaluation.ranking import tied_neighbours

LAST_RUN = 64  # neighbours, among which the last run of most lists begins


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


def first_places(positives: np.ndarray) -> np.ndarray:
    """Return the place of the first positive of each list, (Q,), given their numbers (Q, L)."""
    return np.argmax(positives.astype(bool, copy=False), axis=1)


def close_neighbours(values: np.ndarray, bounds: Bounds) -> np.ndarray:
    """Tell where neighbours (Q, L - 1) of lists may stand in another order, or are equal."""
    if bounds.exact:
        return tied_neighbours(values)
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


def are_doubtful(
    close: np.ndarray, sizes: np.ndarray, positives: np.ndarray, crowded: bool
) -> np.ndarray:
    """Tell which lists have close neighbours whose order matters, (Q,).

    At least one of them is a positive, and in a `crowded` gallery one is another item. Positives
    before all other items have the same metrics in any order, to the last bit.
    """
    there = positives.astype(bool, copy=False)
    if crowded:
        # Of what counts as no item, both sides may be.
        others = sizes > positives
        alone = others & ~there
        matter = (others[:, 1:] | others[:, :-1]) & ~(alone[:, 1:] & alone[:, :-1])
        return np.any(matter & close, axis=1)
    doubtful = np.any((there[:, 1:] | there[:, :-1]) & close, axis=1)
    some = np.flatnonzero(doubtful)
    if len(some):
        first = _first_others(sizes[some], positives[some])
        joined = close[some, np.clip(first, 1, close.shape[1]) - 1] & (first < sizes.shape[1])
        beyond = np.arange(1, sizes.shape[1]) >= np.where(joined, 0, first)[:, None]
        beyond &= close[some] & (there[some, 1:] | there[some, :-1])
        doubtful[some] = beyond.any(axis=1)
    return doubtful


def _first_others(sizes: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Return the first place of each list with an item that is no positive, L without one, (Q,)."""
    others = sizes > positives
    first = np.argmax(others, axis=1)
    return np.where(others[np.arange(len(first)), first], first, others.shape[1])


def doubtful_pairs(
    close: np.ndarray,
    sizes: np.ndarray,
    positives: np.ndarray,
    depth: np.ndarray,
    first: np.ndarray,
    patience: float,
    crowded: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return neighbours whose order is not certain and matters, and which lists have too many.

    Of the neighbours the first one's places in the flat table are returned. They form runs of close
    neighbours that hold a positive, and of a `crowded` gallery another item too; elsewhere only
    runs before the first other item may do without. Runs are those before the depth of the list,
    and that of its first positive, at the place `first`.
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
    else:
        ends = starts - query * width + lengths
        holds &= ends > _first_others(sizes, positives)[query]
    before = _before(sizes, starts)
    unclear = holds & ((before < depth[query]) | (starts <= first[query]))
    left = np.bincount(query, lengths * unclear, minlength=count) > patience
    return pairs[np.repeat(unclear & ~left[query], lengths - 1)], left


def _before(sizes: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return how many items stand before each of the places (M,) of the flat table of lists."""
    through = torch.from_numpy(sizes).cumsum(1, dtype=torch.int32).numpy()
    through -= sizes
    return through.ravel().take(places)


def last_run(close: np.ndarray) -> np.ndarray:
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
