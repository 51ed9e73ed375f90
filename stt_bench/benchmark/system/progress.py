"""Progress with loss, throughput and remaining time: bars on a terminal, else a line now and then.

Both go to standard error, and ``--quiet`` shows neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from stt_bench.benchmark.system.bars import Bars
from stt_bench.benchmark.system.text import counted, one_line

LINE_EVERY = 30.0  # seconds


class Reporter:
    """Where stages tell the user what they do."""

    def __init__(self, *, quiet: bool = False, line_every: float = LINE_EVERY) -> None:
        """Create a reporter that writes to standard error.

        Args:
            quiet: show warnings alone.
            line_every: seconds between two lines where standard error is no terminal.
        """
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self.line_every = line_every
        self.runs_after = 0
        """How many runs of the same table follow the one that trains."""
        self.seconds_after: float | None = None
        """How long those take, as far as others tell; None: as long as the one that trains."""
        self.at_once = 1
        """How many runs train at once."""
        self._told: set[str] = set()
        self._display: Bars | None = None

    def quietly(self) -> Reporter:
        """Return one that shows warnings alone, of those the ones that this has not given yet."""
        quiet = Reporter(quiet=True)
        quiet._told = self._told
        return quiet

    def say(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, markup=False, soft_wrap=not self.console.is_terminal)

    def warn(self, text: str) -> None:
        """Print one line that should not be overlooked, also with ``--quiet``."""
        shown = self._display is not None and not self.console.quiet
        console = self.console if shown else Console(stderr=True, highlight=False)
        console.print(f"warning: {one_line(text)}", style="yellow", markup=False, soft_wrap=True)

    def once(self, text: str, *, warn: bool = False) -> None:
        """Print one line, as `say` or `warn`, unless it was printed before."""
        if text not in self._told:
            self._told.add(text)
            (self.warn if warn else self.say)(text)

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
        """Show how far the block is while it runs.

        Args:
            description: what it does.
            total: of how many things.
            done: how many are done already.
            stage: tell its beginning and end too where there is no terminal.
            runs: the block is a run's training, which the runs that follow will take as well.
        """
        if not self.console.is_terminal:
            lines = _Lines(self, description, total, done, runs=runs)
            if stage:
                self.say(f"{description}: starts" + (f" at {done:,}/{total:,}" if done else ""))
            yield Bar(lines.to)
            if stage:
                self.say(lines.end())
            return
        others = self._display is not None
        with self.display() as progress:
            assert progress is not None
            task = progress.add_task(description, total=total, completed=done, note="", after=())
            pace = _Pace(total, done)

            def update(done: int, note: str | None, total: int | None) -> None:
                fields: dict[str, Any] = {} if note is None else {"note": note}
                if runs and (left := pace.left(done)) is not None:
                    fields["after"] = self.after(left, pace.whole(done))
                progress.update(task, completed=done, total=total, **fields)

            try:
                yield Bar(update)
            finally:
                if others:  # whose display stays
                    progress.remove_task(task)

    @contextmanager
    def display(self) -> Iterator[Bars | None]:
        """Show all bars of the block below each other, in one display; None without a terminal."""
        if self._display is not None or not self.console.is_terminal:
            yield self._display
            return
        with Bars(self.console) as shown:
            self._display = shown
            try:
                yield shown
            finally:
                self._display = None

    def after(self, left: float, whole: float) -> tuple[str, ...]:
        """Return how long the table takes with the runs after this one, at length and in short.

        Args:
            left: seconds that this one has left.
            whole: seconds that it takes in all, and so does one of which nothing else is known.
        """
        if not self.runs_after:
            return ()
        rest = self.seconds_after
        if rest is None:
            rest = self.runs_after * whole / self.at_once
        took = duration(left + rest)
        runs = counted(self.runs_after, "run")
        return f"{took} with the {runs} after it", f"{took} for all"


class Silent(Reporter):
    """Tells nothing, as a process does that works along with the one that tells all."""

    def __init__(self) -> None:
        """Take no options."""
        super().__init__(quiet=True)

    def warn(self, text: str) -> None:
        """Leave it to the other process."""


class Bar:
    """One progress bar, or the lines in its place."""

    def __init__(self, update: Callable[[int, str | None, int | None], None]) -> None:
        """Wrap what shows the progress."""
        self._update = update

    def to(self, done: int, note: str | None = None, total: int | None = None) -> None:
        """Move the bar to ``done`` and show a note beside it."""
        self._update(done, note, total)

    def of(self, done: int, total: int) -> None:
        """Move the bar to ``done`` of ``total``."""
        self.to(done, total=total)


class _Pace:
    """How fast a block goes."""

    def __init__(self, total: int, done: int) -> None:
        self.total, self.first, self.start = total, done, time.monotonic()

    def left(self, done: int) -> float | None:
        """Return the seconds that the rest takes; None before the first is done."""
        return None if done <= self.first else (self.total - done) * self._each(done)

    def whole(self, done: int) -> float:
        """Return the seconds that all of it takes."""
        return self.total * self._each(done)

    def _each(self, done: int) -> float:
        return (time.monotonic() - self.start) / (done - self.first)


class _Lines:
    """The progress of one block as a line now and then."""

    def __init__(
        self, reporter: Reporter, description: str, total: int, done: int, *, runs: bool
    ) -> None:
        self.reporter, self.description, self.runs = reporter, description, runs
        self.done, self.total, self.note = done, total, ""
        self.pace = _Pace(total, done)
        self.last = self.pace.start

    def to(self, done: int, note: str | None, total: int | None) -> None:
        self.done, self.total = done, total or self.total
        self.pace.total = self.total
        self.note = self.note if note is None else f", {note}"
        now = time.monotonic()
        if now - self.last >= self.reporter.line_every and done < self.total:
            self.last = now
            self.reporter.say(
                f"{self.description}: {done:,}/{self.total:,}{self.note}{self._left()}"
            )

    def end(self) -> str:
        took = duration(time.monotonic() - self.pace.start)
        return f"{self.description}: {self.done:,}/{self.total:,}{self.note}, took {took}"

    def _left(self) -> str:
        """Return how long the rest of the block takes, and of the table, at the present pace."""
        left = self.pace.left(self.done)
        if left is None:
            return ""
        after = self.reporter.after(left, self.pace.whole(self.done)) if self.runs else ()
        return f", {duration(left)} left" + (f"; {after[0]}" if after else "")


def duration(seconds: float) -> str:
    """Return a time in words: ``12 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
