"""How a long computation tells how far it is."""

from collections.abc import Callable

ProgressCallback = Callable[[int, int], None]
"""Is called now and then with how much is done, and how much there is to do."""


def quietly(done: int, total: int) -> None:
    """Show no progress."""


def share(progress: ProgressCallback, number: int, count: int) -> ProgressCallback:
    """Return what shows the `number`-th of `count` equal jobs, from 0, as part of them all."""
    return lambda done, total: progress(number * total + done, count * total)
