"""Several tables at once: each row's difference in each of them, and what they say together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.carry_over import carry_over
from stt_bench.benchmark.leaderboards.wording import metric_name
from stt_bench.benchmark.statistics.across import across_tables
from stt_bench.benchmark.statistics.verdicts import Verdict
from stt_bench.benchmark.system.text import escape_markdown, table_line

_METRICS = {"map@r": "retrieval", "accuracy": "classification"}
_TABLES = 3  # at least, for an interval of their mean
_NEW = "new classes"


def matrix(boards: Sequence[Leaderboard]) -> list[str]:
    """Return the lines of matrices of rows and tables, as Markdown; none where no row is shared.

    One is of the tables that rank by MAP@R, one of those that classify, by accuracy. A cell is the
    difference to the table's best Softmax row, with its interval and mark; rows are those of one
    name in two tables or more. Below it stands whether their order carries over.
    """
    lines: list[str] = []
    for metric in _METRICS:
        own = [board for board in boards if _main(board) == metric]
        if some := _of_metric(own, metric):
            lines += [*([""] if lines else []), *some]
    return lines


def _main(board: Leaderboard) -> str:
    """Return what a table is about: accuracy where most of its trained rows have it."""
    trained = [row for row in board.rows if row.experiment.train.steps > 0]
    classify = sum("accuracy" in row.scores for row in trained) > len(trained) / 2
    return "accuracy" if classify else "map@r"


def _of_metric(boards: Sequence[Leaderboard], metric: str) -> list[str]:
    found = {board.table: _differences(board, metric) for board in boards}
    names = list(dict.fromkeys(name for of_table in found.values() for name in of_table))
    shared = [name for name in names if sum(name in of_table for of_table in found.values()) > 1]
    tables = [board for board in boards if any(name in found[board.table] for name in shared)]
    if not shared:
        return []
    kinds = {board.table: _kind(found[board.table], shared) for board in tables}
    labels: dict[str, Counter[str]] = {}
    for row in (row for board in tables for row in board.rows):
        labels.setdefault(row.name, Counter())[row.label] += 1
    links = [f"[{escape_markdown(board.table)}]({board.table}.md)" for board in tables]
    lines = [
        table_line(["Row", *links, "Mean", "Above in"]),
        table_line(["---", *["---:"] * len(tables), "---:", "---:"]),
        table_line(["*± for new seeds and*", *kinds.values(), "", ""]),
    ]
    run = {board.table: {row.name for row in board.rows} for board in tables}
    for name in shared:
        there = [found[board.table].get(name) for board in tables]
        over = across_tables(np.array([one.mean for one in there if one is not None]))
        few = over.half_width is None or over.tables < _TABLES  # of two it says nothing
        reach = "" if few else f" ± {100 * (over.half_width or 0):.1f}"
        cells = [
            ("–" if name in run[table] else "not run") if one is None else _cell(one, kind)
            for one, (table, kind) in zip(there, kinds.items(), strict=True)
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
    name = metric_name(metric)
    return [
        f"## {name} − best Softmax, table by table ({_METRICS[metric]})",
        "",
        *lines,
        "",
        "Rows of one name in several tables: difference in points with its 95 % interval and mark, "
        "as explained on the tables' pages (–: run, and not compared there); the intervals of a "
        "column are of one kind. Mean: over the "
        "tables, from three on with Student's 95 % interval "
        "of as many tables less one, not corrected for the number of rows; p: two-sided sign test. "
        "Points of different tables are of different scales, so the means rank nothing, and with "
        "fewer than nine tables no test over tables can be corrected for so many rows.",
        "",
        *carry_over(tables, metric),
    ]


def _differences(board: Leaderboard, metric: str) -> dict[str, Verdict]:
    return {
        row.name: verdict
        for row in board.rows
        if (verdict := board.verdict(row, board.best_softmax(row, metric), metric)) is not None
    }


def _kind(found: Mapping[str, Verdict], shared: Sequence[str]) -> str:
    """Return what a column's intervals are for: new classes if all of its rows know of them."""
    shown = [found[name] for name in shared if name in found]
    return _NEW if all(verdict.domain for verdict in shown) else "these classes"


def _cell(verdict: Verdict, kind: str) -> str:
    answer = verdict.domain if kind == _NEW else verdict.classes
    reach = "" if answer is None else f" ± {100 * answer.half_width:.1f}"
    return f"{100 * verdict.mean:+z.1f}{reach} {verdict.mark}".rstrip()
