"""Nearest items, chosen queries and confusions, against plain float64 loops and counts by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from stt_bench.benchmark.inspection.answers import (
    Answers,
    Confusion,
    Search,
    confusion_of_nearest,
    worth_a_look,
)
from stt_bench.benchmark.store.embedding_set import EmbeddingSet


def embedding_set(
    embeddings: np.ndarray, labels: list[str], roles: list[str] | None = None
) -> EmbeddingSet:
    return EmbeddingSet(
        embeddings=embeddings.astype(np.float32),
        labels=np.array(labels),
        ids=np.array([f"i{n}" for n in range(len(labels))]),
        roles=np.array(roles or ["both"] * len(labels)),
        logits=None,
        meta={},
    )


def drawn(roles: list[str] | None = None) -> EmbeddingSet:
    rng = np.random.default_rng(3)
    embeddings = rng.integers(-3, 4, (60, 3)) + 0.5  # many distances are equal
    return embedding_set(embeddings, [f"c{n}" for n in rng.integers(0, 6, 60)], roles)


def search_of(embedded: EmbeddingSet, distance: str, most: int = 100, **rule: Any) -> Search:
    if (embedded.roles == "both").all():
        sets = {"embeddings": embedded.embeddings, "labels": embedded.labels, **rule}
    else:
        query, gallery = (np.isin(embedded.roles, (role, "both")) for role in ("query", "gallery"))
        sets = {
            "embeddings": embedded.embeddings[query],
            "labels": embedded.labels[query],
            "query_ids": embedded.ids[query],
            "gallery": embedded.embeddings[gallery],
            "gallery_labels": embedded.labels[gallery],
            "gallery_ids": embedded.ids[gallery],
            **rule,
        }
    return Search.of(embedded, sets, distance, most, 0)


def plain_distance(x: np.ndarray, y: np.ndarray, distance: str) -> float:
    a, b = [float(v) for v in x], [float(v) for v in y]
    if distance == "euclidean":
        return sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
    dot = sum(p * q for p, q in zip(a, b, strict=True))
    return 1 - dot / math.sqrt(sum(p * p for p in a)) / math.sqrt(sum(q * q for q in b))


def plain_list(
    embedded: EmbeddingSet, query: int, distance: str, kept: list[int]
) -> list[tuple[float, int]]:
    own = embedded.embeddings[query]
    return sorted(
        (round(plain_distance(own, embedded.embeddings[item], distance), 12), item)
        for item in kept
        if item != query
    )


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("with_roles", [False, True])
def test_the_nearest_are_those_of_a_plain_loop(distance: str, with_roles: bool) -> None:
    roles = [("query", "gallery", "both")[n % 3] for n in range(60)] if with_roles else None
    embedded = drawn(roles)
    search = search_of(embedded, distance)
    found = search.nearest(7)
    gallery = [n for n in range(60) if embedded.roles[n] != "query"]
    assert search.queries.tolist() == [n for n in range(60) if embedded.roles[n] != "gallery"]
    for query, places, distances, right in zip(search.queries, *found, strict=True):
        expected = plain_list(embedded, query, distance, gallery)[:7]
        np.testing.assert_allclose(distances, [d for d, _ in expected], atol=1e-12)
        if distance == "euclidean":  # whose ties are exact, in the order of the set
            assert places.tolist() == [item for _, item in expected]
        assert right.tolist() == [
            embedded.labels[item] == embedded.labels[query] for item in places
        ]


@pytest.mark.parametrize("rule", ["label", "all"])
def test_a_rule_of_groups_takes_items_out(rule: str) -> None:
    embedded = drawn()
    cameras = np.arange(60) % 4
    found = search_of(embedded, "euclidean", query_groups=cameras, groups_apply_to=rule).nearest(60)
    for query, places in enumerate(found.places):
        taken_out = [
            item
            for item in range(60)
            if cameras[item] == cameras[query]
            and (rule == "all" or embedded.labels[item] == embedded.labels[query])
        ]
        kept = [item for item in range(60) if item not in taken_out]
        expected = [item for _, item in plain_list(embedded, query, "euclidean", kept)]
        assert places[places >= 0].tolist() == expected
    assert not np.isfinite(found.distances[found.places < 0]).any()
    assert not found.right[found.places < 0].any()


def test_one_of_several_labels_makes_an_answer_right() -> None:
    embedded = embedding_set(np.array([[0.0], [1.0], [3.0]]), ["a;b", "b", "c"])
    labels = np.empty(3, dtype=object)
    labels[:] = [["a", "b"], ["b"], ["c"]]
    sets = {"embeddings": embedded.embeddings, "labels": labels}
    search = Search.of(embedded, sets, "euclidean", 9, 0)
    answers = search.nearest(2)
    assert answers.places.tolist() == [[1, 2], [0, 2], [1, 0]]
    assert answers.right.tolist() == [[True, False], [True, False], [False, False]]
    told = confusion_of_nearest(embedded, search.queries, answers)
    assert told.pairs(9) == [("c", "b", 1, 1)]


def test_precision_of_drawn_queries_is_map_at_r_over_the_whole_gallery() -> None:
    embedded = embedding_set(
        np.array([[0.0], [1.0], [2.5], [4.5], [9.0], [20.0]]), ["a", "a", "b", "a", "b", "alone"]
    )
    # 0: a b | R = 2 → (1 + 0) / 2; 1: a b → 1/2; 2: a(1.5) → 0; 3: b a → (0 + 1/2) / 2; 4: a → 0.
    expected = [0.5, 0.5, 0.0, 0.25, 0.0, math.nan]
    everything = search_of(embedded, "euclidean")
    np.testing.assert_allclose(everything.precision(), expected)
    some = search_of(embedded, "euclidean", most=3)
    assert len(some.queries) == 3
    np.testing.assert_allclose(some.precision(), np.array(expected)[some.queries])
    nobody = search_of(embedding_set(np.eye(3), ["a", "b", "c"]), "euclidean")
    assert np.isnan(nobody.precision()).all()


def test_chosen_queries_are_of_several_classes_and_come_once() -> None:
    values = np.array([0.9, 0.9, 0.9, 0.8, 0.5, 0.4, 0.45, 0.1, 0.0, np.nan])
    labels = np.array(["a", "a", "a", "b", "c", "c", "d", "e", "e", "f"])
    found = worth_a_look(values, labels, 2, seed=0)
    assert {labels[i] for i in found["best"]} == {"a", "b"}
    assert values[found["best"]].tolist() == [0.9, 0.8]
    assert found["worst"].tolist()[0] == 8
    assert labels[found["worst"]].tolist() == ["e", "c"]  # one of a class
    assert found["typical"].tolist() == [4, 6]  # the median is 0.5
    shown = np.concatenate(list(found.values()))
    assert len(set(shown.tolist())) == len(shown)
    assert worth_a_look(values, labels, 2, seed=0)["best"].tolist() == found["best"].tolist()
    one_class = worth_a_look(np.array([0.3, 0.2, 0.1]), np.array(["a"] * 3), 1, 0)
    assert {kind: some.tolist() for kind, some in one_class.items()} == {
        "best": [0],
        "typical": [1],
        "worst": [2],
    }
    assert not any(map(len, worth_a_look(np.full(3, np.nan), np.array(["a"] * 3), 1, 0).values()))


def test_confusions_are_counted_as_by_hand() -> None:
    embedded = embedding_set(np.zeros((5, 1)), ["a", "a", "b", "b", "c"])
    places = np.array([[2], [1], [4], [4], [-1]])
    right = np.array([[False], [True], [False], [False], [False]])
    found = confusion_of_nearest(embedded, np.arange(5), Answers(places, np.zeros((5, 1)), right))
    assert found.classes == ("a", "b", "c")
    assert found.matrix().tolist() == [[1, 1, 0], [0, 0, 2], [0, 0, 0]]
    assert found.items.tolist() == [2, 2, 0]
    assert found.pairs(5) == [("b", "c", 2, 2), ("a", "b", 1, 2)]
    assert found.pairs(1) == [("b", "c", 2, 2)]
    assert (found.how_often("b", "c"), found.how_often("c", "b")) == (2, 0)
    assert found.how_often("unknown", "b") == 0
    again = Confusion.of(found.matrix(), found.classes)
    assert again.pairs(5) == found.pairs(5)
