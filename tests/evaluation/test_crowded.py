"""Galleries with many positives: runs of positives are one group."""

import numpy as np
import pytest
from clustered_points import clustered
from evaluation_reference import retrieval_reference

from stt_bench.evaluation import crowded, retrieval_metrics, retrieval_scores, search
from stt_bench.evaluation.crowded import joined, runs_of_positives
from stt_bench.evaluation.lists import ListRanker
from stt_bench.evaluation.measures import METRICS, list_metrics
from stt_bench.evaluation.ranking import TieGroups, find_tie_groups, tied_neighbours

KS = (1, 3, 7, 49)


def groups_of(*rows):
    return TieGroups(*(np.array(column) for column in zip(*rows, strict=True)))


def test_neighbours_of_positives_alone_are_joined_and_cut():
    """Columns are query, before, size and positives; lists count up to 9 and to 2."""
    given = groups_of(
        (0, 1, 1, 1),
        (0, 2, 3, 3),  # goes on from the one before
        (0, 5, 2, 1),  # has a negative
        (0, 7, 1, 1),
        (0, 8, 4, 4),  # of which one place counts
        (1, 3, 5, 5),  # beyond: the first place alone is asked for
    )
    found = np.stack(joined(given, np.array([9, 2]))).T.tolist()
    assert found == [[0, 1, 4, 4], [0, 5, 2, 1], [0, 7, 2, 2], [1, 3, 1, 1]]


def test_runs_of_lists_are_those_of_their_groups_joined():
    rng = np.random.default_rng(0)
    for width in (2, 3, 9, 40):
        positives = rng.random((60, width)) < rng.random((60, 1))
        others = np.ones((60, width), dtype=bool)
        itself = np.where(rng.random(60) < 0.7, rng.integers(0, width, 60), width)
        own = np.flatnonzero(itself < width)
        others[own, itself[own]] = positives[own, itself[own]] = False
        positives[np.arange(60), np.where(itself == 0, 1, 0)] = True
        depth = rng.integers(1, width, 60)
        groups = find_tie_groups(np.zeros((60, width - 1), dtype=bool), others, positives, depth)
        wanted = np.stack(joined(groups, depth))
        found = np.stack(runs_of_positives(positives, itself, depth + (itself <= depth)))
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize("divisor", ["min", "relevant", "hits"])
def test_joined_groups_have_the_same_metrics(divisor):
    rng = np.random.default_rng(1)
    size = rng.integers(1, 4, (200, 30)) * (rng.random((200, 30)) < 0.9)
    positives = np.where(rng.random(size.shape) < 0.8, size, rng.integers(0, 3, size.shape) % 2)
    positives = np.minimum(positives, size)
    size[:, 0] = positives[:, 0] = 1
    distances = np.sort(rng.integers(0, 60, size.shape), axis=1)
    relevant = positives.sum(axis=1)
    depth = np.minimum(np.maximum(relevant, max(KS)), size.sum(axis=1))
    groups = find_tie_groups(tied_neighbours(distances), size, positives, depth)
    metrics = [one for one in METRICS if one != "map"]
    wanted = list_metrics(groups, relevant, KS, metrics, divisor)
    found = list_metrics(joined(groups, depth), relevant, KS, metrics, divisor)
    assert len(joined(groups, depth).query) < len(groups.query) / 2
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13)
    whole = list_metrics(
        joined(groups, depth), relevant, KS, ["recall", "r_precision", "map@r"], divisor
    )
    alone = (positives == size).all(axis=1)
    assert alone.any()
    assert (whole[alone] == 1).all()


def one_huge_class(kind):
    points, labels = clustered(5, 24, 6, 1.0)
    labels = np.where(labels < 4, 0, labels)
    labels[:6] = np.repeat([8, 9], 3)
    if kind == "twice":
        points[60:] = points[:60]
    elif kind == "grid":
        points = np.round(points)
    elif kind == "outliers":
        points[::9] *= 1e6
    elif kind == "tight":
        points = points * 1e-7 + 4 * np.eye(10, 6)[labels]
    elif kind == "collapsed":
        points[:] = 1
    return points, labels


@pytest.mark.parametrize("kind", ["plain", "twice", "grid", "outliers", "tight", "collapsed"])
def test_one_huge_class_equals_the_float64_loop(kind, monkeypatch):
    monkeypatch.setattr(search, "PROBED", 4)
    points, labels = one_huge_class(kind)
    expected = retrieval_reference(points, labels)
    found = {
        backend: retrieval_metrics(points, labels, backend=backend)
        for backend in ("torch-cpu", "faiss-cpu", "dense")
    }
    assert found["torch-cpu"] == pytest.approx(expected, abs=1e-12)
    assert found["faiss-cpu"] == found["dense"] == found["torch-cpu"]


@pytest.mark.parametrize("rule", [None, "label", "all"])
@pytest.mark.parametrize("kind", ["plain", "twice", "tight"])
def test_all_metrics_are_what_they_are_of_single_groups(kind, rule, monkeypatch):
    points, labels = one_huge_class(kind)
    rules = {}
    if rule:
        rules = {"query_groups": np.arange(len(points)) % 7, "groups_apply_to": rule}
    values = []
    for share in (0.0, 1.0):  # of all galleries, and of none
        monkeypatch.setattr(crowded, "CROWDED_SHARE_OF_COPIES", share)
        monkeypatch.setattr(crowded, "CROWDED_SHARE", share)
        of_backends = [
            retrieval_scores(points, labels, metrics=METRICS, ks=KS, backend=backend, **rules)
            for backend in ("torch-cpu", "dense")
        ]
        values.append(of_backends[0].values)
        assert values[-1].tobytes() == of_backends[1].values.tobytes()
    np.testing.assert_allclose(*values, rtol=0, atol=1e-12)


def test_of_positives_alone_no_order_is_looked_for(monkeypatch):
    """Of a tight class, whose members no product can order, one pair a query is compared."""
    points, labels = one_huge_class("tight")
    pairs = []
    exact = ListRanker.exact
    monkeypatch.setattr(
        ListRanker, "exact", lambda *given: pairs.append(len(given[1])) or exact(*given)
    )
    retrieval_metrics(points, labels, backend="torch-cpu")
    assert sum(pairs) <= 2 * len(points)
