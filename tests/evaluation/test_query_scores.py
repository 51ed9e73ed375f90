"""Scores of queries: their means, classes and bootstrap intervals."""

import numpy as np
import pytest
from evaluation_reference import retrieval_reference
from scipy.stats import bootstrap

from stt_bench.evaluation import QueryScores, retrieval_metrics, retrieval_scores


def example(seed=0):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([rng.permutation(np.repeat(list("abcd"), [3, 9, 5, 8])), ["alone"]])
    codes = np.unique(labels, return_inverse=True)[1]
    points = rng.normal(size=(5, 4))[codes] + rng.normal(size=(len(labels), 4))
    return points.astype(np.float32), labels


def test_the_means_are_the_metrics():
    points, labels = example()
    scores = retrieval_scores(points, labels, ks=(1, 5))
    assert scores.metrics() == retrieval_metrics(points, labels, ks=(1, 5))
    assert np.isnan(scores.values[-1]).all()
    assert scores.scored.sum() == 25


def test_classes_equal_the_loops_over_their_queries():
    points, labels = example()
    found = retrieval_scores(points, labels, ks=(1, 5)).per_class()
    assert list(found) == list("abcd")
    for name in found:
        mine = labels == name
        own = dict(enumerate(np.flatnonzero(mine).tolist()))
        expected = retrieval_reference(points[mine], labels[mine], points, labels, own, ks=(1, 5))
        del expected["queries_without_positive"]
        assert found[name] == pytest.approx(expected)


def test_intervals_over_queries_are_those_of_scipy():
    points, labels = example()
    scores = retrieval_scores(points, labels)
    found = scores.intervals(resamples=4000, unit="query", level=0.9)
    for column, name in enumerate(scores.names):
        values = scores.values[scores.scored, column]
        theirs = bootstrap(
            (values,), np.mean, n_resamples=4000, confidence_level=0.9, method="percentile", rng=1
        ).confidence_interval
        spread = theirs.high - theirs.low
        assert found[name] == pytest.approx(tuple(theirs), abs=0.1 * spread + 1e-12)


def test_intervals_over_classes_are_wider_where_classes_differ():
    """Ten classes, each all right or all wrong: ten draws, not a hundred."""
    labels = np.repeat(np.arange(10), 10)
    values = (labels < 5)[:, None].astype(float)
    scores = QueryScores(("hit",), values, labels)
    low, high = scores.intervals(resamples=4000)["hit"]
    assert low == pytest.approx(0.2, abs=0.1)
    assert high == pytest.approx(0.8, abs=0.1)
    low, high = scores.intervals(resamples=4000, unit="query")["hit"]
    assert low == pytest.approx(0.4, abs=0.03)
    assert high == pytest.approx(0.6, abs=0.03)


def test_intervals_weigh_large_classes_by_their_queries():
    labels = np.repeat([0, 1], [90, 10])
    scores = QueryScores(("hit",), (labels == 0)[:, None].astype(float), labels)
    means = {round(v, 6) for v in scores.intervals(resamples=200, level=0.999)["hit"]}
    assert means == {0.0, 1.0}
    middle = scores.intervals(resamples=200, level=0.01)["hit"]
    assert middle == pytest.approx((0.9, 0.9))


def test_intervals_are_seeded():
    scores = retrieval_scores(*example())
    assert scores.intervals(seed=3) == scores.intervals(seed=3)
    assert scores.intervals(seed=3) != scores.intervals(seed=4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resamples": 0}, "resamples must be at least 1"),
        ({"level": 1.0}, "level must be a number between 0 and 1, not 1.0"),
        ({"level": "0.95"}, "level must be a number between 0 and 1, not '0.95'"),
        ({"unit": "clas"}, "did you mean 'class'"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_intervals_refuse(settings, message):
    with pytest.raises(ValueError, match=message):
        retrieval_scores(*example()).intervals(**settings)


@pytest.mark.parametrize(("unit", "named"), [("class", "classes"), ("query", "queries")])
def test_one_unit_has_no_interval(unit, named):
    scores = QueryScores(("hit",), np.array([[1.0], [np.nan]]), np.array([3, 4]))
    with pytest.raises(ValueError, match=f"need two {named} with a positive or more"):
        scores.intervals(unit=unit)
