"""mAP, Precision@K, MAP@K and nDCG@K of ranked lists, against loops, orders and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rules_reference import by_places, mean_over_orders
from sklearn.metrics import average_precision_score, ndcg_score
from test_ranked_lists import ranked_lists

from stt_bench.evaluation import retrieval_metrics
from stt_bench.evaluation.measures import DIVISORS, list_metrics
from stt_bench.evaluation.ranking import find_tie_groups, tied_neighbours

ASKED = ("map", "precision", "map@k", "ndcg")


def measured(distances, relevance, k):
    distances, relevance = np.array(distances, float), np.array(relevance)
    order = np.argsort(distances)
    groups = find_tie_groups(
        tied_neighbours(distances[order][None]),
        np.ones((1, len(order)), int),
        relevance[order][None].astype(int),
        np.array([len(order)]),
    )
    relevant = np.array([relevance.sum()])
    found = {}
    for divisor in DIVISORS:
        row = list_metrics(groups, relevant, [k], ASKED, divisor)[0].tolist()
        found |= {"map": row[0], "precision": row[1], divisor: row[2], "ndcg": row[3]}
    return found


@settings(max_examples=60, deadline=None)
@given(ranked_lists(longest=6, distinct=2), st.integers(1, 7))
def test_closed_forms_equal_the_mean_over_all_orders(ranked, k):
    expected = mean_over_orders(*ranked, k)
    assert measured(*ranked, k) == pytest.approx(expected, abs=1e-12)
    del expected["hits"]
    assert by_places(*ranked, k) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(ranked_lists(longest=50, distinct=6), st.integers(1, 60))
def test_closed_forms_equal_the_loop_on_long_lists(ranked, k):
    found = measured(*ranked, k)
    assert 0 <= found.pop("hits") <= 1 + 1e-12
    assert found == pytest.approx(by_places(*ranked, k), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(ranked_lists(longest=30, distinct=4), st.integers(1, 40))
def test_scikit_learn_agrees_on_ndcg_with_ties_and_on_ap_without(ranked, k):
    distances, relevance = ranked
    if len(distances) > 1:
        theirs = ndcg_score([relevance], [[-d for d in distances]], k=k)
        assert measured(distances, relevance, k)["ndcg"] == pytest.approx(theirs, abs=1e-12)
    untied = np.random.default_rng(len(distances)).permutation(len(distances))
    theirs = average_precision_score(relevance, -untied)
    assert measured(untied, relevance, k)["map"] == pytest.approx(theirs, abs=1e-12)


def test_where_libraries_differ_the_note_decides():
    """Hits at 1, 3 and 6 of a list of 7, K = 4: two hits among the first four."""
    distances, relevance = range(7), [True, False, True, False, False, True, False]
    found = measured(distances, relevance, 4)
    assert found["map"] == pytest.approx((1 + 2 / 3 + 3 / 6) / 3)
    assert found["precision"] == 2 / 4
    assert found["min"] == found["relevant"] == pytest.approx((1 + 2 / 3) / 3)
    assert found["hits"] == pytest.approx((1 + 2 / 3) / 2)
    assert measured(distances, relevance, 10)["precision"] == 3 / 10  # K beyond the list: still K
    assert measured(distances, relevance, 2)["min"] == pytest.approx(1 / 2)
    assert measured(distances, relevance, 2)["relevant"] == pytest.approx(1 / 3)


def test_a_perfect_list_scores_exactly_one():
    points = np.repeat(np.arange(6.0), 5)[:, None] + np.linspace(0, 0.1, 30)[:, None]
    found = retrieval_metrics(
        points, np.repeat(np.arange(6), 5), metrics=("map", "map@k", "ndcg", "precision"), ks=(2, 4)
    )
    assert found == {
        "map": 1, "precision@2": 1, "precision@4": 1, "map@2": 1, "map@4": 1, "ndcg@2": 1,
        "ndcg@4": 1, "queries": 30, "queries_without_positive": 0,
    }  # fmt: skip


def test_a_very_large_group_cut_by_k_divides_by_its_hits():
    """30,000 items tied, a third positive: about a third of K hits, whichever they are."""
    relevance = [i % 3 == 0 for i in range(30_000)]
    found = measured([1.0] * len(relevance), relevance, 600)
    assert found["precision"] == pytest.approx(1 / 3, abs=1e-12)
    assert found["hits"] == pytest.approx(found["min"] * 3, rel=0.01)
