"""What the command line shows on the screen: names to choose from, and leaderboards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table as ScreenTable
from rich.text import Text

from stt_bench.benchmark.datasets.survey import Entry
from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.wording import metric_name, percent
from stt_bench.benchmark.system.text import one_line


def names(what: str) -> Iterator[tuple[str, str]]:
    """Yield (name, one line about it) of all losses, datasets, backbones or tables."""
    if what == "losses":
        from stt_bench.losses import loss_names, loss_parameters

        for name in loss_names():
            params = [f"{key}={value!r}" for key, value in loss_parameters(name).items()]
            yield name, ", ".join(params)
    elif what == "datasets":
        from stt_bench.benchmark.datasets import dataset_names, dataset_summary

        for name in dataset_names():
            yield name, dataset_summary(name)
    elif what == "backbones":
        from stt_bench.benchmark.models import backbone_names

        for name in backbone_names():
            yield name, ""
    else:
        from stt_bench.benchmark.config.tables import table_names
        from stt_bench.benchmark.suite import load_table

        for name in table_names():
            table = load_table(name)
            yield name, f"{table.title} ({len(table.rows)} rows, {len(table.seeds)} seeds)"


def print_leaderboard(board: Leaderboard) -> None:
    """Print a leaderboard's main columns as a table on the terminal."""
    Console().print(screen_table(board))


def screen_table(board: Leaderboard) -> ScreenTable:
    """Return a leaderboard's main columns as a table for the terminal."""
    last = "accuracy" if "accuracy" in board.metrics else "nmi"
    metrics = [metric for metric in board.metrics if metric in ("recall@1", "map@r", last)]
    screen = ScreenTable(title=Text(one_line(board.title)), title_justify="left", box=SIMPLE_HEAD)
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
