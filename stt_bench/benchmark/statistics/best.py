"""Which rows cannot be told from the best: the confidence set of Gupta (1965) and Hsu (1981)."""

from __future__ import annotations

import numpy as np

from stt_bench.benchmark.statistics.crossed import LEVEL, crossed
from stt_bench.benchmark.statistics.joint import null_p
from stt_bench.benchmark.statistics.verdicts import JOINT_SEEDS, SEED

DRAWS = 2000
_CLEAR = 0.02  # of the level: so far below any bound that no draws are needed


def tied_with_best(values: np.ndarray, draws: int = DRAWS, level: float = LEVEL) -> np.ndarray:
    """Tell which of k rows, (k,), with (k, S, C) values may be the best on new seeds and classes.

    Row i leaves the set when some rival beats it by more than the one-sided bound of many rows
    against one, with i as that one: k tests of k − 1 differences each. The bound is the max-t of
    joint draws from five seeds on, and Bonferroni's below. A best row is in the set with
    probability `level`.
    """
    k, S, _ = values.shape
    alpha = 1 - level
    tied = np.ones(k, dtype=bool)
    rng = np.random.default_rng(SEED)
    for row in range(k if k > 1 else 0):
        d = np.delete(values, row, axis=0) - values[row]
        estimate = crossed(d)
        least = estimate.p_above().min()
        if S < JOINT_SEEDS:
            tied[row] = least * (k - 1) > alpha
        elif least * (k - 1) < alpha * _CLEAR:
            tied[row] = False
        elif least <= alpha:
            null = null_p(d, estimate.freedom, draws, rng, two_sided=False, at_most=least)
            tied[row] = ((null.min(axis=1) <= least).sum() + 1) / (draws + 1) > alpha
    return tied
