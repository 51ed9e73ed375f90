"""The table of a page with many rows: verdicts alone, in groups; all else is folded below it."""

from __future__ import annotations

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.wording import metric_name, percent, points
from stt_bench.benchmark.system.text import escape_markdown, table_line

MANY = 20  # rows; up to here one table holds everything
_BESIDE = ("recall@1", "nmi")
_GROUPS = ("Baselines", "One loss", "A loss beside Softmax")


def has_many_rows(board: Leaderboard) -> bool:
    """Tell whether a page needs the short table."""
    return len(board.rows) > MANY


def verdict_table(board: Leaderboard) -> list[str]:
    """Return the short table: what leads with its differences, R@1 and NMI, and the baseline.

    ✓ marks the rows that cannot be told from the best. The baseline is named in a column where
    rows have different ones, else in a line below.
    """
    beside = [metric for metric in _BESIDE if metric in board.metrics]
    ticked = {metric: board.may_be_best(metric) for metric in board.leads}
    named = {row.name: _baselines(board, row) for row in board.rows}
    several = len(set(named.values()) - {""}) > 1
    header = ["Row"]
    for lead in board.leads:
        header += [metric_name(lead), "− baseline", "− best Softmax"]
        header += ["May be best"] if ticked[lead] is not None else []
    header += [*map(metric_name, beside), *(["Baseline"] if several else [])]
    lines = [table_line(header), table_line(["---"] + ["---:"] * (len(header) - 1))]
    best = {metric: board.best(metric) for metric in board.metrics}
    for number, group in enumerate(_GROUPS):
        rows = [row for row in board.rows if row.group == number]
        if rows:
            lines.append(table_line([f"**{group}**", *[""] * (len(header) - 1)]))
        for row in rows:
            cells = [escape_markdown(row.label) + board.marks(row)]
            for lead in board.leads:
                cells.append(_score(row, lead, best[lead]))
                for other in (board.baseline(row, lead).row, board.best_softmax(row, lead)):
                    verdict = board.verdict(row, other, lead)
                    cells.append("–" if verdict is None else points(verdict))
                tied = ticked[lead]
                cells += [] if tied is None else ["✓" if row in tied else ""]
            cells += [_score(row, metric, best[metric]) for metric in beside]
            cells += [escape_markdown(named[row.name]) or "–"] if several else []
            lines.append(table_line(cells))
    alone = next(iter(set(named.values()) - {""}), "")
    if alone and not several:
        lines += ["", f"Baseline of every row that has one: {escape_markdown(alone)}."]
    return lines


def folded(summary: str, lines: list[str]) -> list[str]:
    """Return lines of Markdown that a reader unfolds."""
    return [f"<details><summary>{summary}</summary>", "", *lines, "", "</details>"]


def _baselines(board: Leaderboard, row: Row) -> str:
    found = [board.baseline(row, lead).row for lead in board.leads]
    return "; ".join(dict.fromkeys(other.label for other in found if other is not None))


def _score(row: Row, metric: str, best: set[str]) -> str:
    if metric not in row.scores:
        return "–"
    text = percent(row.scores[metric])
    return f"**{text}**" if row.name in best else text
