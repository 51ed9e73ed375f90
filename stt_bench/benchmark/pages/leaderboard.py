"""The leaderboard of a page: a plain table, which the page's script sorts, filters and folds."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.outcome import main_metric
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.scores import Score
from stt_bench.benchmark.leaderboards.wording import (
    MARKS,
    VERDICTS,
    batch_text,
    loss_text,
    metric_name,
    percent,
    points,
)
from stt_bench.benchmark.pages.section import rendered
from stt_bench.benchmark.statistics.verdicts import Verdict

KINDS = ("Baselines", "One loss", "A loss beside Softmax")


@dataclass(frozen=True)
class Column:
    """A column: its heading, the group that is folded with it, and what it holds.

    A text of some length is broken into lines, other cells are not.
    """

    head: str
    group: str
    number: bool = True
    long: bool = False


@dataclass(frozen=True)
class Cell:
    """What stands in a cell, and the number by which the column sorts."""

    text: str
    spread: str = ""
    mark: str = ""
    value: float | None = None
    best: bool = False

    @property
    def key(self) -> str:
        """Return the number as the script reads it."""
        return "" if self.value is None else f"{self.value:.5g}"


@dataclass(frozen=True)
class Line:
    """A row of the table."""

    row: Row
    marks: str
    kind: str
    cells: list[Cell]


NOTHING = Cell("–")


def leaderboard(board: Leaderboard, *, short: bool = False, records: bool = False) -> Markup:
    """Return a table's leaderboard, best row first; the short one has seven columns.

    The short one sorts by the numbers as they are shown, the other by all their digits. A row
    leads to where its records stand on the page, or to their folder (`records`).
    """
    main = main_metric(board)
    order = sorted(
        board.rows, key=lambda row: -row.scores[main].mean if main in row.scores else 1.0
    )
    built = _few_columns if short else _all_columns
    by_row = {row.name: built(board, row, main) for row in order}
    every = [column for column, _ in by_row[order[0].name]]
    filled = [
        place
        for place in range(len(every))
        if any(cells[place][1] != NOTHING for cells in by_row.values())
    ]
    columns = [every[place] for place in filled]
    lines = [
        Line(
            row=row,
            marks=board.marks(row),
            kind=KINDS[row.group],
            cells=[by_row[row.name][place][1] for place in filled],
        )
        for row in order
    ]
    signs = "".join(line.marks for line in lines)
    return rendered(
        "leaderboard.html",
        title=board.title,
        columns=columns,
        groups=list(dict.fromkeys(column.group for column in columns if column.group)),
        exact=not short,
        leads=f"records/{board.table}/" if records else f"#p:{board.table}:",
        lines=lines,
        told="; ".join(f"{mark} {said}" for mark, said in MARKS.items() if mark in signs),
        main=metric_name(main),
    )


Cells = list[tuple[Column, Cell]]
"""A row's cells, each with its column; every row of a table has the same columns."""


def _few_columns(board: Leaderboard, row: Row, main: str) -> Cells:
    verdict = board.verdict(row, board.best_softmax(row, main), main)
    beside = [name for name in ("recall@1",) if name in board.metrics]
    return [
        (Column(metric_name(main), ""), score_cell(board, row, main)),
        *((Column(metric_name(name), ""), score_cell(board, row, name)) for name in beside),
        (Column("− best Softmax", ""), verdict_cell(verdict)),
        (Column("Verdict", "", number=False), verdict_words(verdict)),
        *_cost(row),
    ]


def _all_columns(board: Leaderboard, row: Row, main: str) -> Cells:
    leads = [main, *(lead for lead in board.leads if lead != main)]
    found: Cells = []
    for lead in leads:
        group = "" if lead == main else metric_name(lead)
        softmax = board.verdict(row, board.best_softmax(row, lead), lead)
        own = board.verdict(row, board.baseline(row, lead).row, lead)
        found += [
            (Column(metric_name(lead), group), score_cell(board, row, lead)),
            (Column("− best Softmax", group), verdict_cell(softmax)),
            (Column("Verdict", group, number=False), verdict_words(softmax)),
            (Column("May be best", group, number=False), _tick(board, row, lead)),
            (Column("− baseline", group or "Baseline"), verdict_cell(own)),
        ]
    others = [metric for metric in board.metrics if metric not in leads]
    cited = dict.fromkeys(number.metric for number in board.published)
    return [
        *found,
        (Column("Baseline", "Baseline", number=False, long=True), _baselines(board, row, leads)),
        *((Column(metric_name(m), "Metrics"), score_cell(board, row, m)) for m in others),
        (Column("Loss", "Method", number=False, long=True), Cell(loss_text(row))),
        (Column("Batch", "Method", number=False, long=True), Cell(batch_text(row))),
        *(
            (
                Column(f"{metric_name(metric)}, published", "Published", number=False, long=True),
                _published(board, row, metric),
            )
            for metric in cited
        ),
        *_cost(row),
    ]


def _cost(row: Row) -> Cells:
    return [
        (Column("Seeds", ""), Cell(str(len(row.seeds)), value=len(row.seeds))),
        (Column("Train, s", ""), Cell(f"{row.train_seconds:,.1f}", value=row.train_seconds)),
    ]


def _baselines(board: Leaderboard, row: Row, leads: list[str]) -> Cell:
    found = [board.baseline(row, lead).row for lead in leads]
    labels = dict.fromkeys(other.label for other in found if other is not None)
    return Cell("; ".join(labels)) if labels else NOTHING


def _tick(board: Leaderboard, row: Row, metric: str) -> Cell:
    tied = board.may_be_best(metric)
    return Cell("✓") if tied is not None and row in tied else NOTHING


def _published(board: Leaderboard, row: Row, metric: str) -> Cell:
    values = [p.value for p in board.published if (p.row, p.metric) == (row.name, metric)]
    return Cell(", ".join(values)) if values else NOTHING


def score_cell(board: Leaderboard, row: Row, metric: str) -> Cell:
    """Return a metric in percent, with its standard deviation over the seeds."""
    score: Score | None = row.scores.get(metric)
    if score is None:
        return NOTHING
    text, _, spread = percent(score).partition(" ± ")
    best = row.name in board.best(metric)
    return Cell(text, spread and f"± {spread}", value=100 * score.mean, best=best)


def verdict_cell(verdict: Verdict | None) -> Cell:
    """Return a difference in points, with half of its interval and its mark."""
    if verdict is None:
        return NOTHING
    shown = points(verdict).removesuffix(verdict.mark).strip()
    text, _, spread = shown.partition(" ± ")
    return Cell(
        text.replace("-", "−"), spread and f"± {spread}", verdict.mark, value=100 * verdict.mean
    )


def verdict_words(verdict: Verdict | None) -> Cell:
    """Return what a mark says, in words."""
    return NOTHING if verdict is None else Cell(VERDICTS[verdict.mark])
