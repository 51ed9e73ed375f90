"""Whether the order of the losses in one table is that of another: on other data, or backbones."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.data_sources import data_sources, tested_classes
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.wording import metric_name
from stt_bench.benchmark.statistics.rank_correlation import (
    FEWEST_ROWS,
    SPLITS,
    HalfCorrelation,
    RankCorrelation,
    half_correlation,
    rank_correlation,
)
from stt_bench.benchmark.system.text import escape_markdown, table_line

_OF_BACKBONE = {"backbone", "weights", "embedding_dim"}


@dataclass(frozen=True)
class _Pair:
    """Two tables: how their orders agree, and what of it is of the test classes they share."""

    one: Leaderboard
    other: Leaderboard
    tau: RankCorrelation
    shares: bool
    halves: HalfCorrelation | None

    @property
    def name(self) -> str:
        return " and ".join(escape_markdown(board.table) for board in (self.one, self.other))

    @property
    def is_of_backbones(self) -> bool:
        """Tell whether the tables differ in nothing but the backbone."""
        ours, theirs = (
            next(row.protocol for row in board.rows if row.fingerprint == board.main_protocol)
            for board in (self.one, self.other)
        )
        differ = {name for name in ours | theirs if ours.get(name) != theirs.get(name)}
        return "backbone" in differ and differ <= _OF_BACKBONE


def carry_over(boards: Sequence[Leaderboard], metric: str) -> list[str]:
    """Return a table of the rank correlations of each two tables, as Markdown; none where no τ is.

    The values of a table are the means over the seeds of its trained rows that may be judged; rows
    are matched by name. Of two tables that share test classes, τ between means over disjoint halves
    of these stands beside it.
    """
    pairs = _pairs(boards, metric)
    if not pairs:
        return []
    found = {(pair.one.table, pair.other.table): pair for pair in pairs}
    there = [board for board in boards if any(board.table in names for names in found)]
    lines = [
        table_line(["τ", *(escape_markdown(board.table) for board in there[1:])]),
        table_line(["---", *["---:"] * (len(there) - 1)]),
    ]
    for place, one in enumerate(there[:-1]):
        cells = [
            "" if column <= place else _cell(found.get((one.table, other.table)))
            for column, other in enumerate(there[1:], start=1)
        ]
        lines.append(table_line([escape_markdown(one.table), *cells]))
    alike = [pair for pair in pairs if pair.is_of_backbones]
    same = " Bold: the same data and settings with another backbone." if alike else ""
    return [
        f"## Does the order of the losses by {metric_name(metric)} carry over?",
        "",
        *lines,
        "",
        f"Kendall's τ of the rows' mean {metric_name(metric)} in two tables (1: the same order, 0: "
        "none, −1: the reverse), its 95 % jackknife interval over the trained rows of one name "
        f"that may be judged in both, and how many these are; below {FEWEST_ROWS} there is none."
        f"{same} Seeds and classes are not in the interval. The noise of seeds pulls τ towards 0, "
        "and so does that of the classes where the tables have other test classes.",
        *_of_shared_classes([pair for pair in pairs if pair.shares]),
        *(f"\n{_said(pair)}" for pair in sorted(alike, key=lambda pair: pair.name)),
    ]


def _pairs(boards: Sequence[Leaderboard], metric: str) -> list[_Pair]:
    rows = [_judged(board, metric) for board in boards]
    sources, classes = data_sources(boards), [tested_classes(board) for board in boards]
    found = []
    for i, j in combinations(range(len(boards)), 2):
        names = sorted(rows[i].keys() & rows[j].keys())
        ours, theirs = ([rows[place][name] for name in names] for place in (i, j))
        x, y = (np.array([row.scores[metric].mean for row in some]) for some in (ours, theirs))
        if (tau := rank_correlation(x, y)) is None:
            continue
        one, other = boards[i], boards[j]
        same_data = ours[0].protocol.get("data") == theirs[0].protocol.get("data")
        shares = same_data or (sources[i] == sources[j] and bool(classes[i] & classes[j]))
        halves = _halves(one, ours, other, theirs, metric) if shares else None
        found.append(_Pair(one, other, tau, shares, halves))
    return found


def _judged(board: Leaderboard, metric: str) -> dict[str, Row]:
    rows = board.judged(metric)
    return {row.across[0]: row for row in rows if row.across and row.is_trained}


def _halves(
    one: Leaderboard, ours: Sequence[Row], other: Leaderboard, theirs: Sequence[Row], metric: str
) -> HalfCorrelation | None:
    x, y = _by_class(one, ours, metric), _by_class(other, theirs, metric)
    common = sorted(x.keys() & y.keys(), key=str)
    if not common:
        return None
    each, others = (np.stack([of[name] for name in common], axis=1) for of in (x, y))
    return half_correlation(each, others)


def _by_class(board: Leaderboard, rows: Sequence[Row], metric: str) -> dict[Hashable, np.ndarray]:
    """Return by test class the (k,) means of the rows over their seeds; empty if one has none."""
    found = [board.measured.shares(row.name, row.seeds, metric) for row in rows]
    shares = [some for some in found if some is not None]
    kinds = {(share.groups, share.weighting) for some in shares for share in some}
    if len(shares) < len(found) or len(kinds) != 1:
        return {}
    means = np.stack([np.mean([share.values for share in some], axis=0) for some in shares])
    return dict(zip(shares[0][0].groups, means.T, strict=True))


def _of_shared_classes(pairs: Sequence[_Pair]) -> list[str]:
    """Return what τ is without shared classes, as Markdown; nothing where no tables share any."""
    if not pairs:
        return []
    cells = [
        [
            pair.name,
            f"{pair.tau.tau:.2f}",
            *(["–", "–"] if pair.halves is None else [f"{tau:.2f}" for tau in pair.halves]),
        ]
        for pair in pairs
    ]
    return [
        "",
        table_line(["Tables that share test classes", "τ", "same half", "disjoint halves"]),
        table_line(["---", "---:", "---:", "---:"]),
        *map(table_line, cells),
        "",
        "Tables that share test classes share the luck of these, too, which may pull τ up: it is "
        "no answer for new classes. Disjoint halves: τ between the rows' means over one half of "
        "the shared classes in one table and over the other half in the other, both ways, mean of "
        f"{SPLITS} random splits. Same half: the same with one half in both tables, which is as "
        "noisy, so that the difference of the two is what the shared classes add.",
    ]


def _cell(pair: _Pair | None) -> str:
    if pair is None:
        return "–"
    text = f"{pair.tau.tau:.2f}{_span(pair.tau)}, {pair.tau.rows} rows"
    return f"**{text}**" if pair.is_of_backbones else text


def _span(tau: RankCorrelation) -> str:
    return "" if tau.interval is None else f" ({tau.interval[0]:.2f} to {tau.interval[1]:.2f})"


def _said(pair: _Pair) -> str:
    tau, where = pair.tau, " on the same test classes" if pair.shares else ""
    share = f"{_percent(tau.tau)} of the pairs of rows stand in the same order in both"
    if pair.halves is not None:
        share += f", {_percent(pair.halves.disjoint)} by disjoint halves of the classes"
    if tau.interval is not None and tau.interval[0] <= 0 <= tau.interval[1]:
        return f"From {pair.name} it cannot be told that the order carries over: {share}."
    does = "carries over" if tau.tau > 0 else "is reversed"
    return f"Between {pair.name} the order {does}{where}: {share}."


def _percent(tau: float) -> str:
    return f"{50 * (1 + tau):.0f} %"
