"""How far a metric may move when a record is made again elsewhere, by the row's other seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from stt_bench.benchmark.statistics.moderated import CAP, prior_of
from stt_bench.benchmark.store.records import Record
from stt_bench.benchmark.verification.fields import is_count

LEVEL = 0.95


@dataclass(frozen=True)
class Reach:
    """A metric of a record, the same made again, and how far apart the two may lie."""

    metric: str
    recorded: float
    again: float
    half_width: float

    @property
    def is_inside(self) -> bool:
        """Tell whether the difference is no larger than new seeds make it."""
        return abs(self.again - self.recorded) <= self.half_width + 1e-9

    def text(self) -> str:
        """Return the metric, both values and the interval, in percent."""
        if is_count(self.metric):
            return f"{self.metric} {self.recorded:g}, now {self.again:g}"
        low, high = self.recorded - self.half_width, self.recorded + self.half_width
        return (
            f"{self.metric} {100 * self.recorded:.2f}, now {100 * self.again:.2f} "
            f"(interval {100 * low:.2f} to {100 * high:.2f})"
        )


def reaches(
    record: Record, again: Record, others: Sequence[Record], rows: Sequence[Sequence[Record]] = ()
) -> list[Reach] | None:
    """Return every metric with the interval of a second training; None without two other seeds.

    A training elsewhere is taken for a draw of another seed. Of two draws with the standard
    deviation σ the difference has σ·√2, so it lies within t_ν · s · √2. s² and ν are those of the
    row's other seeds, so that the record that is doubted has no part in it, shrunk towards the
    variances of the table's other rows as `statistics.moderated` does it: with n other seeds
    s² = (d₀·s₀² + (n−1)·s_row²) / (d₀ + n − 1), ν = min(d₀ + n − 1, 4(n − 1)). For m metrics t is
    taken at 1 − 0.05/m (Bonferroni), so that all of an honest record stay inside in about 95 % of
    cases (`tests/perf/reproduction_interval.py`: 94 to 99 %). Counts must be equal.

    Args:
        record: what is doubted.
        again: the same, trained again.
        others: the row's other records, of the same settings.
        rows: the records of the table's other rows; those with two seeds or more are used.
    """
    if len(others) < 2:
        return None
    names = [name for name in record.metrics if name in again.metrics]
    spread = [name for name in names if not is_count(name)]
    tail = (1 - LEVEL) / 2 / max(len(spread), 1)
    found = []
    for name in names:
        half_width = 0.0
        if name in spread:
            variance, freedom = _variance(name, others, rows)
            half_width = float(stats.t.isf(tail, freedom)) * (2 * variance) ** 0.5
        found.append(Reach(name, record.metrics[name], again.metrics[name], half_width))
    return found


def _variance(
    metric: str, others: Sequence[Record], rows: Sequence[Sequence[Record]]
) -> tuple[float, float]:
    """Return the variance of a metric over seeds, and its degrees of freedom."""
    own, freedom = _of_row(metric, others), len(others) - 1.0
    usual = max(map(len, rows), default=0)
    theirs = [_of_row(metric, row) for row in rows if len(row) == usual and usual > 1]
    known = np.array([variance for variance in theirs if variance > 0])
    if len(known) < 2:
        return own, freedom
    prior, center = prior_of(known, usual - 1.0)
    most = CAP * freedom
    if np.isinf(prior):
        return center, most
    return (prior * center + freedom * own) / (prior + freedom), min(prior + freedom, most)


def _of_row(metric: str, records: Sequence[Record]) -> float:
    values = [record.metrics[metric] for record in records if metric in record.metrics]
    return statistics.variance(values) if len(values) > 1 else 0.0
