"""The marks of a table's rows: two questions, each answered for all rows at once.

▲▼: above or below the baseline for new seeds *and* new classes of this domain. △▽: for new seeds on
these very test classes. ≈: neither can be told.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy import special

from stt_bench.benchmark.statistics.adjustment import holm, step_down
from stt_bench.benchmark.statistics.crossed import LEVEL, Estimate, crossed
from stt_bench.benchmark.statistics.joint import null_p
from stt_bench.benchmark.statistics.moderated import moderated

DRAWS = 10_000
SEED = 0
JOINT_SEEDS = 5  # from so many on the joint draws hold their level
FEWEST_CLASSES = 10


@dataclass(frozen=True)
class Answer:
    """What one question says of a row: the 95 % interval is mean ± half_width.

    The mean is that of the class values for new classes, else that of the metric.
    """

    mean: float
    half_width: float
    freedom: float
    p: float
    adjusted: float

    def corrected(self, tests: int) -> tuple[float, float]:
        """Return the interval that leaves out 0 where the adjusted p-value is 5 % or less.

        It is mean ± t_ν(1 − 0.05/(2m)) · standard error with m = adjusted / p: as many tests as the
        adjustment counts this one for, from 1 to all `tests`.
        """
        m = min(max(self.adjusted / self.p, 1.0), tests) if self.p > 0 else float(tests)
        tail = (1 - LEVEL) / 2
        wider = special.stdtrit(self.freedom, tail / m) / special.stdtrit(self.freedom, tail)
        half_width = self.half_width * float(wider)
        return self.mean - half_width, self.mean + half_width


@dataclass(frozen=True)
class Verdict:
    """What is known of a row's difference to its baseline.

    `domain` answers for new seeds and classes, `classes` for new seeds on these classes; None where
    the numbers do not allow it.
    """

    mean: float
    seeds: int
    domain: Answer | None
    classes: Answer | None
    withheld: bool = False  # the mark, since the seeds or the code are not as they should be

    @property
    def mark(self) -> str:
        """Return ▲▼ by the first question, else △▽ by the second, else ≈.

        With one seed there is none: its interval is that of new classes alone, as if seeds did not
        matter; where they do it covers less than half of what it promises.
        """
        if self.seeds < 2 or self.withheld:
            return ""
        for answer, marks in ((self.domain, "▲▼"), (self.classes, "△▽")):
            if answer is not None and answer.adjusted <= 1 - LEVEL and answer.mean != 0:
                return marks[0 if answer.mean > 0 else 1]
        return "≈"

    @property
    def half_width(self) -> float | None:
        """Return the half-width of the interval that is shown, of the first question answered."""
        answer = self.domain or self.classes
        return None if answer is None else answer.half_width


def verdicts(
    by_seed: Sequence[np.ndarray],
    by_class: Sequence[np.ndarray | None],
    draws: int = DRAWS,
    *,
    pools: Sequence[Hashable] | None = None,
) -> list[Verdict]:
    """Return the verdicts of k rows that are compared with their baselines on one metric.

    Adjusted over all k rows: the first question by step-down max-t where every row has the same
    seeds, five or more, and the same classes, else by Holm; the second by Holm on moderated t.
    Below ten classes the first question is not answered.

    Args:
        by_seed: for each row, (S,) differences of the metric, from seeds both rows have.
        by_class: for each row (S, C) differences of class values, or None where not recorded.
        draws: of the null, with a fixed seed.
        pools: for each row, what it shares its variance over the seeds with, such as its metric.
    """
    first = _domain(by_class, draws)
    second = _classes(by_seed, pools or [None] * len(by_seed))
    return [
        Verdict(float(np.mean(d)), len(d), domain, classes)
        for d, domain, classes in zip(by_seed, first, second, strict=True)
    ]


def _domain(by_class: Sequence[np.ndarray | None], draws: int) -> list[Answer | None]:
    answered = {
        row: d
        for row, d in enumerate(by_class)
        if d is not None and d.shape[0] > 0 and d.shape[1] >= FEWEST_CLASSES
    }
    answers: list[Answer | None] = [None] * len(by_class)
    if not answered:
        return answers
    estimates = Estimate(*map(np.stack, zip(*map(crossed, answered.values()), strict=True)))
    p = estimates.p_value()
    shapes = {d.shape for d in answered.values()}
    if len(shapes) == 1 and next(iter(shapes))[0] >= JOINT_SEEDS:
        d = np.stack(list(answered.values()))
        null = null_p(d, estimates.freedom, draws, np.random.default_rng(SEED), at_most=p)
        adjusted = step_down(p, null)
    else:
        adjusted = holm(p)
    for row, answer in zip(answered, _answers(estimates, p, adjusted), strict=True):
        answers[row] = answer
    return answers


def _classes(by_seed: Sequence[np.ndarray], pools: Sequence[Hashable]) -> list[Answer | None]:
    alike: dict[Hashable, list[int]] = {}
    for row, (d, pool) in enumerate(zip(by_seed, pools, strict=True)):
        if len(d) > 1:
            alike.setdefault((len(d), pool), []).append(row)
    answers: list[Answer | None] = [None] * len(by_seed)
    if alike:
        groups = [moderated(np.stack([by_seed[row] for row in rows])) for rows in alike.values()]
        estimates = Estimate(*map(np.concatenate, zip(*groups, strict=True)))
        p = estimates.p_value()
        placed = chain.from_iterable(alike.values())
        for row, answer in zip(placed, _answers(estimates, p, holm(p)), strict=True):
            answers[row] = answer
    return answers


def _answers(estimates: Estimate, p: np.ndarray, adjusted: np.ndarray) -> list[Answer]:
    """Return the answers of estimates of shape (k,)."""
    columns = (estimates.mean, estimates.half_width(), estimates.freedom, p, adjusted)
    return [Answer(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
