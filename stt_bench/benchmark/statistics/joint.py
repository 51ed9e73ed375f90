"""Joint draws of what the rows of a table would show if none of them differed from the baseline."""

from __future__ import annotations

import numpy as np
from scipy import special

from stt_bench.benchmark.statistics.crossed import mean_squares

_TINY = 1e-300
_GRID = 64
_SLACK = 1e-6  # far more than SciPy's quantiles of t are off by
_LEAST_TAIL = 1e-100  # far below it some of them are wrong


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
    at_most: float | np.ndarray = 1.0,
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
        at_most: 1.0 may stand for any p-value above it; one number, or one for each row. The rest
            are the same whatever it is. The lower it is, the less there is to compute.
    """
    z = joint_draws(d, draws, rng)
    common = rng.standard_normal(draws)
    sizes = np.array(np.abs(z.T) if two_sided else z.T, order="C")
    sides = 2 if two_sided else 1
    tails = np.broadcast_to(np.asarray(at_most) / sides, len(d))
    p = np.ones_like(sizes)
    for row, part in enumerate(_shared(z)):
        own = rng.standard_normal(draws)
        u = special.ndtr(np.sqrt(part) * common + np.sqrt(1 - part) * own)
        near = _may_reach(sizes[row], u, freedom[row], tails[row])
        t = sizes[row, near] / np.sqrt(special.chdtri(freedom[row], u[near]) / freedom[row])
        p[row, near] = sides * special.stdtr(freedom[row], -t)
    return p.T


def _may_reach(z: np.ndarray, u: np.ndarray, freedom: float, tail: float) -> np.ndarray:
    """Return where P(t_ν ≥ z / √(χ²/ν)) may be `tail` or less, by the least χ² near each u.

    χ² is the value that a chi-square variable exceeds with probability u, and falls with u, so
    that the one at the next point of a coarse grid is less.
    """
    if tail >= 0.5:
        return np.arange(len(z))
    least = np.sqrt(special.chdtri(freedom, np.linspace(0, 1, _GRID + 1)) / freedom)
    following = np.minimum((_GRID * u).astype(int) + 1, _GRID)
    critical = -special.stdtrit(freedom, max(tail, _LEAST_TAIL)) * (1 - _SLACK)
    return np.flatnonzero(~(z < (critical * least)[following]))


def _shared(z: np.ndarray) -> np.ndarray:
    """Return each column's mean squared correlation with the others, (k,), in [0, 1]."""
    k = z.shape[1]
    if k == 1:
        return np.ones(1)
    with np.errstate(divide="ignore", invalid="ignore"):  # a row that never differs
        correlation = np.nan_to_num(np.corrcoef(z.T))
    np.fill_diagonal(correlation, 0.0)
    return np.clip((correlation**2).sum(axis=1) / (k - 1), 0, 1)
