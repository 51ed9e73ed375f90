"""New seeds and new classes: a crossed analysis of variance of differences by seed and class.

The model is d[s, c] = μ + a_s + b_c + e_sc, all three random. The degrees of freedom are those of
Satterthwaite (1946); see Searle, Casella and McCulloch, *Variance Components* (1992).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special  # scipy.stats gives the same bits some ten times slower

LEVEL = 0.95
_TINY = 1e-300


class MeanSquares(NamedTuple):
    """The mean, and the mean squares of seeds, classes and the residual, each of shape (...)."""

    mean: np.ndarray
    seeds: np.ndarray
    classes: np.ndarray
    residual: np.ndarray


class Estimate(NamedTuple):
    """A mean with its standard error and degrees of freedom, each of shape (...)."""

    mean: np.ndarray
    error: np.ndarray
    freedom: np.ndarray

    def half_width(self, level: float = LEVEL) -> np.ndarray:
        """Return t_ν · standard error, so that mean ± it holds the truth in `level` of cases."""
        return -special.stdtrit(self.freedom, (1 - level) / 2) * self.error

    def p_value(self) -> np.ndarray:
        """Return P(|t_ν| ≥ |mean| / standard error), two-sided; 1 where both are 0."""
        return 2 * special.stdtr(self.freedom, -np.abs(self.mean) / np.maximum(self.error, _TINY))

    def p_above(self) -> np.ndarray:
        """Return P(t_ν ≥ mean / standard error): small where the mean is above 0."""
        return special.stdtr(self.freedom, -self.mean / np.maximum(self.error, _TINY))


def mean_squares(d: np.ndarray) -> MeanSquares:
    """Return the mean squares of (..., S, C) differences.

    MSa = C·Σ_s(d̄_s − d̄)²/(S−1), MSb = S·Σ_c(d̄_c − d̄)²/(C−1),
    MSe = Σ(d_sc − d̄_s − d̄_c + d̄)²/((S−1)(C−1)); 0 where there is one seed.

    Raises:
        ValueError: there are fewer than two classes.
    """
    S, C = d.shape[-2:]
    if C < 2:
        raise ValueError("Differences of fewer than two classes say nothing of new classes.")
    mean = d.mean((-1, -2), keepdims=True)
    a = d.mean(-1, keepdims=True) - mean
    b = d.mean(-2, keepdims=True) - mean
    rest = d - mean - a - b
    return MeanSquares(
        mean[..., 0, 0],
        C * (a**2).sum((-1, -2)) / max(S - 1, 1),
        S * (b**2).sum((-1, -2)) / (C - 1),
        (rest**2).sum((-1, -2)) / max((S - 1) * (C - 1), 1),
    )


def crossed(d: np.ndarray) -> Estimate:
    """Return the mean of (..., S, C) differences, for new seeds and new classes.

    V = max(MSa + MSb − MSe, MSa, MSb)/(S·C): a negative component counts as 0. Its degrees of
    freedom are (MSa+MSb−MSe)² / (MSa²/(S−1) + MSb²/(C−1) + MSe²/((S−1)(C−1))), or those of the
    one mean square that is left. With one seed V = var_c/C and ν = C − 1.
    """
    S, C = d.shape[-2:]
    mean, A, B, E = mean_squares(d)
    if S == 1:
        return Estimate(mean, np.sqrt(B / C), np.full_like(mean, C - 1.0))
    whole = A + B - E
    variance = np.maximum(np.maximum(A, B), whole)
    one_left = np.where(B >= A, C - 1.0, S - 1.0)
    parts = A**2 / (S - 1) + B**2 / (C - 1) + E**2 / ((S - 1) * (C - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(whole >= np.maximum(A, B), variance**2 / parts, one_left)
    freedom = np.clip(np.nan_to_num(freedom, nan=1.0), min(S, C) - 1.0, S * C - 1.0)
    return Estimate(mean, np.sqrt(variance / (S * C)), freedom)


def components(d: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the standard deviations of seeds, classes and the residual of (..., S, C) differences.

    σ_a² = (MSa − MSe)/C, σ_b² = (MSb − MSe)/S, σ_e² = MSe; below 0 they count as 0. With one seed
    all of it counts as the classes'.
    """
    S, C = d.shape[-2:]
    _, A, B, E = mean_squares(d)
    return np.sqrt(np.maximum((A - E) / C, 0)), np.sqrt(np.maximum((B - E) / S, 0)), np.sqrt(E)
