"""From the p-values of many rows to p-values of which the smallest may be believed."""

from __future__ import annotations

import numpy as np


def holm(p: np.ndarray) -> np.ndarray:
    """Return Holm's (1979) adjusted p-values of (k,) tests: they hold whatever ties the tests.

    The i-th smallest (from 0) times k − i, no smaller than the one before it, at most 1.
    """
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    times = len(p) - np.arange(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(times * p[order]), 1.0)
    return adjusted


def step_down(p: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Return the step-down min-p adjusted p-values of (k,) tests from (B, k) draws of the null.

    The i-th smallest is compared with the least of the draws of itself and all larger ones
    (Westfall and Young, 1993; Romano and Wolf, 2005): (draws at or below it + 1) / (B + 1), no
    smaller than the one before it.
    """
    order = np.argsort(p, kind="stable")
    least = np.minimum.accumulate(null[:, order][:, ::-1], axis=1)[:, ::-1]
    share = ((least <= p[order]).sum(axis=0) + 1) / (len(null) + 1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(share)
    return adjusted
