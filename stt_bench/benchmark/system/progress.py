"""Progress bars with loss, throughput and remaining time; silent with ``--quiet``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Reporter:
    """Where stages tell the user what they do."""

    def __init__(self, *, quiet: bool = False) -> None:
        """Create a reporter that writes to standard error."""
        self.console = Console(stderr=True, quiet=quiet, highlight=False)

    def say(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """Print one line that should not be overlooked, also with ``--quiet``."""
        console = Console(stderr=True, highlight=False)
        console.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, description: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Show a bar while the block runs."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[note]}", markup=False),
            TimeRemainingColumn(compact=True),
        )
        silent = not self.console.is_terminal
        progress = Progress(*columns, console=self.console, transient=True, disable=silent)
        with progress:
            task = progress.add_task(description, total=total, completed=done, note="")
            yield Bar(progress, task)


class Bar:
    """One progress bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        """Wrap a task of a rich progress display."""
        self._progress, self._task = progress, task

    def to(self, done: int, note: str | None = None, total: int | None = None) -> None:
        """Move the bar to ``done`` and show a note beside it."""
        fields: dict[str, Any] = {} if note is None else {"note": note}
        self._progress.update(self._task, completed=done, total=total, **fields)

    def of(self, done: int, total: int) -> None:
        """Move the bar to ``done`` of ``total``."""
        self.to(done, total=total)
