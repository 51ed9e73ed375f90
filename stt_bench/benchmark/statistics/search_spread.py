"""How much of the spread over the seeds is the luck of the search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class SearchSpread(NamedTuple):
    """Standard deviations between searches, and between seeds of one search."""

    between: float
    within: float

    def shortfall(self, counts: Sequence[int]) -> float:
        """Return by what factor an interval is too short that takes the seeds as independent.

        With searches of `counts` seeds, S in all, and q = Σ n² / S², the mean over the seeds has
        the variance q·σ_b² + σ_w²/S; the variance over the seeds, divided by S, is on average
        ((1 − q)·S/(S − 1)·σ_b² + σ_w²) / S. It is the root of their ratio, 1 if neither varies.
        """
        S = sum(counts)
        q = sum(n * n for n in counts) / S**2
        between, within = self.between**2, self.within**2
        true = q * between + within / S
        taken = ((1 - q) * S / (S - 1) * between + within) / S if S > 1 else 0.0
        return float((true / taken) ** 0.5) if taken > 0 else 1.0


def search_spread(rows: Sequence[Sequence[Sequence[float]]]) -> SearchSpread | None:
    """Return the spread of values that stand by row, search and seed, pooled over the rows.

    One-way analysis of variance in each row: with the mean squares B between and W within the
    searches, the variance between is (B − W) / n₀, not below 0, and n₀ = (N − Σ n² / N) / (m − 1)
    for m searches of n seeds, N in all (Searle, Casella and McCulloch, 1992). None where no search
    has two seeds, or no row two searches.
    """
    between, within = [], []
    for row in rows:
        counts = np.array([len(search) for search in row if search], dtype=float)
        m, total = len(counts), float(counts.sum())
        if m < 2 or total <= m:
            continue
        means = np.array([np.mean(search) for search in row if search])
        centre = float((counts * means).sum() / total)
        inside = sum(float(np.var(search)) * len(search) for search in row if search) / (total - m)
        across = float((counts * np.square(means - centre)).sum()) / (m - 1)
        size = (total - float(np.square(counts).sum()) / total) / (m - 1)
        within.append(inside)
        between.append((across - inside) / size)
    if not within:
        return None
    return SearchSpread(max(0.0, float(np.mean(between))) ** 0.5, float(np.mean(within)) ** 0.5)
