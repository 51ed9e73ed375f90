"""Leave-class-out values, against the metric of the set from which the class was really taken."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_reference import retrieval_reference

from stt_bench.evaluation import class_values, retrieval_metrics, retrieval_scores
from stt_bench.evaluation import class_values as exported
from stt_bench.evaluation.class_values import GROUPS, chosen_weighting, hashed_groups

NAMES = ("recall@1", "recall@3", "r_precision", "map@r")


def items(sizes: list[int], seed: int = 0, dims: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(sizes)), sizes)
    x = rng.standard_normal((len(y), dims)) + rng.standard_normal((len(sizes), dims))[y]
    order = rng.permutation(len(y))
    return x[order], y[order]


def by_hand(score, classes: np.ndarray) -> np.ndarray:
    """v_c from a function that scores the set without a class (None: the whole set)."""
    theta = score(None)
    left = np.array([score(c) for c in classes])
    return theta + (len(classes) - 1) * (left.mean(axis=0) - left)


def of_set(x, y, weighting, distance="euclidean", measure=retrieval_metrics):
    def score(left_out):
        keep = y != left_out if left_out is not None else np.ones(len(y), bool)
        if weighting == "query":
            found = measure(x[keep], y[keep], ks=(1, 3), distance=distance)
            return np.array([found[name] for name in NAMES])
        scores = retrieval_scores(x[keep], y[keep], ks=(1, 3), distance=distance).per_class()
        return np.mean([[one[name] for name in NAMES] for one in scores.values()], axis=0)

    return score


@pytest.mark.parametrize("weighting", ["query", "class"])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_values_are_those_of_the_sets_without_each_class(weighting: str, distance: str) -> None:
    x, y = items([6, 9, 4, 7, 2, 5])
    found = class_values(x, y, ks=(1, 3), weighting=weighting, distance=distance)
    score = of_set(x, y, weighting, distance)
    assert found.names == NAMES
    assert found.values == pytest.approx(by_hand(score, np.arange(6)), abs=1e-12)
    assert found.values.mean(axis=0) == pytest.approx(score(None), abs=1e-12)
    assert found.counts.tolist() == [6, 9, 4, 7, 2, 5]
    per_class = retrieval_scores(x, y, ks=(1, 3), distance=distance).per_class()
    means = [[per_class[c][name] for name in NAMES] for c in range(6)]
    assert found.sums / found.counts[:, None] == pytest.approx(np.array(means))


def test_plain_loops_agree_on_a_small_set_with_ties() -> None:
    x, y = np.round(items([3, 4, 3, 2], dims=2)[0]), items([3, 4, 3, 2])[1]
    found = class_values(x, y, ks=(1, 3), weighting="query")
    score = of_set(x, y, "query", measure=lambda *a, **k: retrieval_reference(*a, **k))
    assert found.values == pytest.approx(by_hand(score, np.arange(4)), abs=1e-12)


@pytest.mark.parametrize("make", [np.round, np.zeros_like, lambda x: np.repeat(x[:8], 10, axis=0)])
def test_ties_longer_than_any_list_are_expectations(make) -> None:
    x, y = items([20] * 4)
    x = make(x)
    found = class_values(x, y, ks=(1, 3), weighting="query", memory_mib=1)
    assert found.values == pytest.approx(by_hand(of_set(x, y, "query"), np.arange(4)), abs=1e-12)


def test_memory_and_large_coordinates_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = items([12] * 6)
    whole = class_values(x, y, weighting="query").values
    module = __import__("sys").modules[exported.__module__]
    monkeypatch.setattr(module, "MIB", 2**13)  # blocks of one or two queries
    assert class_values(x, y, weighting="query", memory_mib=1).values == pytest.approx(whole)
    assert class_values(x * 2.0**80, y, weighting="query").values == pytest.approx(whole)


def test_queries_and_gallery_apart_with_items_that_are_both_and_items_of_no_query() -> None:
    x, y = items([5, 6, 4, 7], seed=3)
    asks, held = np.arange(0, 16), np.arange(8, 22)
    y = np.where(np.isin(np.arange(22), [3, 20]), 9, y)  # a query and an item of another class
    y[21] = 11  # an item that nobody asks for

    def score(left_out):
        q, g = (part[y[part] != left_out] for part in (asks, held))
        found = retrieval_metrics(
            x[q], y[q], gallery=x[g], gallery_labels=y[g], query_ids=q, gallery_ids=g, ks=(1, 3)
        )
        return np.array([found[name] for name in NAMES])

    found = class_values(
        x[asks], y[asks], gallery=x[held], gallery_labels=y[held], query_ids=asks, gallery_ids=held,
        ks=(1, 3), weighting="query",
    )  # fmt: skip
    assert 11 not in found.groups
    assert found.values == pytest.approx(by_hand(score, found.groups), abs=1e-12)


def test_many_classes_are_put_into_groups_by_their_labels() -> None:
    labels = np.array([f"c{i:04}" for i in range(1500)])
    groups, group = hashed_groups(labels)
    assert len(groups) <= GROUPS
    again, other = hashed_groups(labels[::-1])
    assert np.array_equal(groups[group], again[other][::-1])
    assert hashed_groups(labels[:1000])[0].tolist() == labels[:1000].tolist()
    x, y = items([2] * 1001, dims=4)
    found = class_values(x, y, ks=(1, 3), weighting="class")
    groups, group = hashed_groups(np.arange(1001))
    some = groups[:3]
    theta = of_set(x, y, "query")(None)  # classes of one size
    assert found.values.mean(axis=0) == pytest.approx(theta, abs=1e-12)
    left = []
    for one in some:
        keep = ~np.isin(y, np.flatnonzero(groups[group] == one))
        scores = retrieval_metrics(x[keep], y[keep], ks=(1, 3))
        left.append([scores[name] for name in NAMES])
    # v_a − v_b = (C − 1) (θ without b − θ without a)
    expected = (len(groups) - 1) * (np.array(left[1]) - np.array(left[0]))
    assert found.values[0] - found.values[1] == pytest.approx(expected, abs=1e-9)


def test_uneven_sizes_are_averaged_over_classes() -> None:
    assert chosen_weighting(np.array([10, 12, 9])) == "query"
    assert chosen_weighting(np.array([10, 120, 9])) == "class"
    assert chosen_weighting(np.array([10, 120, 9] * 34)) == "class"
    four_and_one = np.array([8, 2])  # coefficient of variation 0.6
    assert chosen_weighting(np.repeat(four_and_one, 49)) == "class"
    assert chosen_weighting(np.repeat(four_and_one, 50)) == "query"
    x, y = items([4, 30, 3])
    assert class_values(x, y).weighting == "class"


def test_one_class_has_no_values() -> None:
    with pytest.raises(ValueError, match="two classes"):
        class_values([[0.0], [1.0], [2.0]], ["a", "a", "b"])


@pytest.mark.parametrize("rule", ["label", "all"])
@pytest.mark.parametrize("round_to", [1, 9])
def test_values_under_a_camera_rule_are_those_of_the_sets_without_each_class(rule, round_to):
    x, y = items([6, 9, 4, 7, 5])
    x = np.round(x, round_to)
    rng = np.random.default_rng(2)
    cameras, junk = rng.integers(0, 3, len(y)), rng.random(len(y)) < 0.1
    q, g = np.arange(12), np.arange(6, len(y))

    def measured(keep):
        a, b = q[keep[q]], g[keep[g]]
        return {
            "embeddings": x[a], "labels": y[a], "query_ids": a, "query_groups": cameras[a],
            "gallery": x[b], "gallery_labels": y[b], "gallery_ids": b,
            "gallery_groups": cameras[b], "junk": junk[b], "groups_apply_to": rule, "ks": (1, 3),
        }  # fmt: skip

    def score(left_out):
        keep = np.ones(len(y), bool) if left_out is None else y != left_out
        found = retrieval_metrics(**measured(keep))
        return np.array([found[name] for name in NAMES])

    found = class_values(**measured(np.ones(len(y), bool)), weighting="query", memory_mib=1)
    assert found.values == pytest.approx(by_hand(score, found.groups), abs=1e-12)
    one_set = {"query_groups": cameras, "groups_apply_to": rule}

    def alone(left_out):
        keep = np.ones(len(y), bool) if left_out is None else y != left_out
        rules = one_set | {"query_groups": cameras[keep]}
        scores = retrieval_metrics(x[keep], y[keep], ks=(1, 3), **rules)
        return np.array([scores[name] for name in NAMES])

    found = class_values(x, y, ks=(1, 3), weighting="query", **one_set)
    assert found.values == pytest.approx(by_hand(alone, found.groups), abs=1e-12)


def test_several_labels_have_no_class_values() -> None:
    with pytest.raises(ValueError, match="one label for every item"):
        class_values([[0.0], [1.0], [2.0]], [["a"], ["a", "b"], ["b"]])
    with pytest.raises(ValueError, match="junk must have shape"):
        class_values([[0.0]], [1], gallery=[[0.0], [1.0]], gallery_labels=[1, 2], junk=[True])
