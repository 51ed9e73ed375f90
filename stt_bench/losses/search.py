"""Search ranges: between which bounds a parameter is tuned, and on which scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Scale = Literal["linear", "log"]
_DIGITS = 6  # of a value: the last ones of a power differ from one machine to the next


@dataclass(frozen=True)
class Range:
    """The values that one parameter is tuned among.

    Attributes:
        low: The least value.
        high: The greatest value.
        scale: `linear`: low + u · (high − low) for u in [0, 1]; `log`: low · (high / low)ᵘ.

    Raises:
        ValueError: the bounds are not finite, `low` is not below `high`, or a bound of a `log`
            range is not above 0.
    """

    low: float
    high: float
    scale: Scale = "linear"

    def __post_init__(self) -> None:
        """Check the bounds."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"a range needs low < high, got {self.low} and {self.high}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"a range on a log scale starts above 0, not at {self.low}")

    def value(self, unit: float) -> float:
        """Return the value at a place in [0, 1], with six significant digits."""
        if self.scale == "log":
            found = self.low * (self.high / self.low) ** unit
        else:
            found = self.low + unit * (self.high - self.low)
        return min(max(float(f"{found:.{_DIGITS}g}"), self.low), self.high)

    def unit(self, value: float) -> float:
        """Return the place of a value: 0 at `low`, 1 at `high`, beyond them outside of [0, 1]."""
        if self.scale == "log":
            if value <= 0:
                return -math.inf
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)
