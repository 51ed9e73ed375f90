"""Checks of the losses' parameters: each returns the value, or raises ValueError saying why not."""

import math
from collections.abc import Sequence
from typing import Any


def number(
    name: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    strict: bool = False,
) -> float:
    """Return a finite number from low to high, or strictly between them, as a float."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        inside = low < value < high if strict else low <= value <= high
        if inside:
            return float(value)
    limits = []
    if math.isfinite(low):
        limits.append(f"{'above' if strict else 'of at least'} {low:g}")
    if math.isfinite(high):
        limits.append(f"{'below' if strict else 'at most'} {high:g}")
    wanted = f"number {' and '.join(limits)}" if limits else "finite number"
    raise ValueError(f"{name} must be a {wanted}, got {value!r}")


def margin_or(value: Any, *words: str) -> Any:
    """Return a margin: a number of at least 0, or one of the words."""
    if not isinstance(value, str):
        return number("margin", value, low=0.0)
    return choice("margin", value, words, others="a number of at least 0, ")


def choice(name: str, value: Any, options: Sequence[str], others: str = "") -> Any:
    """Return one of the options; `others` names what else the message should offer."""
    if isinstance(value, str) and value in options:
        return value
    raise ValueError(f"{name} must be one of {others}{', '.join(options)}, got {value!r}")


def flag(name: str, value: Any) -> bool:
    """Return a true or false value."""
    if isinstance(value, bool):
        return value
    raise ValueError(f"{name} must be true or false, got {value!r}")


def count(name: str, value: Any) -> int:
    """Return a whole number of at least 1."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
