"""What a search of n trials would have found: the expected best of n, from the trials there are."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import NamedTuple

import numpy as np


class BestOf(NamedTuple):
    """The expected best of n trials: the mean over the studies, and the lowest and the highest."""

    mean: float
    low: float
    high: float


def expected_best(values: Sequence[float] | np.ndarray, n: int) -> float:
    """Return the expected maximum of n of the N values, drawn without replacement.

    With the order statistics v_(1) ≤ … ≤ v_(N) it is Σ_i v_(i) · C(i − 1, n − 1) / C(N, n): of the
    C(N, n) draws so many have v_(i) as their best. This is the mean, over all orderings of the
    trials, of the best among the first n. The curve over n is that of Dodge, Gururangan, Card,
    Schwartz, Smith, "Show Your Work", 2019 (arXiv:1909.03004); they draw with replacement, which is
    biased downwards and at n = N falls short of the best there is (Tang et al., "Showing Your Work
    Doesn't Always Work", 2020, arXiv:2004.13705, who give the form used here).

    Raises:
        ValueError: n is not from 1 to N.
    """
    ordered = sorted(map(float, values))
    count = len(ordered)
    if not 1 <= n <= count:
        raise ValueError(f"The best of {n} cannot be expected from {count} trials: n is 1 to N.")
    draws = comb(count, n)
    return sum(value * (comb(below, n - 1) / draws) for below, value in enumerate(ordered))


def best_of_n(studies: Sequence[Sequence[float]], n: int) -> BestOf | None:
    """Return the expected best of n trials over studies; None where one has fewer than n.

    Each study gives one value, over its own trials alone; low and high are the studies' extremes,
    so that the band is the luck of the search.
    """
    if not studies or min(map(len, studies)) < n:
        return None
    each = [expected_best(study, n) for study in studies]
    return BestOf(float(np.mean(each)), min(each), max(each))
