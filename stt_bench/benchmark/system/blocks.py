"""Work on many things in threads, some at a time, that ends soon where its caller does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

BLOCK = 64  # things that a thread takes at once

Thing = TypeVar("Thing")
Made = TypeVar("Made")


@contextmanager
def by_blocks(
    work: Callable[[Thing], Made], things: Sequence[Thing], threads: int
) -> Iterator[Iterator[list[Made]]]:
    """Return a context with `work` of the things in their order, a block at a time.

    Where the context is left early, each thread ends after the thing that it has in hand.
    """
    over = threading.Event()

    def block(start: int) -> list[Made]:
        return [work(one) for one in things[start : start + BLOCK] if not over.is_set()]

    with ThreadPoolExecutor(threads) as pool:
        try:
            yield pool.map(block, range(0, len(things), BLOCK))
        finally:
            over.set()
