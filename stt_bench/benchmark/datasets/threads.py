"""How images are read: by how many threads, and how progress is told."""

from __future__ import annotations

from collections.abc import Callable

from stt_bench.benchmark.system.resources import usable_cores

_MOST = 16
_own: int | None = None

Progress = Callable[[int, int], None]
"""Is called now and then with how many are done, and how many there are."""


def thread_count() -> int:
    """Return how many threads read images."""
    return _own or min(_MOST, usable_cores())


def use_threads(count: int) -> None:
    """Let images be read by so many threads in this process from now on."""
    global _own
    _own = count
