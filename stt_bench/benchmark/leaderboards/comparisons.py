"""A table's rows against Softmax, judged together: every mark of a page is of one family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from stt_bench.benchmark.leaderboards.class_shares import ClassShares, class_shares
from stt_bench.benchmark.statistics.best import tied_with_best
from stt_bench.benchmark.statistics.crossed import components
from stt_bench.benchmark.statistics.planning import Spread
from stt_bench.benchmark.statistics.verdicts import Verdict, verdicts
from stt_bench.benchmark.store.records import Record


class Pair(NamedTuple):
    """A row, the row it is compared with, and the metric."""

    row: str
    other: str
    metric: str


class Measured:
    """The metrics and class values of records, by row and seed."""

    def __init__(self, records: Sequence[Record]) -> None:
        """Keep the records."""
        self._rows: dict[str, dict[int, Record]] = {}
        for record in records:
            self._rows.setdefault(record.row, {})[record.seed] = record

    def by_seed(self, row: str, metric: str) -> dict[int, float]:
        """Return a metric by seed."""
        found = self._rows.get(row, {}).items()
        return {seed: one.metrics[metric] for seed, one in found if metric in one.metrics}

    def shares(self, row: str, seeds: Sequence[int], metric: str) -> list[ClassShares] | None:
        """Return the class values of a row's seeds; None if one of them has none."""
        found = [class_shares(self._rows[row][seed], metric) for seed in seeds]
        there = [one for one in found if one is not None]
        return there if len(there) == len(seeds) > 0 else None

    def differences(self, pair: Pair) -> np.ndarray:
        """Return row − other over the seeds both have, (S,)."""
        ours, theirs = (self.by_seed(name, pair.metric) for name in pair[:2])
        return np.array([ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())])

    def class_differences(self, pair: Pair) -> np.ndarray | None:
        """Return the same by class, (S, C); None where a record holds no class values."""
        ours, theirs = (self.by_seed(name, pair.metric) for name in pair[:2])
        both = self.matrices([pair.row, pair.other], sorted(ours.keys() & theirs.keys()), pair[2])
        return None if both is None else both[0] - both[1]

    def by_draw(self, row: str, seeds: Sequence[int], values: np.ndarray) -> np.ndarray:
        """Return (S, …) values of seeds by what was drawn independently, (m, …).

        That is a seed; of a tuned row it is a search, the mean over the seeds that share its
        winner. With 28 equal rows, 10 seeds and 3 searches that spread twice as much as their
        seeds, △ or ▽ would stand in 64 % of tables if seeds were taken as independent.
        """
        records = [self._rows[row][seed] for seed in seeds]
        studies = np.array([-1 if r.tuning is None else r.tuning.study for r in records])
        if not len(records) or (studies < 0).any():
            return values
        return np.stack([values[studies == study].mean(axis=0) for study in np.unique(studies)])

    def common_seeds(self, pair: Pair) -> list[int]:
        """Return the seeds that both rows have."""
        ours, theirs = (self.by_seed(name, pair.metric) for name in pair[:2])
        return sorted(ours.keys() & theirs.keys())

    def matrices(self, rows: Sequence[str], seeds: Sequence[int], metric: str) -> np.ndarray | None:
        """Return class values (k, S, C) of rows; None where one is missing or classes differ."""
        found: list[ClassShares] = []
        for row in rows:
            some = self.shares(row, seeds, metric)
            if some is None:
                return None
            found += some
        if len({(one.groups, one.weighting) for one in found}) != 1:
            return None
        values = np.stack([one.values for one in found])
        return values.reshape(len(rows), len(seeds), -1)

    def weighting(self, row: str, metric: str) -> str:
        """Return over what a metric with class values is averaged."""
        shares = self.shares(row, list(self.by_seed(row, metric)), metric)
        return shares[0].weighting if shares else "query"


def judge(measured: Measured, pairs: Sequence[Pair]) -> dict[Pair, Verdict]:
    """Return the verdict on each pair, adjusted over all of them.

    Pairs without a common seed have none. Variances over the seeds are shrunk within a metric.
    """
    by_seed = {pair: measured.differences(pair) for pair in pairs}
    judged = [pair for pair in by_seed if len(by_seed[pair])]
    seeds = {pair: measured.common_seeds(pair) for pair in judged}
    by_class = {pair: measured.class_differences(pair) for pair in judged}
    found = verdicts(
        [measured.by_draw(pair.row, seeds[pair], by_seed[pair]) for pair in judged],
        [
            None if d is None else measured.by_draw(pair.row, seeds[pair], d)
            for pair, d in by_class.items()
        ],
        pools=[pair.metric for pair in judged],
    )
    means = [float(by_seed[pair].mean()) for pair in judged]
    return {
        pair: replace(verdict, mean=mean)
        for pair, verdict, mean in zip(judged, found, means, strict=True)
    }


def spread_of(measured: Measured, pairs: Sequence[Pair]) -> tuple[Spread, int, int] | None:
    """Return the spread of a typical pair's differences (medians), and how many S and C.

    One row that is unsteady, such as one whose runs collapse, says nothing of the others. None
    where there are no class values, or pairs have other seeds or classes than others.
    """
    found = [(pair, measured.class_differences(pair)) for pair in pairs]
    there = [
        measured.by_draw(pair.row, measured.common_seeds(pair), d)
        for pair, d in found
        if d is not None and d.size
    ]
    if not there or len({d.shape for d in there}) != 1 or there[0].shape[1] < 2:
        return None
    each = [np.median(one) for one in components(np.stack(there))]
    return Spread(*map(float, each)), *there[0].shape


def may_be_best(measured: Measured, rows: Sequence[str], metric: str) -> list[str] | None:
    """Return the rows that cannot be told from the best; None where class values are missing."""
    if len(rows) < 2:
        return None
    seeds = sorted(set.intersection(*(set(measured.by_seed(row, metric)) for row in rows)))
    values = measured.matrices(rows, seeds, metric)
    if values is None or values.shape[2] < 2:
        return None
    drawn = np.stack(
        [measured.by_draw(row, seeds, of_row) for row, of_row in zip(rows, values, strict=True)]
    )
    return [row for row, tied in zip(rows, tied_with_best(drawn), strict=True) if tied]
