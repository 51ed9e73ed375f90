"""What workers in other processes say: sent as plain messages, and shown by one reporter."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from stt_bench.benchmark.system.progress import Bar, Reporter

_NOT_OFTENER = 0.2  # seconds between two messages on how far one bar is

Message = tuple[Any, ...]


class SendingReporter(Reporter):
    """Sends what it is told, in place of showing it."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        """Send messages by `send`, which may fail once nobody listens any more."""
        super().__init__(quiet=True)
        self._pass = send
        self._numbers = itertools.count()

    def _send(self, *message: Any) -> None:
        with suppress(OSError):
            self._pass(message)

    def say(self, text: str) -> None:
        """Send one line."""
        self._send("say", text)

    def warn(self, text: str) -> None:
        """Send one line that should not be overlooked."""
        self._send("warn", text)

    def once(self, text: str, *, warn: bool = False) -> None:
        """Send one line that is shown once, whichever worker says it first."""
        self._send("once", text, warn)

    @contextmanager
    def bar(
        self,
        description: str,
        total: int,
        done: int = 0,
        *,
        stage: bool = False,
        runs: bool = False,
    ) -> Iterator[Bar]:
        """Send how far the block is while it runs."""
        number, last = next(self._numbers), 0.0
        self._send("bar", number, description, total, done, stage, runs)

        def update(done: int, note: str | None, new: int | None) -> None:
            nonlocal last, total
            total, now = new or total, time.monotonic()
            if now - last >= _NOT_OFTENER or done >= total:
                last = now
                self._send("to", number, done, note, new)

        try:
            yield Bar(update)
        except BaseException:
            self._send("end", number, False)
            raise
        self._send("end", number, True)


class _Cut(Exception):  # noqa: N818  (it ends a bar, and nobody sees it)
    """The block of a bar came to no end."""


class Shown:
    """The bars of one worker, shown by a reporter of this process."""

    def __init__(self, reporter: Reporter) -> None:
        """Show nothing yet."""
        self._reporter = reporter
        self._bars: dict[int, tuple[ExitStack, Bar]] = {}
        self._closed = False

    def show(self, message: Message) -> None:
        """Show what a message of a `SendingReporter` says; of bars, until it is closed."""
        kind, *rest = message
        if kind in ("bar", "to", "end") and self._closed:
            return
        if kind == "bar":
            number, description, total, done, stage, runs = rest
            stack = ExitStack()
            bar = stack.enter_context(
                self._reporter.bar(description, total, done, stage=stage, runs=runs)
            )
            self._bars[number] = stack, bar
        elif kind == "to":
            self._bars[rest[0]][1].to(*rest[1:])
        elif kind == "end":
            self._end(*rest)
        elif kind == "once":
            self._reporter.once(rest[0], warn=rest[1])
        else:
            getattr(self._reporter, kind)(*rest)

    def close(self) -> None:
        """End what a worker that is gone has left; what it said may still come later."""
        self._closed = True
        for number in [*self._bars]:
            self._end(number, False)

    def _end(self, number: int, whole: bool) -> None:
        stack, _ = self._bars.pop(number)
        if whole:
            stack.close()
        else:
            with suppress(_Cut):
                cut = _Cut()
                stack.__exit__(_Cut, cut, None)
