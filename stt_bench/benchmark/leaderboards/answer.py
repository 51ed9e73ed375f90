"""A leaderboard in three sentences: what leads, by how much, and how sure that is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import sem

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.comparisons import Pair
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.scores import CONFIDENCE
from stt_bench.benchmark.leaderboards.wording import listed, metric_name
from stt_bench.benchmark.statistics.crossed import Estimate, crossed
from stt_bench.benchmark.statistics.verdicts import FEWEST_CLASSES


def answer(board: Leaderboard) -> list[str]:
    """Return three sentences on a table's main metric; none where no row has been trained.

    The metric is accuracy where most trained rows have it, else MAP@R. The rows of the protocol
    that most rows share are ranked by their means over the seeds. A difference is taken seed by
    seed; its interval is corrected: against Softmax as the page's marks are, against other rows,
    which the numbers themselves picked, for all pairs of ranked and untrained rows (Bonferroni).
    """
    trained = [row for row in board.rows if row.experiment.train.steps > 0]
    classifies = sum("accuracy" in row.scores for row in trained) > len(trained) / 2
    metric = "accuracy" if classifies else (board.leads or [""])[0]
    ranked = sorted(
        (row for row in trained if board.is_ranked(row, metric)),
        key=lambda row: -row.scores[metric].mean,
    )
    if not ranked:
        return []
    best = ranked[0]
    untrained = [  # an untrained classifier has nothing to say
        row for row in board.rows if row not in trained and metric in row.scores and not classifies
    ]
    value = best.scores[metric].mean
    leaders = [row for row in ranked if row.scores[metric].mean == value]
    rivals = _rivals(board, leaders, ranked, metric)
    pairs = len(ranked) * (len(ranked) - 1) // 2 + len(ranked) * len(untrained)
    return [
        _what(
            leaders,
            [row for row in trained if row not in ranked and not row.inactive],
            untrained,
            metric,
        ),
        _by_how_much(best, [*rivals, *untrained], metric),
        _how_sure(board, best, [*rivals, *untrained], metric, pairs),
    ]


def _rivals(board: Leaderboard, leaders: list[Row], ranked: list[Row], metric: str) -> list[Row]:
    """Return Softmax and the next row, without those that lead and without repetition."""
    following = ranked[len(leaders) : len(leaders) + 1]
    if any(row.experiment.is_softmax for row in leaders):
        return following
    softmax = board.best_softmax(leaders[0], metric)
    return following if softmax is None or softmax in following else [softmax, *following]


def _what(leaders: list[Row], others: list[Row], untrained: list[Row], metric: str) -> str:
    value, name = leaders[0].scores[metric].mean, metric_name(metric)
    labels = listed([row.label for row in leaders])
    told = f"{labels} {'leads' if len(leaders) == 1 else 'lead'} by {name} with {_percent(value)}"
    for row in untrained:
        if row.scores[metric].mean >= value:
            score = _percent(row.scores[metric].mean)
            told = (
                f"The untrained network leads by {name} with {score}: of the trained rows, {told}"
            )
            break
    above = [row for row in others if metric in row.scores and row.scores[metric].mean > value]
    if above:
        top = max(above, key=lambda row: row.scores[metric].mean)
        told += (
            f" among the rows of one protocol ({top.label}, of another, has "
            f"{_percent(top.scores[metric].mean)})"
        )
    return told + "."


def _by_how_much(best: Row, rivals: list[Row], metric: str) -> str:
    if not rivals:
        return "There is no row below to compare with."
    told = []
    for row in rivals:
        points = 100 * (best.scores[metric].mean - row.scores[metric].mean)
        where = f"{abs(points):.1f} points {'above' if points > 0 else 'below'}"
        told.append(
            f"{where if points else 'level with'} {row.label} ({_percent(row.scores[metric].mean)})"
        )
    return f"That is {listed(told)}."


def _how_sure(board: Leaderboard, best: Row, rivals: list[Row], metric: str, pairs: int) -> str:
    if not rivals:
        return "So there is no difference to be sure of."
    known = [(row, _interval(board, best, row, metric, pairs)) for row in rivals]
    found = [(row, interval) for row, interval in known if interval is not None]
    told = [
        f"{100 * one.low:+.1f} to {100 * one.high:+.1f} over {row.label} ({one.words})"
        for row, one in found
    ]
    unsound = [row.label for row in (best, *rivals) if not _is_sound(board, row)]
    shared = [board.measured.common_seeds(Pair(best.name, row.name, metric)) for row in rivals]
    if not told and unsound and max(map(len, shared)) > 1:
        return (
            f"How sure that is cannot be said: {listed(unsound)} lacks some of the table's seeds, "
            "has others, or was made by other code; the page says which."
        )
    if not told:
        return "One seed cannot say how sure that is: run more of them, such as --seeds 0,1,2."
    corrected = ", corrected for all comparisons of the table," if pairs > 1 else ""
    narrow = [row.label for row, one in found if not one.new_classes]
    widened = "; new classes would widen it" if narrow else ""
    if 0 < len(narrow) < len(found):
        widened = f"; new classes would widen that over {listed(narrow)}"
    return (
        f"The {100 * CONFIDENCE:.0f} % interval of the difference in points{corrected} is "
        f"{listed(told)}{widened}."
    )


_SURE = {True: "significant also on new classes", False: "significant on these classes"}


class _Interval(NamedTuple):
    low: float
    high: float
    words: str
    new_classes: bool  # it is of new seeds and new classes, not of new seeds alone


def _interval(
    board: Leaderboard, best: Row, other: Row, metric: str, pairs: int
) -> _Interval | None:
    """Return the corrected interval of a difference and what it says; None with one seed.

    None also where one of the two may have no mark. It is that of new seeds and classes, or of new
    seeds alone where only that leaves out 0. Of tuned rows a search is what was drawn.
    """
    verdict = board.verdict(best, other, metric)
    if verdict is not None:
        answers = {True: verdict.domain, False: verdict.classes}
        there = {new: one for new, one in answers.items() if one is not None}
        if not verdict.mark or not there:
            return None
        new = next(iter(there)) if verdict.mark == "≈" else verdict.mark in "▲▼"
        words = "not significant" if verdict.mark == "≈" else _SURE[new]
        return _Interval(*there[new].corrected(len(board.pairs)), words, new)
    pair = Pair(best.name, other.name, metric)
    by_seed, by_class = board.measured.differences(pair), board.measured.class_differences(pair)
    if not (_is_sound(board, best) and _is_sound(board, other)):
        return None
    seeds = board.measured.common_seeds(pair)
    by_seed = board.measured.by_draw(pair.row, seeds, by_seed)
    if by_class is not None:
        by_class = board.measured.by_draw(pair.row, seeds, by_class)
    if len(by_seed) < 2:
        return None
    estimates = {
        False: Estimate(*map(np.asarray, (by_seed.mean(), sem(by_seed), len(by_seed) - 1.0)))
    }
    if by_class is not None and by_class.shape[1] >= FEWEST_CLASSES:
        estimates = {True: crossed(by_class), **estimates}
    intervals = []
    for new, estimate in estimates.items():
        half_width = estimate.half_width(1 - (1 - CONFIDENCE) / max(pairs, 1))
        low, high = float(estimate.mean - half_width), float(estimate.mean + half_width)
        clear = low > 0 or high < 0
        intervals.append(_Interval(low, high, _SURE[new] if clear else "not significant", new))
    return next((one for one in intervals if one.words in _SURE.values()), intervals[0])


def _is_sound(board: Leaderboard, row: Row) -> bool:
    """Tell whether a row may be judged; where a seed is missing, they may have been picked."""
    return row.name in board.whole and row.has_all_seeds


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
