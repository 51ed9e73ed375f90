"""Which distance ranks, and where the other one orders rows or judges them otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.wording import DISTANCES, listed, metric_name, points
from stt_bench.benchmark.statistics.verdicts import Verdict, verdicts
from stt_bench.benchmark.store.distances import is_retrieval
from stt_bench.benchmark.system.text import escape_markdown

ByPair = dict[tuple[str, str], Verdict]
Ordered = dict[str, tuple[ByPair, ByPair]]
"""By metric, the verdicts on all pairs of ranked rows, under the two distances."""


def distance_notes(board: Leaderboard) -> list[str]:
    """Return the notes, as Markdown; none where no row has retrieval."""
    if not any(is_retrieval(metric) for metric in board.metrics):
        return []
    told = [_ranked(board), *_measured_by_one(board)]
    name = DISTANCES[board.by_the_other.distance]
    if any(map(is_retrieval, board.by_the_other.metrics)):
        ordered = {
            metric: (_pairs(board, metric), _pairs(board.by_the_other, metric))
            for metric in filter(is_retrieval, board.leads)
        }
        differ = [*_orders(board, ordered), *_verdicts(board)]
        if not differ and _is_judged(ordered):
            differ = [
                f"Ranked by {name}, no mark and no order that is significant by the seeds would be "
                "another."
            ]
        told += differ
    return list(map(escape_markdown, told))


def _ranked(board: Leaderboard) -> str:
    clusters = any(metric in board.metrics for metric in ("nmi", "ami"))
    also = ", and clusters are found by it" if clusters else ""
    return f"Retrieval is ranked by {DISTANCES[board.distance]}{also}."


def _measured_by_one(board: Leaderboard) -> Iterator[str]:
    """Say which rows have no retrieval under one of the distances."""
    other = board.by_the_other
    for here, there in ((board, other), (other, board)):
        ours, theirs = ({r.name for r in b.rows if _has_retrieval(r)} for b in (here, there))
        only = [
            row.label
            for row in here.rows
            if row.name in ours - theirs and row.experiment.evaluation.query_expansion is None
        ]
        if only:
            rows = "All rows are" if len(only) == len(board.rows) else f"{listed(only)}:"
            unranked = "" if here is board else ", so without retrieval here"
            yield (
                f"{rows} measured by {DISTANCES[here.distance]} only{unranked}; "
                "run them again to have both."
            )


def _has_retrieval(row: Row) -> bool:
    return any(map(is_retrieval, row.scores))


def _orders(board: Leaderboard, ordered: Ordered) -> Iterator[str]:
    """Say which rows are above others by one distance and below them by the other.

    Told where one of the two orders is significant for new seeds on these classes (all pairs of
    ranked rows are one family).
    """
    for metric, (ours, theirs) in ordered.items():
        below: dict[str, list[str]] = {}
        for (first, second), here in ours.items():
            there = theirs.get((first, second))
            if there is None or here.mean * there.mean >= 0:
                continue
            if {here.mark, there.mark} & {"△", "▽"}:
                upper, lower = (first, second) if there.mean > 0 else (second, first)
                below.setdefault(upper, []).append(lower)
        labels = {row.name: row.label for row in board.rows}
        name = DISTANCES[board.by_the_other.distance]
        for upper, others in below.items():
            yield (
                f"Another order by {name}, significant by the seeds: "
                f"{labels[upper]} is above {listed([labels[other] for other in others])} in "
                f"{metric_name(metric)} (by {DISTANCES[board.distance]} below)."
            )


def _is_judged(ordered: Ordered) -> bool:
    """Tell whether some order of rows was tested under both: one seed cannot say anything."""
    return any(
        verdict.mark and pair in theirs
        for ours, theirs in ordered.values()
        for pair, verdict in ours.items()
    )


def _pairs(board: Leaderboard, metric: str) -> ByPair:
    """Return the verdicts by seeds on all pairs of ranked rows, adjusted over all of them."""
    names = sorted(row.name for row in board.rows if board.is_ranked(row, metric))
    by_seed = {name: board.measured.by_seed(name, metric) for name in names}
    found = {}
    for first, second in combinations(names, 2):
        ours, theirs = by_seed[first], by_seed[second]
        shared = sorted(ours.keys() & theirs.keys())
        if shared:
            found[first, second] = np.array([ours[seed] - theirs[seed] for seed in shared])
    return dict(zip(found, verdicts([*found.values()], [None] * len(found)), strict=True))


def _verdicts(board: Leaderboard) -> Iterator[str]:
    """Say which marks are others under the other distance."""
    other = board.by_the_other
    there = {row.name: row for row in other.rows}
    for metric in filter(is_retrieval, board.leads):
        told = []
        for row in board.rows:
            ours, theirs = _against(board, row, metric), _against(other, there[row.name], metric)
            told += [
                f"{row.label} − {against} {points(theirs[against])} "
                f"(by {DISTANCES[board.distance]} {points(verdict)})"
                for against, verdict in ours.items()
                if against in theirs and verdict.mark != theirs[against].mark
            ]
        below, below_there = (
            {row.name for row in one.rows if one.below_untrained(row, metric)}
            for one in (board, other)
        )
        both = [
            row for row in board.rows if metric in row.scores and metric in there[row.name].scores
        ]
        for one, names in ((board, below - below_there), (other, below_there - below)):
            rows = [row.label for row in both if row.name in names]
            if rows:
                told.append(
                    f"below the untrained network by {DISTANCES[one.distance]} only: {listed(rows)}"
                )
        if told:
            yield (
                f"Another verdict by {DISTANCES[other.distance]} in {metric_name(metric)}: "
                f"{'; '.join(told)}."
            )


def _against(board: Leaderboard, row: Row, metric: str) -> dict[str, Verdict]:
    """Return the verdicts on a row that the page shows."""
    compared = {
        "baseline": board.baseline(row, metric).row,
        "best Softmax": board.best_softmax(row, metric),
    }
    found = {name: board.verdict(row, against, metric) for name, against in compared.items()}
    return {name: verdict for name, verdict in found.items() if verdict is not None}
