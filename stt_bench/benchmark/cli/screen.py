"""What the command line shows on the screen: leaderboards, and which datasets are here."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table as ScreenTable
from rich.text import Text

from stt_bench.benchmark.datasets.survey import Entry
from stt_bench.benchmark.leaderboards.answer import answer
from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.short_table import header, short_rows
from stt_bench.benchmark.leaderboards.wording import DISTANCES, MARKS
from stt_bench.benchmark.system.text import one_line


def print_leaderboard(board: Leaderboard) -> None:
    """Print a leaderboard on the terminal: its short table, and the answer in words."""
    console = Console(highlight=False)
    console.print(screen_table(board))
    for number, sentence in enumerate(map(one_line, answer(board))):
        console.print(Text(sentence, style="" if number else "bold"), soft_wrap=True)


def screen_table(board: Leaderboard) -> ScreenTable:
    """Return the short table of a leaderboard for the terminal."""
    marks = {mark for row in board.rows for mark in board.marks(row)}
    told = [f"ranked by {DISTANCES[board.distance]}"] if "map@r" in board.metrics else []
    if any(one.difference != "–" for one in short_rows(board)):
        told.append("▲▼ also on new classes, △▽ on these classes, ≈ cannot be told apart")
    told += [f"{mark} {text}" for mark, text in MARKS.items() if mark in marks]
    screen = ScreenTable(
        title=Text(one_line(board.title)),
        title_justify="left",
        caption=Text(f"{'; '.join(told)}.") if told else None,
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    row, *scores, difference, _, seeds, _ = header(board)
    screen.add_column(row, overflow="fold")
    for name in (*scores, difference, seeds):
        screen.add_column(name, justify="right", no_wrap=True)
    for one in short_rows(board):
        cells = [Text(f"{one_line(one.row.label)} {board.marks(one.row)}".rstrip())]
        for score, best in zip(one.scores, one.is_best, strict=True):
            cells.append(Text(score, style="bold" if best else ""))
        style = "red" if one.row.is_baseline else None
        screen.add_row(*cells, Text(one.difference), one.seeds, style=style)
    return screen


def print_survey(entries: Iterable[Entry], *, plain: bool) -> None:
    """Print which datasets are here: a table, or plain lines of cells separated by tabs."""
    if plain:
        for entry in entries:
            print(entry.name, entry.state, "; ".join(entry.expected), entry.about, sep="\t")
        return
    screen = ScreenTable(box=SIMPLE_HEAD, caption="Counts: train + test.", caption_justify="left")
    for column in ("Dataset", "State", "Expected", "Where, or how to get it"):
        screen.add_column(column, no_wrap=column in ("Dataset", "State"), overflow="fold")
    for entry in entries:
        cells = [entry.name, entry.state, "\n".join(entry.expected), entry.about]
        screen.add_row(*map(escape, cells))
    Console().print(screen)
