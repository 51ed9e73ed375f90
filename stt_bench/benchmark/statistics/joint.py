"""Joint draws of what the rows of a table would show if none of them differed from the baseline."""

from __future__ import annotations

import numpy as np
from scipy import special

from stt_bench.benchmark.statistics.crossed import mean_squares

_TINY = 1e-300


def joint_draws(d: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return (draws, k) standardised joint errors of the means of (k, S, C) differences.

    Gaussian multipliers on the class effects of all rows at once, and on their seed effects, keep
    the correlation that a shared baseline, shared classes and shared seeds give. The seed effects
    are shrunk by √(1 − MSe/MSa): the rest of them is the residual's. Columns have unit variance.
    """
    _, S, C = d.shape
    mean = d.mean((1, 2), keepdims=True)
    b = (d.mean(1) - mean[:, :, 0]).T / np.sqrt(C * (C - 1))
    drawn = rng.standard_normal((draws, C)) @ b
    variance = (b**2).sum(axis=0)
    if S > 1:
        squares = mean_squares(d)
        kept = np.sqrt(np.clip(1 - squares.residual / np.maximum(squares.seeds, _TINY), 0, 1))
        a = (d.mean(2) - mean[:, :, 0]).T * kept / np.sqrt(S * (S - 1))
        drawn += rng.standard_normal((draws, S)) @ a
        variance = variance + (a**2).sum(axis=0)
    return drawn / np.sqrt(np.maximum(variance, _TINY))


def null_p(
    d: np.ndarray,
    freedom: np.ndarray,
    draws: int,
    rng: np.random.Generator,
    *,
    two_sided: bool = True,
) -> np.ndarray:
    """Return (draws, k) joint p-values under the null: a multivariate t with each row's own ν.

    The standard errors of two rows are correlated by about the square of their means' correlation,
    so each row's chi-square shares that part, its mean over the other rows, with all. (One
    chi-square for all gives too many false alarms, one for each row too few marks.)

    Args:
        d: (k, S, C) differences.
        freedom: (k,) degrees of freedom of the rows' means.
        draws: how many.
        rng: what draws them.
        two_sided: or one-sided, small where a mean is above 0.
    """
    z = joint_draws(d, draws, rng)
    common = rng.standard_normal(draws)
    p = np.empty_like(z)
    for row, part in enumerate(_shared(z)):
        own = rng.standard_normal(draws)
        u = special.ndtr(np.sqrt(part) * common + np.sqrt(1 - part) * own)
        t = z[:, row] / np.sqrt(special.chdtri(freedom[row], u) / freedom[row])
        if two_sided:
            p[:, row] = 2 * special.stdtr(freedom[row], -np.abs(t))
        else:
            p[:, row] = special.stdtr(freedom[row], -t)
    return p


def _shared(z: np.ndarray) -> np.ndarray:
    """Return each column's mean squared correlation with the others, (k,), in [0, 1]."""
    k = z.shape[1]
    if k == 1:
        return np.ones(1)
    with np.errstate(divide="ignore", invalid="ignore"):  # a row that never differs
        correlation = np.nan_to_num(np.corrcoef(z.T))
    np.fill_diagonal(correlation, 0.0)
    return np.clip((correlation**2).sum(axis=1) / (k - 1), 0, 1)
