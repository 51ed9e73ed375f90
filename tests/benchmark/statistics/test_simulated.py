"""What is promised holds in simulated tables: coverage, family-wise error, the best row in the set.

Bounds are four standard errors of the simulation wide; `tests/perf/statistics_promises.py` is the
same at full size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats
from simulated_tables import (
    NINE_TABLES,
    SPREADS,
    best_of_more_seeds,
    covers_uneven_classes,
    equal_rows,
    gallery_of_classes,
    marks_beside_the_best,
    null_differences,
    rows_against_a_baseline,
    seeds_against_a_baseline,
    tables_of_sources,
    uneven_tables,
)

from stt_bench.benchmark.statistics.across import across_sources
from stt_bench.benchmark.statistics.best import tied_with_best
from stt_bench.benchmark.statistics.crossed import crossed
from stt_bench.benchmark.statistics.verdicts import verdicts
from stt_bench.evaluation import class_values


def error_of(share: float, count: int) -> float:
    return 4 * (share * (1 - share) / count) ** 0.5


@pytest.mark.parametrize(
    ("kind", "seeds", "classes"),
    [
        ("frozen", 5, 25),
        ("frozen", 3, 5),
        ("scratch", 5, 25),
        ("scratch", 10, 98),
        ("twins", 5, 50),
    ],
)
def test_intervals_cover_new_seeds_and_classes(kind: str, seeds: int, classes: int) -> None:
    tables = 1500
    d = null_differences(np.random.default_rng(1), tables, seeds, classes, kind)
    estimate = crossed(d)
    covered = np.mean(np.abs(estimate.mean) <= estimate.half_width())
    assert 0.94 - error_of(0.95, tables) < covered < 0.98


def test_the_spread_over_seeds_says_nothing_of_new_classes() -> None:
    d = null_differences(np.random.default_rng(2), 500, 10, 25, "frozen").mean(axis=2)
    assert (stats.ttest_1samp(d, 0, axis=1).pvalue > 0.05).mean() < 0.25


@pytest.mark.parametrize("seeds", [3, 5])
def test_a_table_without_a_difference_is_rarely_marked(seeds: int) -> None:
    tables, rng = 150, np.random.default_rng(3)
    marked = {"▲▼": 0, "△▽": 0}
    for _ in range(tables):
        d = list(rows_against_a_baseline(rng, 17, seeds, 25, "frozen"))
        found = verdicts([one.mean(axis=1) for one in d], d, draws=300)
        marked["▲▼"] += any(verdict.mark in "▲▼" for verdict in found if verdict.mark)
        fixed = verdicts(list(seeds_against_a_baseline(rng, 17, seeds)), [None] * 17)
        marked["△▽"] += any(verdict.mark in "△▽" for verdict in fixed)
    for mark, count in marked.items():
        assert count / tables <= 0.05 + error_of(0.05, tables), mark


@pytest.mark.parametrize("seeds", [3, 5])
def test_rows_that_differ_in_their_spread_are_rarely_marked(seeds: int) -> None:
    tables, rng = 80, np.random.default_rng(10)
    marked = 0
    for _ in range(tables):
        d = seeds_against_a_baseline(rng, 17, seeds, 0.8)
        marked += any(one.mark != "≈" for one in verdicts(list(d), [None] * 17))
    assert marked / tables <= 0.05 + error_of(0.05, tables)


def test_a_best_softmax_row_that_the_numbers_pick_marks_no_others() -> None:
    tables, rng = 80, np.random.default_rng(11)
    marked = {True: 0, False: 0}
    for _ in range(tables):
        values = equal_rows(rng, 8 + 16, 5, 25, "scratch")
        for fixed in marked:
            marked[fixed] += bool(marks_beside_the_best(values, 8, 300, fixed=fixed) & {*"▲▼"})
    assert marked[False] / tables <= 0.05 + error_of(0.05, tables)
    assert marked[True] > marked[False] + 4


def test_a_real_difference_is_found() -> None:
    rng = np.random.default_rng(4)
    d = rows_against_a_baseline(rng, 17, 5, 25, "frozen")
    d[:8] += 8.0
    found = verdicts([one.mean(axis=1) for one in d], list(d), draws=500)
    assert sum(verdict.mark == "▲" for verdict in found[:8]) >= 6
    assert not any(verdict.mark in ("▲", "▼") for verdict in found[8:])


def test_the_best_row_is_in_the_set() -> None:
    tables, rng, held, size = 60, np.random.default_rng(5), 0, 0
    seed, of_class, residual = SPREADS["frozen"]
    for _ in range(tables):
        values = (
            np.r_[0.0, -1.6 * np.ones(7)][:, None, None]
            + seed * rng.standard_normal((8, 5, 1))
            + of_class / 2**0.5 * rng.standard_normal((8, 1, 25))
            + residual * rng.standard_normal((8, 5, 25))
        )
        kept = tied_with_best(values, draws=300)
        held, size = held + kept[0], size + kept.sum()
    assert held / tables >= 0.95 - error_of(0.95, tables)
    assert 1 <= size / tables < 8


def test_classes_that_are_each_others_gallery_need_leave_class_out_values() -> None:
    sets, classes, rng = 100, 15, np.random.default_rng(6)
    values = []
    for _ in range(sets):
        *both, labels = gallery_of_classes(rng, classes)
        one, other = (class_values(x, labels, ks=[], weighting="query").values[:, 1] for x in both)
        values.append(100 * (one - other))
    estimate = crossed(np.array(values)[:, None])
    off = np.abs(estimate.mean - estimate.mean.mean())
    assert np.mean(off <= estimate.half_width()) >= 0.95 - error_of(0.95, sets)


@pytest.mark.parametrize(("classes", "variation"), [(25, 0.3), (25, 1.0), (150, 1.0)])
def test_classes_of_uneven_size_are_covered(classes: int, variation: float) -> None:
    tables = 500
    drawn = uneven_tables(np.random.default_rng(7), tables, classes, variation)
    assert 0.94 - error_of(0.95, tables) < covers_uneven_classes(*drawn) <= 0.99


def test_the_mean_over_sources_covers_and_over_tables_of_one_source_it_would_not() -> None:
    sets = 1000
    drawn = tables_of_sources(np.random.default_rng(8), sets, NINE_TABLES)

    def covered(sources: Sequence[int]) -> float:
        found = [across_sources(of_tables, sources) for of_tables in drawn]
        return float(np.mean([abs(one.mean) <= (one.half_width or 0.0) for one in found]))

    assert abs(covered(NINE_TABLES) - 0.95) <= error_of(0.95, sets)
    assert covered(range(9)) < 0.9


def test_the_best_three_of_ten_seeds_would_be_marked_far_too_often() -> None:
    """That is why seeds are 0 to S − 1, and a row with others gets no mark."""
    d = best_of_more_seeds(np.random.default_rng(9), 2000, 10)
    found = stats.ttest_1samp(d, 0, axis=1)
    assert np.mean((found.pvalue <= 0.05) & (found.statistic > 0)) > 0.1
