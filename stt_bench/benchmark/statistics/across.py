"""Over several tables: the mean difference and its interval, and how often a row is above.

Scales differ from table to table, so that averaged points are no ranking; ranks of four to eight
tables can hardly be told apart (Demšar, "Statistical Comparisons of Classifiers over Multiple Data
Sets", 2006, asks for ten or more).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from stt_bench.benchmark.statistics.crossed import LEVEL


class Across(NamedTuple):
    """A row over T tables: the mean, its half-width (None with one table), and the signs."""

    mean: float
    half_width: float | None
    above: int
    tables: int
    sign_p: float

    @property
    def text(self) -> str:
        """Return the signs in words."""
        return f"above in {self.above} of {self.tables} (sign test {self.sign_p:.3g})"


def across_tables(differences: np.ndarray, level: float = LEVEL) -> Across:
    """Return the mean of (T,) differences with its t interval of T − 1 degrees of freedom.

    The sign test is two-sided and leaves out differences of 0.

    Raises:
        ValueError: there is no table.
    """
    T = len(differences)
    if not T:
        raise ValueError("There is no table to look at.")
    reach = None
    if T > 1:
        error = differences.std(ddof=1) / np.sqrt(T)
        reach = float(stats.t.isf((1 - level) / 2, T - 1) * error)
    above, decided = int((differences > 0).sum()), int((differences != 0).sum())
    sign_p = float(stats.binomtest(above, decided).pvalue) if decided else 1.0
    return Across(float(differences.mean()), reach, above, T, sign_p)
