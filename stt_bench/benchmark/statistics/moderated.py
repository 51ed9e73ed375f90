"""New seeds on these very test classes: t over seeds, with variances shrunk over a table's rows.

Smyth, "Linear models and empirical Bayes methods for assessing differential expression in
microarray experiments", 2004: a row's variance is drawn from a scaled inverse chi-square about s₀²
with d₀ degrees of freedom, both found from all rows.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from stt_bench.benchmark.statistics.crossed import Estimate

CAP = 4  # degrees of freedom for each of the S − 1 of a row
_LEAST = 1e-5  # of the median variance: one of 0 cannot be put on a logarithmic scale


def moderated(d: np.ndarray) -> Estimate:
    """Return the means of (k, S) differences of k rows, S ≥ 2.

    s² = max(s_m², (d₀·s₀² + (S−1)·s_m²) / (d₀ + S − 1)), ν = min(d₀ + S − 1, 4(S − 1)). The cap and
    the maximum are ours. The baseline's own spread is in all rows and cannot be learnt from the
    others: without the cap the family-wise error is 8–10 %. It also makes the rows' variances look
    more alike than they are, so that those of noisy rows are shrunk too far: no variance is taken
    as smaller than it is, without which the error is up to 10 % where rows differ much in theirs.
    A row alone gets Student's t.

    Raises:
        ValueError: there are fewer than two seeds.
    """
    k, S = d.shape
    if S < 2:
        raise ValueError("One seed says nothing of others.")
    variance, own = d.var(axis=1, ddof=1), S - 1.0
    middle = float(np.median(variance))
    if k < 2 or middle == 0:
        return Estimate(d.mean(axis=1), np.sqrt(variance / S), np.full(k, own))
    prior, center = prior_of(np.maximum(variance, _LEAST * middle), own)
    if np.isinf(prior):
        shrunk = np.full(k, center)
    else:
        shrunk = (prior * center + own * variance) / (prior + own)
    shrunk = np.maximum(shrunk, variance)
    freedom = np.full(k, min(prior + own, CAP * own))
    return Estimate(d.mean(axis=1), np.sqrt(shrunk / S), freedom)


def prior_of(variances: np.ndarray, own: float) -> tuple[float, float]:
    """Return d₀ and s₀² of (k,) variances above 0, each with `own` degrees of freedom.

    With e_m = ln s_m² − ψ(ν/2) + ln(ν/2): ψ′(d₀/2) = var(e) − ψ′(ν/2), and
    s₀² = exp(ē + ψ(d₀/2) − ln(d₀/2)). Where var(e) is no larger than ψ′(ν/2) the rows have one
    variance: d₀ is infinite and s₀² = exp(ē).
    """
    e = np.log(variances) - special.digamma(own / 2) + np.log(own / 2)
    spread = e.var(ddof=1) - special.polygamma(1, own / 2)
    if spread <= 0:
        return np.inf, float(np.exp(e.mean()))
    half = inverse_trigamma(float(spread))
    return 2 * half, float(np.exp(e.mean() + special.digamma(half) - np.log(half)))


def inverse_trigamma(value: float) -> float:
    """Return y with ψ′(y) = value > 0, by Newton's method on 1/ψ′ (Smyth, 2004, appendix)."""
    y = 0.5 + 1 / value
    for _ in range(50):
        trigamma = special.polygamma(1, y)
        step = trigamma * (1 - trigamma / value) / special.polygamma(2, y)
        y += step
        if abs(step) < 1e-12 * y:
            break
    return float(y)
