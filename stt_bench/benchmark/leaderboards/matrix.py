"""Several tables at once: each row's difference in each of them, and what they say together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.carry_over import carry_over
from stt_bench.benchmark.leaderboards.wording import metric_name, points
from stt_bench.benchmark.statistics.across import across_tables
from stt_bench.benchmark.statistics.verdicts import Verdict
from stt_bench.benchmark.system.text import escape_markdown, table_line

_METRIC = "map@r"
_TABLES = 3  # at least, for an interval of their mean


def matrix(boards: Sequence[Leaderboard]) -> list[str]:
    """Return the lines of a matrix of rows and tables, as Markdown; none where no row is shared.

    A cell is the difference to the table's best Softmax row, with its interval and mark; rows are
    those of one name in two tables or more. Below it stands whether their order carries over.
    """
    found = {board.table: _differences(board) for board in boards}
    names = list(dict.fromkeys(name for of_table in found.values() for name in of_table))
    shared = [name for name in names if sum(name in of_table for of_table in found.values()) > 1]
    tables = [board for board in boards if any(name in found[board.table] for name in shared)]
    if not shared:
        return []
    labels: dict[str, Counter[str]] = {}
    for row in (row for board in tables for row in board.rows):
        labels.setdefault(row.name, Counter())[row.label] += 1
    links = [f"[{escape_markdown(board.table)}]({board.table}.md)" for board in tables]
    lines = [
        table_line(["Row", *links, "Mean", "Above in"]),
        table_line(["---", *["---:"] * len(tables), "---:", "---:"]),
    ]
    run = {board.table: {row.name for row in board.rows} for board in tables}
    for name in shared:
        there = [found[board.table].get(name) for board in tables]
        over = across_tables(np.array([one.mean for one in there if one is not None]))
        few = over.half_width is None or over.tables < _TABLES  # of two it says nothing
        reach = "" if few else f" ± {100 * (over.half_width or 0):.1f}"
        cells = [
            points(one) if one is not None else "–" if name in run[board.table] else "not run"
            for one, board in zip(there, tables, strict=True)
        ]
        lines.append(
            table_line(
                [
                    escape_markdown(labels[name].most_common(1)[0][0]),
                    *cells,
                    f"{100 * over.mean:+z.1f}{reach}",
                    f"{over.above} of {over.tables} (p {over.sign_p:.2g})",
                ]
            )
        )
    return [
        f"## {metric_name(_METRIC)} − best Softmax, table by table",
        "",
        *lines,
        "",
        "Rows of one name in several tables: difference in points with its 95 % interval and mark, "
        "as explained on the tables' pages (–: run, and not compared there). Mean: over the "
        "tables, from three on with Student's 95 % interval "
        "of as many tables less one, not corrected for the number of rows; p: two-sided sign test. "
        "Points of different tables are of different scales, so the means rank nothing, and with "
        "fewer than nine tables no test over tables can be corrected for so many rows.",
        "",
        *carry_over(tables, _METRIC),
    ]


def _differences(board: Leaderboard) -> dict[str, Verdict]:
    return {
        row.name: verdict
        for row in board.rows
        if (verdict := board.verdict(row, board.best_softmax(row, _METRIC), _METRIC)) is not None
    }
