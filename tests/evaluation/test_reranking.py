"""k-reciprocal re-ranking and query expansion, against plain loops."""

from math import exp, sqrt

import numpy as np
import pytest
from clustered_points import clustered
from evaluation_reference import distance_table

from stt_bench.evaluation.reranking import expanded_queries, reranked_distances


def by_loops(queries, gallery, k1, k2, weight):
    rows = np.concatenate([queries, gallery]).astype(np.float64)
    table = [[d / max(row) for d in row] for row in distance_table(rows, rows, "euclidean")]
    size = len(rows)
    ranks = [sorted(range(size), key=lambda j, i=i: table[i][j]) for i in range(size)]

    def reciprocal(i, k):
        return {j for j in ranks[i][:k] if i in ranks[j][:k]}

    half = round(k1 / 2) + 1
    encoded = []
    for i in range(size):
        first = reciprocal(i, k1 + 1)
        members = set(first)
        for c in first:
            more = reciprocal(c, half)
            if 3 * len(more & first) > 2 * len(more):
                members |= more
        total = sum(exp(-table[i][j]) for j in members)
        encoded.append([exp(-table[i][j]) / total if j in members else 0.0 for j in range(size)])
    mean = [
        [sum(encoded[j][column] for j in ranks[i][:k2]) / k2 for column in range(size)]
        for i in range(size)
    ]
    found = []
    for q in range(len(queries)):
        found.append([])
        for g in range(len(queries), size):
            common = sum(min(a, b) for a, b in zip(mean[q], mean[g], strict=True))
            jaccard = 1 - common / (2 - common)
            found[-1].append((1 - weight) * jaccard + weight * table[q][g])
    return found


@pytest.mark.parametrize(
    ("k1", "k2", "weight"), [(6, 3, 0.3), (7, 1, 0.0), (5, 2, 1.0), (3, 6, 0.5)]
)
def test_reranked_distances_equal_the_loops(k1, k2, weight):
    points, _ = clustered(5, 7, 4, 0.7)
    found = reranked_distances(points[:8], points[8:], k1=k1, k2=k2, weight=weight)
    assert found == pytest.approx(np.array(by_loops(points[:8], points[8:], k1, k2, weight)))


def test_reranking_knows_no_order_of_the_data():
    """On a grid many places are tied."""
    points = np.random.default_rng(0).integers(0, 3, (40, 3)).astype(float)
    found = reranked_distances(points[:10], points[10:], k1=4, k2=2)
    order = np.random.default_rng(1).permutation(30)
    again = reranked_distances(points[9::-1], points[10:][order], k1=4, k2=2)
    assert again == pytest.approx(found[::-1, order], abs=1e-12)
    assert np.isfinite(reranked_distances(np.ones((2, 3)), np.ones((4, 3)))).all()


def expansion(query, gallery, k, alpha):
    def unit(row):
        norm = sqrt(sum(v * v for v in row))
        return [v / norm for v in row]

    query, gallery = unit(query), [unit(row) for row in gallery]
    cosines = [sum(a * b for a, b in zip(query, row, strict=True)) for row in gallery]
    for g in sorted(range(len(gallery)), key=lambda g: -cosines[g])[:k]:
        weight = max(cosines[g], 0.0) ** alpha
        query = [a + weight * b for a, b in zip(query, gallery[g], strict=True)]
    return unit(query)


@pytest.mark.parametrize(("k", "alpha"), [(1, 0.0), (4, 3.0), (100, 0.5)])
def test_expanded_queries_equal_the_loops(k, alpha):
    points, _ = clustered(4, 8, 5, 0.8)
    rows = points.astype(np.float64).tolist()
    expected = [expansion(query, rows[6:], k, alpha) for query in rows[:6]]
    assert expanded_queries(points[:6], points[6:], k=k, alpha=alpha) == pytest.approx(
        np.array(expected)
    )


def test_without_a_gallery_a_query_is_joined_by_others():
    points, _ = clustered(3, 6, 5, 0.8)
    rows = points.astype(np.float64).tolist()
    expected = [expansion(row, rows[:i] + rows[i + 1 :], 3, 2.0) for i, row in enumerate(rows)]
    assert expanded_queries(points, k=3, alpha=2.0) == pytest.approx(np.array(expected))
    everyone = [expansion(row, rows[:i] + rows[i + 1 :], 99, 0.0) for i, row in enumerate(rows)]
    assert expanded_queries(points, k=99) == pytest.approx(np.array(everyone))


def test_cosine_is_of_unit_rows():
    points, _ = clustered(5, 7, 4, 0.7)
    lengths = np.linspace(1, 9, len(points))[:, None]
    found = reranked_distances(
        points[:8] * lengths[:8], points[8:] * lengths[8:], distance="cosine"
    )
    unit = points / np.linalg.norm(points.astype(np.float64), axis=1, keepdims=True)
    assert found == pytest.approx(reranked_distances(unit[:8], unit[8:]), abs=1e-6)
    zero = points.copy()
    zero[3] = 0
    assert np.isfinite(reranked_distances(zero, distance="cosine")).all()


def test_items_tied_for_the_last_place_share_it():
    """(1, 1) and (1, −1) are equally near: half of each is added, which is √½ along the query."""
    found = expanded_queries([[2.0, 0.0]], [[1.0, 1.0], [1.0, -1.0], [-1.0, 0.0]], k=1)
    assert found == pytest.approx(np.array([[1.0, 0.0]]))
    assert expanded_queries([[0.0, 0.0]], [[0.0, 0.0]]).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: reranked_distances(x, x, k1=0), "k1 must be at least 1"),
        (lambda x: reranked_distances(x, x, weight=1.5), r"weight must be a number in \[0, 1\]"),
        (lambda x: reranked_distances(x, x[:, :2]), "gallery has 2 dimensions and queries has 3"),
        (lambda x: expanded_queries(x, x, alpha=-1), "alpha must be a number of at least 0"),
        (lambda x: expanded_queries(x, x, k=0), "k must be at least 1"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.eye(3))
