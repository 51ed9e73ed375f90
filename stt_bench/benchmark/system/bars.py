"""Progress bars below each other, whose lines fit the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, Task, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

_WORDS, _BAR, _COUNT, _NOTE, _LEFT, _AFTER = range(6)
_SHORTENED = (_BAR, _AFTER, _NOTE, _WORDS, _BAR, _NOTE, _AFTER, *[_WORDS] * 20)
"""The parts of a line, in the order in which they take their next shorter form until it fits.

The words have a form for each folder of a name, of which twenty are left out at most.
"""
_UNBOUND = 10_000


def fits(table: Table, console: Console) -> bool:
    """Tell whether no line of a table is too long for the terminal."""
    options = console.options.update(width=_UNBOUND)
    return console.measure(table, options=options).maximum <= console.width


class Bars(Progress):
    """Shows bars whose lines get shorter where they do not fit, and in which no number is cut.

    A task has the fields `note`, which loses its last part, and `after`, forms of a text from long
    to short. A description loses its first parts (``…/seed-0: train``).
    """

    def __init__(self, console: Console) -> None:
        """Show nothing yet."""
        self._screen = console
        self._bars = [BarColumn(bar_width=width) for width in (24, 8)]
        self._left = TimeRemainingColumn(compact=True)
        super().__init__(console=console, transient=True)

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        """Return the lines of all bars."""
        lines = [self._forms(task) for task in tasks if task.visible]
        chosen = [0] * 6
        table = _table(lines, chosen)
        for part in _SHORTENED:
            if fits(table, self._screen):
                break
            chosen[part] += 1
            table = _table(lines, chosen)
        return table

    def _forms(self, task: Task) -> list[Sequence[RenderableType]]:
        """Return the forms of each part of a task's line, from long to short."""
        note, after = task.fields["note"], task.fields["after"]
        return [
            [task.description, *_ends(task.description)],
            [*(bar(task) for bar in self._bars), ""],
            [f"{task.completed:.0f}/{task.total:.0f}"],
            [note, *([note.rpartition(", ")[0]] if ", " in note else []), ""],
            [self._left(task)],
            [*after, ""],
        ]


def _ends(description: str) -> list[str]:
    """Return the ends of a description, from long to short."""
    parts = description.split("/")
    paths = ["/".join(["…", *parts[first:]]) for first in range(1, len(parts))]
    return [*paths, description.rpartition(": ")[2]]


def _table(lines: Sequence[list[Sequence[RenderableType]]], chosen: Sequence[int]) -> Table:
    """Return the lines with the chosen form of each part; a part that none has takes no place."""
    columns = [
        [forms[min(number, len(forms) - 1)] for forms in part]
        for number, part in zip(chosen, zip(*lines, strict=True), strict=False)
    ]
    columns = [cells for cells in columns if any(cells)]
    # Only the first, the words, may be cut where even the shortest line is too long.
    table = Table.grid(*(Column(no_wrap=n > 0) for n in range(len(columns))), padding=(0, 1))
    for row in zip(*columns, strict=True):
        table.add_row(*(_words(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def _words(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")
