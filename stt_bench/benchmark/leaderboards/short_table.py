"""The table that a page begins with: seven columns at most; all else is folded below it."""

from __future__ import annotations

from typing import NamedTuple

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.outcome import main_metric
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.wording import (
    MARKS,
    VERDICTS,
    metric_name,
    percent,
    points,
)
from stt_bench.benchmark.statistics.verdicts import Verdict
from stt_bench.benchmark.system.text import escape_markdown, table_line


class ShortRow(NamedTuple):
    """A row as the short table shows it, in plain text."""

    row: Row
    label: str  # with the marks of `wording.MARKS`
    scores: tuple[str, ...]  # of `short_metrics`
    is_best: tuple[bool, ...]
    difference: str  # to the best Softmax row, in points, with half its interval and its mark
    verdict: str
    seeds: str
    cost: str  # seconds of training a seed


def short_metrics(board: Leaderboard) -> list[str]:
    """Return the metrics of the short table: that which the table is judged by, and Recall@1."""
    lead = main_metric(board)
    there = [metric for metric in (lead, "recall@1") if metric in board.metrics]
    return list(dict.fromkeys(there))


def in_order(board: Leaderboard) -> list[Row]:
    """Return the rows by their mean of the main metric, the highest first; those without it last.

    Rows of one mean stay in the table's order.
    """
    lead = main_metric(board)
    return sorted(board.rows, key=lambda row: -row.scores[lead].mean if lead in row.scores else 1.0)


def against_softmax(board: Leaderboard, row: Row) -> Verdict | None:
    """Return the verdict on a row against the best Softmax row by the main metric, if any."""
    lead = main_metric(board)
    return board.verdict(row, board.best_softmax(row, lead), lead)


def short_rows(board: Leaderboard) -> list[ShortRow]:
    """Return what the short table shows of each row, in its order."""
    metrics = short_metrics(board)
    best = {metric: board.best(metric) for metric in metrics}
    found = []
    for row in in_order(board):
        verdict = against_softmax(board, row)
        scores = [percent(row.scores[m]) if m in row.scores else "–" for m in metrics]
        found.append(
            ShortRow(
                row,
                row.label + board.marks(row),
                tuple(scores),
                tuple(row.name in best[metric] for metric in metrics),
                "–" if verdict is None else points(verdict),
                _verdict(board, row, verdict),
                str(len(row.seeds)),
                "–" if not row.is_trained else f"{row.train_seconds:.1f} s",
            )
        )
    return found


def _verdict(board: Leaderboard, row: Row, verdict: Verdict | None) -> str:
    lead = main_metric(board)
    if not row.is_trained:
        return "untrained"
    if row.inactive:
        return "learned nothing"
    if verdict is not None:
        told = VERDICTS[verdict.mark]
    elif not board.is_ranked(row, lead):
        told = "not ranked"
    elif board.best_softmax(row, lead) is row:
        told = "best Softmax"
    else:
        told = "not compared"
    return f"{told}, below untrained" if board.below_untrained(row) else told


def header(board: Leaderboard) -> list[str]:
    """Return the names of the short table's columns."""
    names = map(metric_name, short_metrics(board))
    return ["Row", *names, "− best Softmax", "Verdict", "Seeds", "Cost"]


def short_table(board: Leaderboard) -> list[str]:
    """Return the short table, as Markdown."""
    lines = [
        table_line(header(board)),
        table_line(["---", *["---:"] * (1 + len(short_metrics(board))), "---", "---:", "---:"]),
    ]
    for one in short_rows(board):
        scores = (
            f"**{score}**" if best else score
            for score, best in zip(one.scores, one.is_best, strict=True)
        )
        cells = [escape_markdown(one.label), *scores, one.difference, one.verdict]
        lines.append(table_line([*cells, one.seeds, one.cost]))
    return lines


def legend(board: Leaderboard) -> str:
    """Return what the columns and signs of the short table mean, in plain text."""
    told = ["Percent, mean ± standard deviation over the seeds; cost: training time of a seed."]
    verdicts = [one for row in board.rows if (one := against_softmax(board, row)) is not None]
    if verdicts:
        known = [one.domain is not None for one in verdicts]
        of = "new seeds and new classes" if any(known) else "new seeds on these classes"
        of += "" if all(known) or not any(known) else ", or new seeds alone where no classes tell"
        told.append(
            f"− best Softmax: the difference in points ± half its 95 % interval for {of}. ▲▼: "
            "significant also for new classes like these; △▽: for new seeds on these classes "
            "alone; ≈: not significant; corrected for all comparisons of the page."
        )
    marks = {mark for row in board.rows for mark in board.marks(row)}
    told += [f"{mark}: {meaning}." for mark, meaning in MARKS.items() if mark in marks]
    return " ".join(told)


def folded(summary: str, lines: list[str]) -> list[str]:
    """Return lines of Markdown that a reader unfolds."""
    return [f"<details><summary>{summary}</summary>", "", *lines, "", "</details>"]
