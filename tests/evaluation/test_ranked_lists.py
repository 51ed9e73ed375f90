"""The closed-form expectations over ties, against enumeration of every order."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from evaluation_reference import by_enumeration, by_loops
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_bench.evaluation.ranking import (
    TieGroups,
    find_tie_groups,
    ranked_list_metrics,
    tied_neighbours,
)

KS = (1, 2, 3, 5, 9)


def measured(distances, relevance, ks=KS):
    distances, relevance = np.array(distances, float), np.array(relevance)
    order = np.argsort(distances)
    relevant = np.array([relevance.sum()])
    groups = find_tie_groups(
        tied_neighbours(distances[order][None]),
        np.ones((1, len(order)), int),
        relevance[order][None].astype(int),
        relevant,
    )
    return ranked_list_metrics(groups, relevant, ks)[0]


@st.composite
def ranked_lists(draw, longest, distinct):
    length = draw(st.integers(1, longest))
    distances = draw(st.lists(st.integers(0, distinct), min_size=length, max_size=length))
    relevance = draw(st.lists(st.booleans(), min_size=length, max_size=length))
    relevance[draw(st.integers(0, length - 1))] = True
    return distances, relevance


@settings(max_examples=60, deadline=None)
@given(ranked_lists(longest=6, distinct=2))
def test_closed_forms_equal_the_mean_over_all_orders(ranked):
    expected = by_enumeration(*ranked, KS)
    assert by_loops(*ranked, KS) == pytest.approx(expected, abs=1e-12)
    assert measured(*ranked) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(ranked_lists(longest=50, distinct=6))
def test_closed_forms_equal_the_loop_on_long_lists(ranked):
    assert measured(*ranked) == pytest.approx(by_loops(*ranked, KS), abs=1e-12)


@pytest.mark.parametrize(("before", "size", "positives"), [(0, 5, 5), (3, 4, 4), (7, 1, 1)])
def test_positives_alone_after_negatives(before, size, positives):
    distances = [0] * before + [1] * size
    relevance = [False] * before + [True] * positives
    scores = measured(distances, relevance, ks=(before, before + 1))
    assert scores[0] == 0.0
    assert scores[1] == 1.0
    assert scores[-1] == 1 / (before + 1)


def test_a_list_of_positives_scores_exactly_one_whatever_the_ties():
    rng = np.random.default_rng(0)
    for distinct in (1, 3, 1000):
        distances = rng.integers(0, distinct, 300)
        assert np.all(measured(distances, [True] * 300, ks=(1, 7, 5000)) == 1.0)


def test_lists_are_scored_one_by_one():
    rng = np.random.default_rng(1)
    distances = np.sort(rng.integers(0, 4, (4, 20)))
    relevance = rng.random((4, 20)) < 0.4
    sizes = np.ones((4, 20), int)
    sizes[:, 15:] = relevance[:, 15:] = 0  # out of the list
    relevant = relevance.sum(axis=1)
    groups = find_tie_groups(tied_neighbours(distances), sizes, relevance.astype(int), relevant)
    together = ranked_list_metrics(groups, relevant, KS)
    alone = [measured(d[:15], r[:15]) for d, r in zip(distances, relevance, strict=True)]
    assert np.array_equal(together, alone)


def test_a_point_that_stands_for_items_is_a_tie():
    points = find_tie_groups(
        tied_neighbours(np.array([[0.0, 1.0, 1.0, 2.0]])),
        np.array([[2, 0, 3, 4]]),
        np.array([[0, 0, 2, 1]]),
        np.array([3]),
    )
    scores = ranked_list_metrics(points, np.array([3]), KS)[0]
    distances = [0, 0, 1, 1, 1, 2, 2, 2, 2]
    relevance = [i in (2, 3, 5) for i in range(9)]
    assert np.array_equal(scores, measured(distances, relevance))


def test_the_chance_of_a_hit_is_that_of_counting_all_draws():
    """Of groups of all sizes at once, most of whose numbers of draws no int64 holds."""
    rng = np.random.default_rng(0)
    size = np.exp(rng.uniform(np.log(2), np.log(1e5), 200)).astype(int)
    positives = 1 + (rng.uniform(size=200) ** 3 * (size - 1)).astype(int)
    before = rng.integers(0, 30, 200)
    groups = TieGroups(np.arange(200), before, size, positives)
    ks = (1, 2, 7, 30, 1000)
    found = ranked_list_metrics(groups, positives, ks)
    for n, t, p, hits in zip(
        before.tolist(), size.tolist(), positives.tolist(), found, strict=True
    ):
        drawn = [min(max(k - n, 0), t) for k in ks]
        expected = [float(1 - Fraction(comb(t - p, r), comb(t, r))) for r in drawn]
        assert hits[: len(ks)] == pytest.approx(expected, abs=1e-15)


def test_very_large_tie_groups_stay_exact():
    size, positives = 60_000, 11
    group = TieGroups(*(np.array([value]) for value in (0, 0, size, positives)))
    scores = ranked_list_metrics(group, np.array([positives]), (1, 100))
    share, pair = positives / size, (positives - 1) / (size - 1)
    harmonic = sum(1 / j for j in range(1, positives + 1))
    precision = share * (harmonic + pair * (positives - harmonic))
    assert scores[0, 0] == pytest.approx(share, rel=1e-12)
    misses = np.prod([1 - positives / (size - i) for i in range(100)])
    assert scores[0, 1] == pytest.approx(1 - misses, rel=1e-10)
    assert scores[0, 2] == pytest.approx(share, rel=1e-12)
    assert scores[0, 3] == pytest.approx(precision / positives, rel=1e-9)
