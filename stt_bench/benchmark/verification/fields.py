"""Two records as trees of fields: every field in which they differ, by its dotted name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stt_bench.benchmark.store.record_checks import COUNTS
from stt_bench.benchmark.system.text import one_line

ABSENT = None
"""What a field that one of the two lacks counts as: where nothing is recorded a field is null."""
_SHOWN = 60  # characters of a value
_HASH = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Difference:
    """One field, and what it holds on either side."""

    field: str
    first: Any
    second: Any

    @property
    def points(self) -> float | None:
        """Return second − first in percentage points where the field is a metric, not a count."""
        numbers = _is_number(self.first) and _is_number(self.second)
        is_metric = "metrics." in self.field and not is_count(self.field)
        return 100 * (self.second - self.first) if numbers and is_metric else None

    def text(self) -> str:
        """Return ``field: first → second``, of a metric with the difference in points."""
        if isinstance(self.first, list) and isinstance(self.second, list):
            return f"{self.field}: {_of_lists(self.first, self.second)}"
        told = f"{self.field}: {_shown(self.first)} → {_shown(self.second)}"
        return told if self.points is None else f"{told} ({_points(self.points)} points)"


def is_count(field: str) -> bool:
    """Tell whether a metric by its (dotted) name counts things: it has no points and no spread."""
    return field.rpartition(".")[2] in COUNTS


def differences(
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    *,
    rounding: float = 0.0,
    without: Sequence[str] = (),
) -> Iterator[Difference]:
    """Yield every field in which two JSON mappings differ, in the order of the first.

    Args:
        first: a mapping of what JSON can hold.
        second: what it is compared with.
        rounding: numbers a, b are the same where |a − b| ≤ rounding · max(1, |a|, |b|).
        without: dotted fields that are left out, with all below them.
    """
    yield from _below("", first, second, rounding, set(without))


def _below(
    at: str, first: Any, second: Any, rounding: float, without: set[str]
) -> Iterator[Difference]:
    if at in without:
        return
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in dict.fromkeys((*first, *second)):
            inner = f"{at}.{key}" if at else str(key)
            yield from _below(
                inner, first.get(key, ABSENT), second.get(key, ABSENT), rounding, without
            )
    elif not _same(first, second, rounding):
        yield Difference(at, first, second)


def _same(first: Any, second: Any, rounding: float) -> bool:
    if _is_number(first) and _is_number(second):
        return math.isclose(first, second, rel_tol=rounding, abs_tol=rounding)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(
            _same(one, other, rounding) for one, other in zip(first, second, strict=True)
        )
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return not any(_below("", first, second, rounding, set()))
    return type(first) is type(second) and bool(first == second)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _points(value: float) -> str:
    return f"{value:+.2f}" if abs(value) >= 0.005 else f"{value:+.1g}"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return "recorded"
    text = f"{value:.10g}" if isinstance(value, float) else str(value)
    return f"{text[:12]}…" if _HASH.fullmatch(text) else one_line(text, _SHOWN)


def _of_lists(first: list[Any], second: list[Any]) -> str:
    """Say how two lists differ: short ones as they are, long ones by how many entries."""
    if len(str(first)) + len(str(second)) <= _SHOWN:
        return one_line(f"{first} → {second}")
    if len(first) != len(second):
        return f"{len(first)} entries → {len(second)} entries"
    other = [(a, b) for a, b in zip(first, second, strict=True) if not _same(a, b, 0.0)]
    told = f"{len(other)} of {len(first)} entries differ"
    if all(_is_number(a) and _is_number(b) for a, b in other):
        told += f", by {max(abs(a - b) for a, b in other):.4g} at most"
    return told
