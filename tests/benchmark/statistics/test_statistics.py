"""The procedure's steps, against plain loops, numbers computed by hand, and SciPy."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import special, stats

from stt_bench.benchmark.statistics.across import across_sources
from stt_bench.benchmark.statistics.adjustment import holm, step_down
from stt_bench.benchmark.statistics.best import tied_with_best
from stt_bench.benchmark.statistics.crossed import components, crossed, mean_squares
from stt_bench.benchmark.statistics.joint import joint_draws, null_p
from stt_bench.benchmark.statistics.moderated import inverse_trigamma, moderated, prior_of
from stt_bench.benchmark.statistics.planning import Spread, plan, planned_half_width, sentence
from stt_bench.benchmark.statistics.verdicts import verdicts
from stt_bench.benchmark.statistics.weights import linearised, uneven
from stt_bench.evaluation.class_values import chosen_weighting


def table(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) + 2 * rng.standard_normal((*shape[:-2], 1, shape[-1]))


def test_mean_squares_of_a_table_computed_by_hand() -> None:
    found = mean_squares(np.array([[1.0, 2.0, 6.0], [3.0, 4.0, 2.0]]))
    # seeds: 3 ((3−3)² + (3−3)²) / 1; classes: 2 ((2−3)² + 0 + (4−3)²) / 2;
    # residuals ∓1, ∓1, ±2: 12 / 2
    assert tuple(map(float, found)) == (3.0, 0.0, 2.0, 6.0)


def test_mean_squares_are_those_of_plain_loops() -> None:
    d = table((4, 7))
    S, C = d.shape
    mean = sum(d[s, c] for s in range(S) for c in range(C)) / (S * C)
    seeds = [sum(d[s, c] for c in range(C)) / C - mean for s in range(S)]
    classes = [sum(d[s, c] for s in range(S)) / S - mean for c in range(C)]
    rest = [d[s, c] - mean - seeds[s] - classes[c] for s in range(S) for c in range(C)]
    expected = (
        mean,
        C * sum(a * a for a in seeds) / (S - 1),
        S * sum(b * b for b in classes) / (C - 1),
        sum(e * e for e in rest) / ((S - 1) * (C - 1)),
    )
    assert tuple(mean_squares(d)) == pytest.approx(expected)
    many = mean_squares(table((2, 3, 4, 7)))
    assert many.seeds.shape == (2, 3)
    assert components(d) == pytest.approx(
        [
            max(variance, 0) ** 0.5
            for variance in (
                (expected[1] - expected[3]) / C,
                (expected[2] - expected[3]) / S,
                expected[3],
            )
        ]
    )


def test_the_crossed_interval_is_that_of_satterthwaite() -> None:
    d = table((5, 12), seed=3) + np.arange(5)[:, None]
    _, A, B, E = (float(one) for one in mean_squares(d))
    whole = A + B - E
    assert whole > max(A, B)
    found = crossed(d)
    assert found.error == pytest.approx(((A + B - E) / 60) ** 0.5)
    df = (A + B - E) ** 2 / (A**2 / 4 + B**2 / 11 + E**2 / 44)
    assert found.freedom == pytest.approx(df)
    low, high = stats.t.interval(0.95, df, loc=d.mean(), scale=found.error)
    assert found.half_width() == pytest.approx((high - low) / 2)
    assert found.p_value() == pytest.approx(2 * stats.t.sf(abs(d.mean()) / found.error, df))


def test_a_negative_component_counts_as_0() -> None:
    d = table((4, 9), seed=1)
    d -= d.mean(axis=1, keepdims=True)  # no difference between seeds at all
    found = crossed(d)
    _, _, B, _ = mean_squares(d)
    assert (found.error, found.freedom) == pytest.approx(((B / 36) ** 0.5, 8.0))
    only_seeds = np.repeat(np.arange(4.0)[:, None], 9, axis=1)
    expected = stats.ttest_1samp(np.arange(4.0), 0)
    assert crossed(only_seeds).p_value() == pytest.approx(expected.pvalue)


def test_one_seed_is_a_t_test_over_classes() -> None:
    d = table((1, 9))
    expected = stats.ttest_1samp(d[0], 0)
    low, high = expected.confidence_interval(0.95)
    found = crossed(d)
    assert found.p_value() == pytest.approx(expected.pvalue)
    assert found.half_width() == pytest.approx((high - low) / 2)
    assert found.freedom == 8
    with pytest.raises(ValueError, match="two classes"):
        crossed(np.ones((3, 1)))


def test_differences_without_spread_have_no_width_and_a_verdict() -> None:
    found = crossed(np.full((3, 5), 0.5))
    assert (found.half_width(), found.p_value()) == (0, 0)
    assert crossed(np.zeros((3, 5))).p_value() == 1


def test_moderated_variances_are_those_of_plain_loops() -> None:
    d = np.random.default_rng(0).standard_normal((12, 4)) * np.exp(np.arange(12) / 3)[:, None]
    own = 3
    s2 = [float(np.var(row, ddof=1)) for row in d]
    e = [np.log(v) - special.digamma(own / 2) + np.log(own / 2) for v in s2]
    spread = np.var(e, ddof=1) - special.polygamma(1, own / 2)
    d0, center = prior_of(np.array(s2), own)
    assert special.polygamma(1, d0 / 2) == pytest.approx(spread)
    assert np.log(center) == pytest.approx(np.mean(e) + special.digamma(d0 / 2) - np.log(d0 / 2))
    found = moderated(d)
    for row, variance in enumerate(s2):
        shrunk = max(variance, (d0 * center + own * variance) / (d0 + own))
        assert found.error[row] == pytest.approx((shrunk / 4) ** 0.5)
    assert found.freedom.tolist() == [pytest.approx(d0 + own)] * 12
    assert found.mean == pytest.approx(d.mean(axis=1))


def test_equal_variances_are_pooled_and_the_freedom_is_capped() -> None:
    d = np.array([[1.0, 2.0, 3.0], [11.0, 12.0, 13.0], [5.0, 4.0, 3.0]])
    assert prior_of(np.ones(3), 2.0)[0] == np.inf
    found = moderated(d)
    assert found.freedom.tolist() == [8.0] * 3  # 4 (S − 1)
    assert len(set(found.error)) == 1


def test_no_variance_is_taken_as_smaller_than_it_is() -> None:
    d = np.random.default_rng(0).standard_normal((12, 4))
    found, own = moderated(d).error, d.std(axis=1, ddof=1) / 2
    noisiest, calmest = own.argmax(), own.argmin()
    assert found[noisiest] == own[noisiest]  # the others would make it seem less so
    assert found[calmest] > 1.5 * own[calmest]
    assert (found >= own).all()


def test_a_row_alone_gets_students_t_and_one_seed_nothing() -> None:
    d = np.array([[1.0, 2.0, 4.0]])
    assert moderated(d).p_value() == pytest.approx(stats.ttest_1samp(d[0], 0).pvalue)
    with pytest.raises(ValueError, match="One seed"):
        moderated(np.ones((3, 1)))


@pytest.mark.parametrize("y", [0.01, 0.5, 3.0, 200.0])
def test_the_trigamma_function_is_inverted(y: float) -> None:
    assert inverse_trigamma(float(special.polygamma(1, y))) == pytest.approx(y, rel=1e-8)


def test_holm_by_hand_and_by_closed_testing() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    rng = np.random.default_rng(0)
    p = rng.uniform(size=6) ** 2
    # Closed testing: the largest Bonferroni p of the sets a test is in.
    sets = [set(s) for n in range(1, 7) for s in combinations(range(6), n)]
    closed = [max(min(1.0, len(s) * min(p[list(s)])) for s in sets if i in s) for i in range(6)]
    assert holm(p) == pytest.approx(closed)


def test_step_down_is_the_definition() -> None:
    rng = np.random.default_rng(0)
    p, null = rng.uniform(size=4) ** 2, rng.uniform(size=(200, 4))
    order, highest, expected = np.argsort(p), 0.0, {}
    for place, row in enumerate(order):
        rest = order[place:]
        below = sum(min(draw[r] for r in rest) <= p[row] for draw in null)
        highest = max(highest, (below + 1) / 201)
        expected[row] = highest
    assert step_down(p, null) == pytest.approx([expected[row] for row in range(4)])


def test_joint_draws_have_the_rows_correlation_and_unit_variance() -> None:
    rng = np.random.default_rng(0)
    shared = 3 * rng.standard_normal((1, 1, 40))
    d = shared + rng.standard_normal((3, 6, 40))
    d[2] = -d[0]
    z = joint_draws(d, 20_000, rng)
    assert z.std(axis=0) == pytest.approx(np.ones(3), abs=0.03)
    assert np.corrcoef(z.T)[0, 2] == pytest.approx(-1)
    assert np.corrcoef(z.T)[0, 1] > 0.9


def test_null_p_is_uniform_row_by_row_and_shared_between_rows() -> None:
    rng = np.random.default_rng(0)
    d = table((4, 5, 30))
    freedom = np.array([4.0, 7.5, 20.0, 100.0])
    for two_sided in (True, False):
        p = null_p(d, freedom, 20_000, rng, two_sided=two_sided)
        for column in p.T:
            assert stats.kstest(column, "uniform").statistic < 0.02
    same = null_p(np.stack([d[0], d[0]]), freedom[[0, 0]], 500, rng)
    assert same[:, 0] == pytest.approx(same[:, 1])


@pytest.mark.parametrize("two_sided", [True, False])
@pytest.mark.parametrize("limit", [0.0, 1e-200, 1e-4, 0.03, 0.4, 0.7, 1.0])
def test_null_p_up_to_a_limit_is_the_same_whatever_the_limit(limit: float, two_sided: bool) -> None:
    d, freedom = table((4, 5, 30)), np.array([1.0, 4.0, 20.0, 3000.0])
    limits = limit ** np.array([1.0, 2.0, 0.5, 1.0])
    every, by_row = (
        null_p(d, freedom, 5000, np.random.default_rng(0), two_sided=two_sided, at_most=at_most)
        for at_most in (1.0, limits)
    )
    left_out = by_row != every
    assert (by_row[left_out] == 1).all()
    assert (every > limits)[left_out].all()
    if limit <= 0.03:
        assert left_out.mean() > 0.8


def test_the_best_row_is_alone_where_it_is_far_above_and_all_stay_where_they_are_equal() -> None:
    rng = np.random.default_rng(0)
    for seeds in (3, 6):
        values = rng.standard_normal((5, seeds, 30))
        assert tied_with_best(values).all()
        values[2] += 9
        assert tied_with_best(values).tolist() == [False, False, True, False, False]
    assert tied_with_best(values[:1]).tolist() == [True]


def test_bonferroni_decides_who_stays_below_five_seeds() -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal((4, 3, 25)) + np.arange(4)[:, None, None] * 0.2
    for row in range(4):
        p = []
        for other in set(range(4)) - {row}:
            found = crossed(values[other] - values[row])
            p.append(stats.t.sf(found.mean / found.error, found.freedom))
        assert tied_with_best(values)[row] == (min(p) * 3 > 0.05)


def test_marks_answer_the_first_question_before_the_second() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((3, 5, 30)) * 0.1
    domain = 5.0 + noise[0]
    classes = np.r_[-20.0, np.ones(29)] * np.ones((5, 1)) + noise[1] + 0.1
    d = [domain, classes, noise[2] - noise[2].mean()]
    found = verdicts([one.mean(axis=1) for one in d], d)
    assert [verdict.mark for verdict in found] == ["▲", "△", "≈"]
    assert found[1].half_width == found[1].domain.half_width > 1
    flipped = verdicts([-one.mean(axis=1) for one in d], [-one for one in d])
    assert [verdict.mark for verdict in flipped] == ["▼", "▽", "≈"]
    without = verdicts([one.mean(axis=1) for one in d], [None] * 3)
    assert [verdict.mark for verdict in without] == ["△", "△", "≈"]
    assert without[0].half_width == without[0].classes.half_width
    few = verdicts([one.mean(axis=1) for one in d], [one[:, :9] for one in d])
    assert all(verdict.domain is None for verdict in few)


def test_holm_corrects_below_five_seeds_and_where_rows_have_other_seeds() -> None:
    d = [table((3, 20), seed=row) + 0.3 * row for row in range(4)]
    expected = holm(np.array([float(crossed(one).p_value()) for one in d]))
    found = verdicts([one.mean(axis=1) for one in d], d)
    assert [verdict.domain.adjusted for verdict in found] == pytest.approx(expected)
    moderate = moderated(np.stack([one.mean(axis=1) for one in d])).p_value()
    assert [verdict.classes.adjusted for verdict in found] == pytest.approx(holm(moderate))
    mixed = [table((6, 20)), table((5, 20))]
    found = verdicts([one.mean(axis=1) for one in mixed], mixed)
    expected = holm(np.array([float(crossed(one).p_value()) for one in mixed]))
    assert [verdict.domain.adjusted for verdict in found] == pytest.approx(expected)


@pytest.mark.parametrize("seeds", [3, 5])
def test_a_corrected_interval_leaves_out_0_exactly_where_the_adjusted_p_value_is_small(
    seeds: int,
) -> None:
    rng = np.random.default_rng(seeds)
    rows = [mean + rng.normal(0, 0.1, (seeds, 1)) + rng.normal(0, 0.3, (seeds, 20))
            for mean in np.linspace(-0.4, 0.4, 9)]  # fmt: skip
    found = verdicts([row.mean(1) for row in rows], list(rows), draws=2000)
    answers = [one for verdict in found for one in (verdict.domain, verdict.classes) if one]
    clear = [low > 0 or high < 0 for low, high in (one.corrected(9) for one in answers)]
    assert clear == [one.adjusted <= 0.05 for one in answers]
    assert {True, False} == set(clear)
    smallest = min((one.domain for one in found if one.domain), key=lambda one: one.p)
    error = smallest.half_width / stats.t.isf(0.025, smallest.freedom)
    if seeds == 3:  # by Holm the smallest of nine is held against 0.05 / 9
        widest = stats.t.interval(1 - 0.05 / 9, smallest.freedom, smallest.mean, error)
        assert smallest.corrected(9) == pytest.approx(widest)


def test_one_seed_has_an_interval_over_classes_and_no_mark() -> None:
    d = [np.ones((1, 12)) + table((1, 12)) * 0.01]
    (found,) = verdicts([d[0].mean(axis=1)], d)
    assert (found.mark, found.classes) == ("", None)
    assert found.half_width == pytest.approx(float(crossed(d[0]).half_width()))
    (found,) = verdicts([np.ones(1)], [None])
    assert (found.mark, found.half_width) == ("", None)
    assert verdicts([], []) == []


def test_the_planned_half_width_is_that_of_the_tables_spread() -> None:
    d = table((6, 15), seed=3) + np.arange(6)[:, None]
    spread = Spread(*(float(one) for one in components(d)))
    assert planned_half_width(spread, 6, 15) == pytest.approx(float(crossed(d).half_width()))
    # the numbers of the reference: a head on frozen features, and a small CNN from scratch
    frozen, scratch = Spread(0.05, 3.8, 0.8), Spread(1.9, 9.5, 4.7)
    assert planned_half_width(frozen, 3, 25) == pytest.approx(1.58, abs=0.005)
    assert planned_half_width(frozen, 20, 25) == pytest.approx(1.57, abs=0.005)
    assert planned_half_width(scratch, 3, 25) == pytest.approx(4.8, abs=0.05)
    assert planned_half_width(scratch, 10, 659) == pytest.approx(1.5, abs=0.05)


def test_what_halves_an_interval_is_the_least_number_that_does() -> None:
    spread = Spread(1.9, 9.5, 4.7)
    found = plan(spread, 3, 25)
    assert found.seeds is None
    assert found.classes is None  # three seeds leave ±4.2 whatever the classes
    found = plan(spread, 10, 25)
    assert planned_half_width(spread, 10, found.classes) <= found.half_width / 2
    assert planned_half_width(spread, 10, found.classes - 1) > found.half_width / 2
    seeds = plan(Spread(3.0, 0.1, 1.0), 5, 50).seeds
    assert planned_half_width(Spread(3.0, 0.1, 1.0), seeds, 50) <= (
        planned_half_width(Spread(3.0, 0.1, 1.0), 5, 50) / 2
    )
    assert plan(spread, 1, 25).seeds is None


def test_the_plan_in_words_says_where_seeds_buy_nothing() -> None:
    told = sentence(Spread(0.0005, 0.038, 0.008), 5, 25)
    assert told.startswith(
        "With 5 seeds and 25 classes a typical difference is known to ±1.6 points: "
    )
    assert "classes would halve that" in told
    assert "more seeds buy nothing" in told
    told = sentence(Spread(0.019, 0.095, 0.047), 3, 25)
    assert "more classes alone would not halve it" in told
    told = sentence(Spread(0.0, 0.095, 0.0), 1, 25)
    assert "cannot be told from one" in told


def test_class_means_are_linearised_about_the_mean_over_queries() -> None:
    x, n = table((3, 7)), np.arange(2, 9)
    theta = [sum(x[s, c] * n[c] for c in range(7)) / n.sum() for s in range(3)]
    assert linearised(x, n).mean(axis=1) == pytest.approx(theta)
    assert linearised(x, np.full(7, 5)) == pytest.approx(x)
    assert uneven(np.array([1, 1, 9])) is True
    assert uneven(np.array([1, 1, 9] * 40)) is True
    assert uneven(np.array([5, 6, 7])) is False
    for classes in range(90, 110):  # `evaluation` has the same rule, and knows nothing of this one
        counts = np.random.default_rng(classes).geometric(0.6, classes)
        assert (chosen_weighting(counts) == "class") is uneven(counts)


def test_sources_are_put_together_by_a_t_interval_and_signs() -> None:
    d = np.array([1.0, 2.0, 0.5, 3.0])
    found = across_sources(d, range(4))
    low, high = stats.ttest_1samp(d, 0).confidence_interval(0.95)
    assert (found.mean, found.half_width) == pytest.approx((1.625, (high - low) / 2))
    assert found[2:] == (4, 4, 0.125)
    assert across_sources(np.array([1.0, 0.0, -1.0]), "abc").sign_p == 1.0
    with pytest.raises(ValueError, match="no table"):
        across_sources(np.array([]), [])
    with pytest.raises(ValueError, match="shorter"):
        across_sources(d, range(3))


def test_tables_of_one_source_are_averaged_first() -> None:
    """Of the sources a, b and c: 2, −1 and 5; standard deviation 3, t of two degrees 4.3027."""
    found = across_sources(np.array([1.0, -1.0, 3.0, 5.0, 2.0]), "abaca")
    assert found.mean == pytest.approx(2.0)
    assert found.half_width == pytest.approx(4.3027 * 3 / 3**0.5, rel=1e-4)
    assert found[2:] == (2, 3, 1.0)


def test_two_sources_have_a_mean_and_no_test_however_many_tables_they_are() -> None:
    assert across_sources(np.array([1.0, 2.0, 3.0, 6.0]), "aaab") == (4.0, None, 2, 2, None)
    assert across_sources(np.array([2.0, -1.0]), "aa") == (0.5, None, 1, 1, None)
