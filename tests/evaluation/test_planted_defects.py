"""Defects of published evaluation code, planted beside ours: theirs give another number.

Each is named in the list of what peers get wrong; the planted wrong formula stands in its test, so
that the data are seen to tell the two apart.
"""

from __future__ import annotations

import numpy as np
import pytest

from stt_bench.evaluation import clustering_metrics, retrieval_metrics

RNG = np.random.default_rng(0)


def on_a_line(*places: float) -> np.ndarray:
    return np.array(places)[:, None]


def ranked(x: np.ndarray, query: int) -> np.ndarray:
    return np.argsort(np.linalg.norm(x - x[query], axis=1), kind="stable")


def test_k_counts_from_the_nearest_other_item() -> None:
    """The nearest of both a is a b: a hit at 2, none at 1; counted with the query, one later."""
    x, labels = on_a_line(0, 1, 2.5, 9), ["a", "b", "a", "b"]
    found = retrieval_metrics(x, labels, ks=(1, 2, 3), distance="euclidean")
    assert [found[f"recall@{k}"] for k in (1, 2, 3)] == [0.0, 0.75, 1.0]
    with_itself = [
        np.mean([labels[q] in [labels[i] for i in ranked(x, q)[:k]] for q in range(4)])
        for k in (1, 2, 3)
    ]
    assert with_itself == [1.0, 1.0, 1.0]


def test_a_query_in_its_own_gallery_does_not_find_itself() -> None:
    x, labels = RNG.normal(size=(400, 4)), np.arange(400) % 50
    ids = np.arange(400)
    honest = retrieval_metrics(x, labels, ks=(1,), distance="euclidean")
    same = retrieval_metrics(
        x, labels, gallery=x, gallery_labels=labels, query_ids=ids, gallery_ids=ids,
        ks=(1,), distance="euclidean",
    )  # fmt: skip
    assert same["recall@1"] == honest["recall@1"] < 0.1
    cheated = retrieval_metrics(
        x, labels, gallery=x, gallery_labels=labels, ks=(1,), distance="euclidean"
    )
    assert cheated["recall@1"] == 1.0  # what leaving the ids out would give


def test_the_query_is_left_out_by_its_id_not_by_its_rank() -> None:
    """A duplicate as near as the query itself: dropping rank 1 may leave the query in."""
    x, labels = on_a_line(0, 0, 5, 5.1), ["a", "b", "a", "b"]
    found = retrieval_metrics(x, labels, ks=(1,), distance="euclidean")
    assert found["recall@1"] == 0.0
    dropped = [labels[ranked(x, q)[1]] == labels[q] for q in range(4)]
    assert np.mean(dropped) > 0


@pytest.mark.parametrize("size", [2, 5, 60])
def test_perfect_clusters_score_one_in_map_at_r(size: int) -> None:
    """The copied formula counts the query among its positives: 0.5, 0.8 and 0.98."""
    labels = np.repeat(np.arange(4), size)
    x = 10 * np.eye(4)[labels] + 1e-3 * RNG.normal(size=(4 * size, 4))
    assert retrieval_metrics(x, labels, distance="euclidean")["map@r"] == 1.0
    assert (size - 1) / size < 1


def test_random_embeddings_score_chance() -> None:
    labels = np.repeat(np.arange(40), 10)
    found = retrieval_metrics(RNG.normal(size=(400, 64)), labels, ks=(1,))
    assert found["recall@1"] == pytest.approx(9 / 399, abs=0.02)
    assert found["map@r"] < 0.02


def test_a_query_without_a_positive_is_left_out_and_no_hit() -> None:
    x, labels = on_a_line(0, 1, 5, 9.5, 10), ["a", "a", "b", "b", "alone"]
    found = retrieval_metrics(x, labels, ks=(1,), distance="euclidean")
    assert (found["queries"], found["queries_without_positive"]) == (4, 1)
    assert found["recall@1"] == 0.5  # 2 of 4; 3 of 5 where the lone one counts as a hit


def test_negative_similarities_rank_like_any() -> None:
    """Retrieval metrics elsewhere count an item of negative score as not retrieved."""
    query = np.array([[1.0, 0.0]])
    angles = np.arccos([-0.1, -0.2, -0.5])
    gallery = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = retrieval_metrics(
        query, ["a"], gallery=gallery, gallery_labels=["b", "a", "a"], ks=(1, 2), distance="cosine"
    )
    assert (found["recall@1"], found["recall@2"]) == (0.0, 1.0)
    assert found["mrr"] == 0.5
    assert found["r_precision"] == 0.5


def test_longer_vectors_gain_nothing_by_cosine() -> None:
    """Lengths that carry the class help by Euclidean distance alone."""
    labels = np.repeat(np.arange(20), 10)
    x = RNG.normal(size=(200, 16))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    longer = x * (1 + labels)[:, None]
    plain, scaled = (
        retrieval_metrics(one, labels, distance="cosine")["map@r"] for one in (x, longer)
    )
    assert scaled == pytest.approx(plain, abs=1e-9)
    euclidean = [retrieval_metrics(one, labels, distance="euclidean") for one in (x, longer)]
    assert euclidean[1]["map@r"] > 2 * euclidean[0]["map@r"]


def test_one_point_for_all_scores_chance_and_not_one() -> None:
    """Where ties go to the item that is listed first, sorted labels make a collapse look good."""
    labels = np.repeat(np.arange(10), 10)
    found = retrieval_metrics(np.ones((100, 3)), labels, ks=(1,), distance="euclidean")
    assert found["recall@1"] == pytest.approx(9 / 99)
    by_place = [labels[1 if q == 0 else 0] == labels[q] for q in range(100)]
    assert np.mean(by_place) >= 0.1


def test_nmi_of_chance_stands_beside_it() -> None:
    labels = np.repeat(np.arange(60), 3)
    found = clustering_metrics(RNG.normal(size=(180, 8)), labels, restarts=1)
    assert found["nmi"] > 0.6  # of random vectors
    assert found["nmi"] == pytest.approx(found["nmi_chance"], abs=0.04)
    assert abs(found["ami"]) < 0.1


def test_the_order_of_the_items_decides_nothing() -> None:
    labels = np.repeat(np.arange(6), 5)
    x = RNG.integers(0, 2, size=(30, 3)).astype(float)  # many ties
    order = RNG.permutation(30)
    first, second = (
        retrieval_metrics(x[rows], labels[rows], distance="euclidean")
        for rows in (np.arange(30), order)
    )
    assert second == pytest.approx(first, abs=1e-12)


def test_query_and_gallery_are_not_merged() -> None:
    """In-Shop's rule: its queries look among the gallery alone, not among one another."""
    x, labels = on_a_line(0, 0.1, 7, 9, 9.1, 30), list("aabbba")
    is_query = np.array([True, True, False, True, True, False])
    apart = retrieval_metrics(
        x[is_query], np.array(labels)[is_query], gallery=x[~is_query],
        gallery_labels=np.array(labels)[~is_query], ks=(1,), distance="euclidean",
    )  # fmt: skip
    merged = retrieval_metrics(x, labels, ks=(1,), distance="euclidean")
    assert (apart["queries"], merged["queries"]) == (4, 6)
    assert apart["recall@1"] == 0.5  # the two a have a b nearest in the gallery
    assert merged["recall@1"] == pytest.approx(5 / 6)  # and each other where all are merged
