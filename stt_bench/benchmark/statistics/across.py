"""Over several data sources: the mean difference, its interval, and how often a row is above.

Tables of one source share classes or photos, so their differences are no independent draws: they
are averaged first. Scales differ from table to table, so that averaged points are no ranking; ranks
of four to eight sources can hardly be told apart (Demšar, "Statistical Comparisons of Classifiers
over Multiple Data Sets", 2006, asks for ten or more).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from stt_bench.benchmark.statistics.crossed import LEVEL

FEWEST_SOURCES = 3  # below, an interval is too wide to say anything, and no p is less than 0.5


class Across(NamedTuple):
    """A row over n sources: the mean, and the signs; half-width and p are None below three."""

    mean: float
    half_width: float | None
    above: int
    sources: int
    sign_p: float | None


def across_sources(
    differences: np.ndarray, sources: Sequence[Hashable], level: float = LEVEL
) -> Across:
    """Return what (T,) differences, of tables of the named sources, say together.

    With d_q the mean over the tables of source q: mean d̄ = Σ_q d_q / n, its half-width
    t_(n−1)·sd(d_q)/√n, and a two-sided sign test of the d_q that leaves out those of 0.

    Raises:
        ValueError: there is no table, or not one source for each.
    """
    if not len(differences):
        raise ValueError("There is no table to look at.")
    of: dict[Hashable, list[float]] = {}
    for difference, source in zip(differences, sources, strict=True):
        of.setdefault(source, []).append(float(difference))
    d = np.array([np.mean(one) for one in of.values()])
    n, above, decided = len(d), int((d > 0).sum()), int((d != 0).sum())
    reach = sign_p = None
    if n >= FEWEST_SOURCES:
        reach = float(stats.t.isf((1 - level) / 2, n - 1) * d.std(ddof=1) / np.sqrt(n))
        sign_p = float(stats.binomtest(above, decided).pvalue) if decided else 1.0
    return Across(float(d.mean()), reach, above, n, sign_p)
