"""What a table has found on its main metric: who leads, by how much over whom, and how sure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.stats import sem

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.comparisons import Pair
from stt_bench.benchmark.leaderboards.rows import Row, classifies
from stt_bench.benchmark.leaderboards.scores import CONFIDENCE
from stt_bench.benchmark.statistics.crossed import Estimate, crossed
from stt_bench.benchmark.statistics.verdicts import FEWEST_CLASSES, Verdict

_OPPOSITE = str.maketrans("▲▼△▽", "▼▲▽△")


class Interval(NamedTuple):
    """A corrected 95 % interval of a difference (0 to 1), and its mark: ▲▼, △▽ or ≈."""

    low: float
    high: float
    mark: str


class Comparison(NamedTuple):
    """The leading row − another one: the mean difference (0 to 1), and what is known of it."""

    other: Row
    difference: float
    interval: Interval | None  # None: one seed, or one of the two may not be judged


@dataclass(frozen=True)
class Outcome:
    """What a table has found on one metric.

    Attributes:
        board: The leaderboard.
        metric: What the table is judged by; see `main_metric`.
        ranked: The trained rows of the protocol that most share, the highest mean first.
        untrained: The untrained rows that may be compared by the metric, the highest mean first.
    """

    board: Leaderboard
    metric: str
    ranked: list[Row]
    untrained: list[Row]

    @property
    def best(self) -> Row:
        """Return the row with the highest mean; of several, the first."""
        return self.ranked[0]

    @property
    def leaders(self) -> list[Row]:
        """Return the rows with the highest mean: all that tie."""
        return [row for row in self.ranked if self.mean(row) == self.mean(self.best)]

    @property
    def softmax_leads(self) -> bool:
        """Tell whether a Softmax row has the highest mean."""
        return any(row.experiment.is_softmax for row in self.leaders)

    @cached_property
    def over_softmax(self) -> Comparison | None:
        """Return the leader − the best Softmax row; None where Softmax leads or there is none."""
        if self.softmax_leads:
            return None
        softmax = self.board.best_softmax(self.best, self.metric)
        return None if softmax is None else self._compared(softmax)

    @cached_property
    def over_next(self) -> Comparison | None:
        """Return the leader − the row with the next lower mean."""
        following = self.ranked[len(self.leaders) :]
        return self._compared(following[0]) if following else None

    @cached_property
    def over_untrained(self) -> Comparison | None:
        """Return the leader − the best untrained row; None where there is none."""
        return self._compared(self.untrained[0]) if self.untrained else None

    @cached_property
    def marks(self) -> dict[str, str]:
        """Return the marks of ranked rows against the best Softmax row, by row name."""
        found = {}
        for row in self.ranked:
            other = self.board.best_softmax(row, self.metric)
            verdict = self.board.verdict(row, other, self.metric)
            if verdict is not None:
                found[row.name] = verdict.mark
        return found

    @property
    def better(self) -> list[Row]:
        """Return the ranked rows marked ▲ or △ against the best Softmax row."""
        return [row for row in self.ranked if self.marks.get(row.name, "") in ("▲", "△")]

    @property
    def is_judged(self) -> bool:
        """Tell whether some difference could be judged: seeds and code allow it."""
        known = (self.over_softmax, self.over_next)
        return any(self.marks.values()) or any(one and one.interval for one in known)

    @cached_property
    def tells_apart(self) -> bool:
        """Tell whether some row differs from another, by a mark of the page or a leader's."""
        known = (self.over_softmax, self.over_next, self.over_untrained)
        marks = [one.interval.mark for one in known if one is not None and one.interval]
        of_page = (v.mark for pair, v in self.board.verdicts.items() if pair.metric == self.metric)
        if {*marks, *of_page} - {"", "≈"}:
            return True
        tied = self.board.may_be_best(self.metric)
        return tied is not None and len(tied) < len(self.board.judged(self.metric))

    def mean(self, row: Row) -> float:
        """Return a row's mean of the metric."""
        return row.scores[self.metric].mean

    @property
    def pairs(self) -> int:
        """Return from how many pairs of ranked and untrained rows the numbers picked one."""
        ranked = len(self.ranked)
        return ranked * (ranked - 1) // 2 + ranked * len(self.untrained)

    def is_sound(self, row: Row) -> bool:
        """Tell whether a row may be judged; where a seed is missing, they may have been picked."""
        return row.name in self.board.whole and row.has_all_seeds

    def shared_seeds(self, other: Row) -> list[int]:
        """Return the seeds that the leader and another row have."""
        return self.board.measured.common_seeds(Pair(self.best.name, other.name, self.metric))

    def _compared(self, other: Row) -> Comparison:
        difference = self.mean(self.best) - self.mean(other)
        return Comparison(other, difference, self._interval(other))

    def _interval(self, other: Row) -> Interval | None:
        """Return the corrected interval of the leader − another row.

        Against Softmax it is corrected as the page's marks are; against other rows, which the
        numbers themselves picked, for all pairs of ranked and untrained rows (Bonferroni).
        It is that of new seeds and classes, or of new seeds alone where only that leaves out 0.
        Of tuned rows a search is what was drawn.
        """
        verdict = self.board.verdict(self.best, other, self.metric)
        if verdict is not None:
            return self._of_page(verdict)
        turned = self.board.verdict(other, self.best, self.metric)
        if turned is not None:
            found = self._of_page(turned)
            return found and Interval(-found.high, -found.low, found.mark.translate(_OPPOSITE))
        if not (self.is_sound(self.best) and self.is_sound(other)):
            return None
        measured, pair = self.board.measured, Pair(self.best.name, other.name, self.metric)
        by_seed, by_class = measured.differences(pair), measured.class_differences(pair)
        seeds = measured.common_seeds(pair)
        by_seed = measured.by_draw(pair.row, seeds, by_seed)
        if len(by_seed) < 2:
            return None
        error = sem(by_seed)
        estimates = [Estimate(*map(np.asarray, (by_seed.mean(), error, len(by_seed) - 1.0)))]
        signs = [("△", "▽")]
        if by_class is not None and by_class.shape[1] >= FEWEST_CLASSES:
            estimates.insert(0, crossed(measured.by_draw(pair.row, seeds, by_class)))
            signs.insert(0, ("▲", "▼"))
        found_ones = []
        for estimate, (above, below) in zip(estimates, signs, strict=True):
            half_width = estimate.half_width(1 - (1 - CONFIDENCE) / max(self.pairs, 1))
            low, high = float(estimate.mean - half_width), float(estimate.mean + half_width)
            mark = above if low > 0 else below if high < 0 else "≈"
            found_ones.append(Interval(low, high, mark))
        return next((one for one in found_ones if one.mark != "≈"), found_ones[0])

    def _of_page(self, verdict: Verdict) -> Interval | None:
        answers = {True: verdict.domain, False: verdict.classes}
        there = {new: one for new, one in answers.items() if one is not None}
        if not verdict.mark or not there:
            return None
        new = next(iter(there)) if verdict.mark == "≈" else verdict.mark in "▲▼"
        return Interval(*there[new].corrected(len(self.board.family)), verdict.mark)


def outcome(board: Leaderboard) -> Outcome | None:
    """Return what a table has found on its main metric; None where no row has been trained."""
    trained = [row for row in board.rows if row.is_trained]
    metric = main_metric(board)
    ranked = sorted(
        (row for row in trained if board.is_ranked(row, metric)),
        key=lambda row: -row.scores[metric].mean,
    )
    if not ranked:
        return None
    untrained = [  # an untrained classifier has nothing to say
        row for row in board.rows if row not in trained and metric in row.scores
    ]
    untrained.sort(key=lambda row: -row.scores[metric].mean)
    return Outcome(board, metric, ranked, [] if metric.endswith("accuracy") else untrained)


def main_metric(board: Leaderboard) -> str:
    """Return what a table is judged by: the metric that it names (`compare_by`), if any.

    Else it is accuracy where most trained rows have it, else MAP@R; empty where no row has a
    metric.
    """
    if board.compare_by in board.leads:
        return str(board.compare_by)
    return "accuracy" if classifies(board.rows) else (board.leads or [""])[0]
