"""The expected best of n trials, and whether two tables agree in an order."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from scipy import stats

from stt_bench.benchmark.statistics.best_of_n import BestOf, best_of_n, expected_best
from stt_bench.benchmark.statistics.rank_correlation import half_correlation, rank_correlation


def test_the_expected_best_by_hand() -> None:
    values = [0.4, 0.1, 0.2]
    assert expected_best(values, 1) == pytest.approx(0.7 / 3)
    # of the draws {4, 1}, {4, 2}, {1, 2} the best are 4, 4, 2
    assert expected_best(values, 2) == pytest.approx((0.4 + 0.4 + 0.2) / 3)
    assert expected_best(values, 3) == pytest.approx(0.4)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_the_expected_best_is_the_mean_over_all_draws_and_orderings(n: int) -> None:
    values = [0.3, 0.1, 0.5, 0.5, 0.2]
    draws = [max(draw) for draw in combinations(values, n)]
    orders = [max(order[:n]) for order in permutations(values)]
    assert expected_best(values, n) == pytest.approx(np.mean(draws))
    assert expected_best(values, n) == pytest.approx(np.mean(orders))


def test_the_best_of_many_trials_has_no_rounding_of_large_counts() -> None:
    values = np.arange(400) / 400
    # The maximum of n of 1 … N has the mean n (N + 1) / (n + 1).
    assert expected_best(values, 200) == pytest.approx((200 * 401 / 201 - 1) / 400, abs=1e-12)


@pytest.mark.parametrize("n", [0, 4])
def test_more_trials_than_there_are_have_no_expectation(n: int) -> None:
    with pytest.raises(ValueError, match="n is 1 to N"):
        expected_best([1.0, 2.0, 3.0], n)


def test_the_band_is_that_of_the_studies() -> None:
    studies = [[0.1, 0.3], [0.2, 0.2], [0.6, 0.0]]
    assert best_of_n(studies, 1) == pytest.approx(BestOf(0.7 / 3, 0.2, 0.3))
    assert best_of_n(studies, 2) == pytest.approx(BestOf(1.1 / 3, 0.2, 0.6))
    assert best_of_n([*studies, [0.5]], 2) is None
    assert best_of_n([], 1) is None


def test_the_rank_correlation_is_counted_pair_by_pair_with_a_jackknife() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(9)
    y = x + rng.standard_normal(9)

    def counted(kept: list[int]) -> float:
        signs = [np.sign((x[i] - x[j]) * (y[i] - y[j])) for i, j in combinations(kept, 2)]
        return float(np.mean(signs))

    found = rank_correlation(x, y)
    assert found is not None
    tau = counted(list(range(9)))
    without = np.array([counted([i for i in range(9) if i != j]) for j in range(9)])
    pseudo = 9 * tau - 8 * without
    reach = stats.t.isf(0.025, 8) * pseudo.std(ddof=1) / 3
    assert (found.tau, found.rows) == (pytest.approx(tau), 9)
    assert found.interval == pytest.approx((tau - reach, min(1.0, tau + reach)))


def test_equal_orders_have_no_interval_and_few_rows_no_correlation() -> None:
    x = np.arange(8.0)
    assert rank_correlation(x, x**3) == (pytest.approx(1.0), None, 8)
    assert rank_correlation(x, -x) == (pytest.approx(-1.0), None, 8)
    assert rank_correlation(x[:7], x[:7]) is None
    assert rank_correlation(x, np.zeros(8)) is None


def test_the_interval_of_a_rank_correlation_covers() -> None:
    rng = np.random.default_rng(1)
    true, tables = 2 / np.pi * np.arcsin(0.8), 200
    covered = 0
    for _ in range(tables):
        x = rng.standard_normal(10)
        found = rank_correlation(x, 0.8 * x + 0.6 * rng.standard_normal(10))
        assert found is not None
        covered += found.interval is not None and found.interval[0] <= true <= found.interval[1]
    assert 0.90 <= covered / tables <= 0.99


def test_between_disjoint_halves_shared_classes_add_nothing() -> None:
    """Rows that are equal but for what they make of each class, which is the same in two tables."""
    rng = np.random.default_rng(2)
    of_class = rng.standard_normal((20, 12, 30))
    found = [half_correlation(x, x, splits=20) for x in of_class]
    assert all(one is not None and one.same == 1.0 for one in found)
    assert np.mean([one.disjoint for one in found if one is not None]) < 0.1


def test_halves_are_compared_both_ways_over_every_split() -> None:
    """Of four classes all six halves are drawn; row means and pairs by plain loops."""
    x, y = np.random.default_rng(3).standard_normal((2, 5, 4))

    def tau(of_x: tuple[int, ...], of_y: tuple[int, ...]) -> float:
        ours, theirs = x[:, of_x].sum(axis=1), y[:, of_y].sum(axis=1)
        return stats.kendalltau(ours, theirs).statistic

    halves = [(half, tuple({0, 1, 2, 3} - set(half))) for half in combinations(range(4), 2)]
    same = np.mean([tau(half, half) for half, _ in halves])
    disjoint = np.mean([tau(half, rest) for half, rest in halves])
    found = half_correlation(x, y, splits=4000)
    assert found == pytest.approx((same, disjoint), abs=0.03)
    assert half_correlation(x[:, :3], y[:, :3]) is None
    assert half_correlation(x, np.zeros((5, 4))) is None
