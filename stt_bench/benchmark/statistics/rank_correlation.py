"""Whether two tables put the same rows in the same order, and what shared classes add to that."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from stt_bench.benchmark.statistics.crossed import LEVEL

FEWEST_ROWS = 8  # below, the interval covers less than it promises (simulated)
SPLITS = 200  # of the classes into two halves


class RankCorrelation(NamedTuple):
    """Kendall's τ over some rows with its interval; None where all pairs of rows agree, or none."""

    tau: float
    interval: tuple[float, float] | None
    rows: int


class HalfCorrelation(NamedTuple):
    """Kendall's τ where both tables have the same half of the classes, and where each has its own.

    Both are of means over half the classes, equally noisy: what `same` is above `disjoint` comes of
    the shared classes.
    """

    same: float
    disjoint: float


def rank_correlation(
    x: np.ndarray, y: np.ndarray, level: float = LEVEL, fewest: int = FEWEST_ROWS
) -> RankCorrelation | None:
    """Return Kendall's τ_b of (k,) and (k,) values, with its jackknife interval over the k rows.

    τ_j is τ without row j, and the standard error √((k − 1)/k · Σ_j (τ_j − τ̄)²), with Student's
    quantile of k − 1 degrees of freedom, cut at ±1 (Arvesen, "Jackknifing U-statistics", 1969). For
    normal values of any correlation it covers 94 to 97 % from eight rows on (simulated).

    Returns:
        None below the fewest rows, or where all values of a table are equal.
    """
    k = len(x)
    if k < fewest:
        return None
    tau = _tau(x, y)
    without = np.array([_tau(np.delete(x, j), np.delete(y, j)) for j in range(k)])
    if np.isnan(tau) or np.isnan(without).any():
        return None
    error = np.sqrt((k - 1) / k * np.square(without - without.mean()).sum())
    if error == 0:
        return RankCorrelation(tau, None, k)
    reach = float(stats.t.isf((1 - level) / 2, k - 1) * error)
    return RankCorrelation(tau, (max(-1.0, tau - reach), min(1.0, tau + reach)), k)


def half_correlation(x: np.ndarray, y: np.ndarray, splits: int = SPLITS) -> HalfCorrelation | None:
    """Return Kendall's τ_b of k rows between halves of the C classes that two tables share.

    x and y are (k, C) values of the rows by class; x_A are the rows' means over the classes A. For
    each random split (fixed seed) of the classes into A and B, `same` is the mean of τ(x_A, y_A)
    and τ(x_B, y_B), `disjoint` that of τ(x_A, y_B) and τ(x_B, y_A). Both are averaged over splits.

    Returns:
        None below four classes, or where all rows of a half are equal.
    """
    C = x.shape[1]
    if C < 4:
        return None
    rng = np.random.default_rng(0)
    found = np.empty((splits, 2, 2))
    for split in found:
        halves = np.array_split(rng.permutation(C), 2)
        means = [[values[:, half].mean(axis=1) for half in halves] for values in (x, y)]
        split[:] = [[_tau(ours, theirs) for theirs in means[1]] for ours in means[0]]
    if np.isnan(found).any():
        return None
    tau = found.mean(axis=0)
    return HalfCorrelation(float(tau.trace() / 2), float((tau[0, 1] + tau[1, 0]) / 2))


def _tau(x: np.ndarray, y: np.ndarray) -> float:
    """Return τ_b, the cosine between the signs of all differences; NaN where all are equal."""
    ours, theirs = (np.sign(values[:, None] - values).ravel() for values in (x, y))
    size = np.sqrt((ours @ ours) * (theirs @ theirs))
    return float(ours @ theirs / size) if size else float("nan")
