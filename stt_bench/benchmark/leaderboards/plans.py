"""What would make a table's differences surer: more classes, more seeds, or more searches."""

from __future__ import annotations

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.comparisons import spread_of
from stt_bench.benchmark.statistics.planning import Spread, sentence
from stt_bench.benchmark.statistics.verdicts import FEWEST_CLASSES


def plan_of(board: Leaderboard, metric: str) -> str | None:
    """Return what would halve an interval, in a sentence; None where classes do not tell."""
    found = _spread(board, metric)
    if found is None:
        return None
    plan = sentence(*found)
    if board.tuned:  # seeds that share a winner are no draws of their own
        return plan.replace(" seed", " search").replace("searchs", "searches")
    return plan


def spread_text(board: Leaderboard, metric: str) -> str | None:
    """Return the standard deviations behind the plan; None where one seed tells none."""
    found = _spread(board, metric)
    if found is None or found[1] < 2:
        return None
    seed, of_class, residual = (f"{100 * one:.2g}" for one in found[0])
    verdicts = [one for pair, one in board.verdicts.items() if pair.metric == metric]
    freedoms = [one.domain.freedom for one in verdicts if one.domain]
    low, high = f"{min(freedoms):.0f}", f"{max(freedoms):.0f}"
    return (
        "Standard deviations of a typical difference in points: "
        f"{'search' if board.tuned else 'seed'} {seed}, class {of_class}, residual {residual}; "
        f"{low if low == high else f'{low} to {high}'} degrees of freedom."
    )


def _spread(board: Leaderboard, metric: str) -> tuple[Spread, int, int] | None:
    found = spread_of(board.measured, [pair for pair in board.verdicts if pair.metric == metric])
    return None if found is None or found[2] < FEWEST_CLASSES else found
