"""What the seeds say of a score: its mean, its spread, and whether a difference is significant."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Score:
    """Mean and sample standard deviation over seeds."""

    mean: float
    std: float | None  # None with a single seed
    count: int = 1

    @classmethod
    def of(cls, values: Sequence[float]) -> Score:
        """Return the score of one value a seed; the same values in any order give the same."""
        std = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), std, len(values))

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return Student's 95 % interval of the mean over the seeds; None with a single seed."""
        if self.std is None:
            return None
        low, high = stats.t.interval(CONFIDENCE, self.count - 1)
        scale = self.std / self.count**0.5
        return float(self.mean + low * scale), float(self.mean + high * scale)

    @property
    def verdict(self) -> str:
        """Return what the seeds say of a difference: `▲` above 0, `▼` below 0, `≈` neither.

        ▲ and ▼ stand where the interval does not hold 0; nothing stands with a single seed.
        """
        if self.interval is None:
            return ""
        low, high = self.interval
        return "▲" if low > 0 else "▼" if high < 0 else "≈"
