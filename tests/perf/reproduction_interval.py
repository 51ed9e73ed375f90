"""How often an honest record, trained again elsewhere, lies inside the interval of `reproduce`.

``python tests/perf/reproduction_interval.py``: rows whose spreads over the seeds differ
(log-normal, 0.5), six metrics, independent or correlated by 0.9. Promised: 95 % with all inside.
"""

from __future__ import annotations

import argparse
from types import SimpleNamespace
from typing import Any

import numpy as np

from stt_bench.benchmark.verification.spread import reaches

TABLES, METRICS = 300, 6


def record(values: np.ndarray) -> Any:
    """Return what stands for a record: its metrics."""
    return SimpleNamespace(metrics={f"m{i}": float(value) for i, value in enumerate(values)})


def share_inside(seeds: int, rows: int, correlation: float, rng: np.random.Generator) -> float:
    """Return the share of tables in which the first row's first seed is inside."""
    inside = 0
    for _ in range(TABLES):
        spread = 0.01 * np.exp(rng.normal(0, 0.5, (rows + 1, 1, 1)))
        common = rng.normal(size=(rows + 1, seeds + 1, 1))
        own = rng.normal(size=(rows + 1, seeds + 1, METRICS))
        drawn = 0.5 + spread * (correlation**0.5 * common + (1 - correlation) ** 0.5 * own)
        first, again = record(drawn[0, 0]), record(drawn[0, seeds])
        others = [record(values) for values in drawn[0, 1:seeds]]
        beside = [[record(values) for values in row[:seeds]] for row in drawn[1:]]
        found = reaches(first, again, others, beside)
        assert found is not None
        inside += all(one.is_inside for one in found)
    return inside / TABLES


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    rng = np.random.default_rng(0)
    for seeds in (3, 5, 10):
        for rows in (0, 5, 20):
            for correlation in (0.0, 0.9):
                share = share_inside(seeds, rows, correlation, rng)
                print(f"{seeds} seeds, {rows} other rows, correlation {correlation}: {share:.3f}")
