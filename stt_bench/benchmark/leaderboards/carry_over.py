"""Whether the order of the losses in one table is that of another: on other data, or backbones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.wording import metric_name
from stt_bench.benchmark.statistics.rank_correlation import (
    FEWEST_ROWS,
    RankCorrelation,
    rank_correlation,
)
from stt_bench.benchmark.system.text import escape_markdown, table_line

_OF_BACKBONE = {"backbone", "weights", "embedding_dim"}


def carry_over(boards: Sequence[Leaderboard], metric: str) -> list[str]:
    """Return a table of the rank correlations of each two tables, as Markdown; none where no τ is.

    The values of a table are the means over the seeds of its ranked, trained rows; rows are matched
    by name.
    """
    found = {
        (one.table, other.table): tau
        for one, other in combinations(boards, 2)
        if (tau := _correlation(one, other, metric)) is not None
    }
    there = [board for board in boards if any(board.table in pair for pair in found)]
    if not there:
        return []
    alike = {
        (one.table, other.table)
        for one, other in combinations(there, 2)
        if (one.table, other.table) in found and _other_backbone(one, other)
    }
    lines = [
        table_line(["τ", *(escape_markdown(board.table) for board in there[1:])]),
        table_line(["---", *["---:"] * (len(there) - 1)]),
    ]
    for place, one in enumerate(there[:-1]):
        cells = [
            "" if column <= place else _cell(found.get(pair), bold=pair in alike)
            for column, other in enumerate(there[1:], start=1)
            for pair in [(one.table, other.table)]
        ]
        lines.append(table_line([escape_markdown(one.table), *cells]))
    same = " Bold: the same data and settings with another backbone." if alike else ""
    return [
        f"## Does the order of the losses by {metric_name(metric)} carry over?",
        "",
        *lines,
        "",
        f"Kendall's τ of the rows' mean {metric_name(metric)} in two tables (1: the same order, 0: "
        "none, −1: the reverse), its 95 % jackknife interval over the trained rows of one name, "
        f"and how many these are; below {FEWEST_ROWS} there is none.{same} Seeds and classes are "
        "not in the interval; their noise pulls τ towards 0.",
        *(f"\n{_said(*pair, found[pair])}" for pair in sorted(alike)),
    ]


def _correlation(one: Leaderboard, other: Leaderboard, metric: str) -> RankCorrelation | None:
    ours, theirs = (_means(board, metric) for board in (one, other))
    shared = sorted(ours.keys() & theirs.keys())
    x, y = (np.array([of[name] for name in shared]) for of in (ours, theirs))
    return rank_correlation(x, y)


def _means(board: Leaderboard, metric: str) -> dict[str, float]:
    return {
        row.across[0]: row.scores[metric].mean
        for row in board.rows
        if row.across and row.is_trained and board.is_ranked(row, metric)
    }


def _other_backbone(one: Leaderboard, other: Leaderboard) -> bool:
    ours, theirs = (
        next(row.protocol for row in board.rows if row.fingerprint == board.main_protocol)
        for board in (one, other)
    )
    differ = {name for name in ours | theirs if ours.get(name) != theirs.get(name)}
    return "backbone" in differ and differ <= _OF_BACKBONE


def _cell(tau: RankCorrelation | None, *, bold: bool) -> str:
    if tau is None:
        return "–"
    text = f"{tau.tau:.2f}{_span(tau)}, {tau.rows} rows"
    return f"**{text}**" if bold else text


def _span(tau: RankCorrelation) -> str:
    return "" if tau.interval is None else f" ({tau.interval[0]:.2f} to {tau.interval[1]:.2f})"


def _said(one: str, other: str, tau: RankCorrelation) -> str:
    pair = f"{escape_markdown(one)} and {escape_markdown(other)}"
    share = f"{50 * (1 + tau.tau):.0f} % of the pairs of rows stand in the same order in both"
    if tau.interval is not None and tau.interval[0] <= 0 <= tau.interval[1]:
        return f"From {pair} it cannot be told that the order carries over: {share}."
    return f"Between {pair} the order {'carries over' if tau.tau > 0 else 'is reversed'}: {share}."
