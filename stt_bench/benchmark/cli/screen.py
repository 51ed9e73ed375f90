"""What the command line shows on the screen: leaderboards, and which datasets are here."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table as ScreenTable
from rich.text import Text

from stt_bench.benchmark.datasets.survey import Entry
from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.wording import DISTANCES, MARKS, metric_name, percent
from stt_bench.benchmark.system.text import one_line


def print_leaderboard(board: Leaderboard) -> None:
    """Print a leaderboard's main columns as a table on the terminal."""
    Console().print(screen_table(board))


def screen_table(board: Leaderboard) -> ScreenTable:
    """Return a leaderboard's main columns as a table for the terminal."""
    last = "accuracy" if "accuracy" in board.metrics else "nmi"
    metrics = [metric for metric in board.metrics if metric in ("recall@1", "map@r", last)]
    marks = {mark for row in board.rows for mark in board.marks(row)}
    by = [f"ranked by {DISTANCES[board.distance]}"] if "map@r" in board.metrics else []
    told = "; ".join([*by, *(f"{mark} {text}" for mark, text in MARKS.items() if mark in marks)])
    screen = ScreenTable(
        title=Text(one_line(board.title)),
        title_justify="left",
        caption=Text(f"{told}.") if told else None,
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    screen.add_column("Row", no_wrap=True)
    for metric in metrics:
        screen.add_column(metric_name(metric), justify="right", no_wrap=True)
    screen.add_column("Seeds", justify="right")
    best = {metric: board.best(metric) for metric in metrics}
    for row in board.rows:
        cells = [Text(f"{one_line(row.label)} {board.marks(row)}")]
        for metric in metrics:
            score = row.scores.get(metric)
            text = "–" if score is None else percent(score)
            cells.append(Text(text, style="bold" if row.name in best[metric] else ""))
        screen.add_row(*cells, str(len(row.seeds)), style="red" if row.is_baseline else None)
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
