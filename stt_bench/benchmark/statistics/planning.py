"""How wide an interval would be with other numbers of seeds and classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

from stt_bench.benchmark.statistics.crossed import LEVEL

MOST = 1_000_000


class Spread(NamedTuple):
    """Standard deviations of the effects of seeds and classes, and of the residual."""

    seeds: float
    classes: float
    residual: float


class Plan(NamedTuple):
    """The half-width of now, and what would halve it; None: no number of these alone would."""

    half_width: float
    classes: int | None
    seeds: int | None


def planned_half_width(spread: Spread, seeds: int, classes: int, level: float = LEVEL) -> float:
    """Return the half-width h(S, C) = t_ν·√(σ_a²/S + σ_b²/C + σ_e²/(S·C)) that is to be expected.

    ν is Satterthwaite's, of the expected mean squares Cσ_a² + σ_e², Sσ_b² + σ_e² and σ_e². With one
    seed the classes alone are seen: t_{C−1}·√((σ_b² + σ_e²)/C).
    """
    S, C = seeds, classes
    a, b, e = (one**2 for one in spread)
    if S == 1:
        return float(stats.t.isf((1 - level) / 2, C - 1) * np.sqrt((b + e) / C))
    A, B, whole = C * a + e, S * b + e, C * a + S * b + e
    if whole == 0:
        return 0.0
    parts = A**2 / (S - 1) + B**2 / (C - 1) + e**2 / ((S - 1) * (C - 1))
    return float(stats.t.isf((1 - level) / 2, whole**2 / parts) * np.sqrt(whole / (S * C)))


def plan(spread: Spread, seeds: int, classes: int) -> Plan:
    """Return how many classes, with these seeds, or seeds, with these classes, halve the interval.

    One seed tells nothing of the seeds' effect, so that more of them are not planned.
    """
    now = planned_half_width(spread, seeds, classes)
    return Plan(
        now,
        _fewest(lambda C: planned_half_width(spread, seeds, C), classes, now / 2),
        None
        if seeds == 1
        else _fewest(lambda S: planned_half_width(spread, S, classes), seeds, now / 2),
    )


def sentence(spread: Spread, seeds: int, classes: int, *, scale: float = 100.0) -> str:
    """Return a plan in words; half-widths times `scale` are points."""
    now, more_classes, more_seeds = plan(spread, seeds, classes)
    of_seeds = f"{seeds} seeds" if seeds > 1 else "one seed"
    known = f"a typical difference is known to ±{scale * now:.2g} points"
    told = f"With {of_seeds} and {classes:,} classes {known}"
    parts = []
    if more_classes is not None:
        parts.append(f"{more_classes:,} classes would halve that")
    if more_seeds is not None:
        parts.append(
            f"{'or ' if parts else ''}{more_seeds:,} seeds" + ("" if parts else " would halve that")
        )
    if seeds > 1:
        twice = planned_half_width(spread, 2 * seeds, classes)
        if more_seeds is None and twice > 0.95 * now:
            parts.append("more seeds buy nothing")
        elif more_seeds is None:
            parts.append(f"twice the seeds would give ±{scale * twice:.2g}")
    else:
        parts.append("what more seeds would buy cannot be told from one")
    if more_classes is None:
        parts.append("more classes alone would not halve it")
    return f"{told}: {', '.join(parts)}."


def _fewest(half_width: Callable[[int], float], now: int, wanted: float) -> int | None:
    """Return the least n above `now` whose half-width is at most `wanted`, up to a million."""
    if wanted <= 0 or half_width(MOST) > wanted:
        return None
    low, high = now, MOST  # above `wanted` at low, not above it at high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if half_width(middle) <= wanted else (middle, high)
    return high
