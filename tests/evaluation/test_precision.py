"""Embeddings count as they are given: what float32 cannot hold is not lost."""

import numpy as np
import pytest
from clustered_points import clustered
from evaluation_reference import retrieval_reference

from stt_bench.evaluation import (
    approximate_retrieval_metrics,
    clustering_metrics,
    retrieval_metrics,
    retrieval_scores,
)

BACKENDS = ["auto", "faiss-cpu", "torch-cpu", "dense"]


def points_and_labels():
    points, labels = clustered(20, 5, 8, 0.4)
    return points.astype(np.float64), labels


SHAPES = {
    "far from 0": lambda x: x + 1e8,
    "farther": lambda x: x * 1e-3 + 1e10,
    "beyond float32": lambda x: x * 1e200,
    "below float32": lambda x: x * 1e-200,
    "the largest": lambda x: x / np.abs(x).max() * np.finfo(np.float64).max,
    "integers": lambda x: np.round(x * 1e3).astype(np.int64) + 2**40,
    "unsigned": lambda x: np.round(x * 1e3 + 2**31).astype(np.uint32),
    "half": lambda x: x.astype(np.float16),
}


def usual(points, like=None):
    """The same numbers times a power of two: about 1, so that a plain loop can square them."""
    widest = np.abs((points if like is None else like).astype(np.float64)).max()
    return np.ldexp(points.astype(np.float64), -np.frexp(widest)[1])


def directions(points):
    """Unit rows in more digits than float64, moved to 0: their squared distances rank as cosine."""
    wide = usual(points).astype(np.longdouble)
    unit = wide / np.sqrt((wide**2).sum(axis=1, keepdims=True))
    moved = unit - unit.mean(axis=0)
    return (moved / np.abs(moved).max()).astype(np.float64)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("shape", SHAPES)
def test_retrieval_equals_the_float64_loop(shape, distance):
    points, labels = points_and_labels()
    points = SHAPES[shape](points)
    seen = usual(points) if distance == "euclidean" else directions(points)
    expected = retrieval_reference(seen, labels)
    rounded = distance == "cosine" and shape == "farther"  # unit rows part in their last digits
    for backend in BACKENDS:
        found = retrieval_metrics(points, labels, distance=distance, backend=backend)
        assert found == pytest.approx(expected, abs=0.02 if rounded else 1e-12)
    assert expected["recall@1"] > 0.5


def test_near_directions_are_told_apart_beside_a_row_of_zeros():
    points, labels = points_and_labels()
    points, labels = np.append(points + 1e8, np.zeros((1, 8)), axis=0), np.append(labels, -1)
    expected = retrieval_reference(directions(points[:-1]), labels[:-1])
    for backend in BACKENDS:
        found = retrieval_metrics(points, labels, distance="cosine", backend=backend)
        assert found == pytest.approx(expected | {"queries_without_positive": 1}, abs=1e-12)


def test_rows_whose_squares_no_float64_holds_together_are_refused():
    points, labels = points_and_labels()
    points[5] *= 1e200
    with pytest.raises(ValueError, match="beside which float64 loses rows of"):
        retrieval_metrics(points, labels)
    assert retrieval_metrics(points, labels, distance="cosine")["recall@1"] > 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_query_and_gallery_of_different_kinds_are_compared_as_they_are(shape):
    points, labels = points_and_labels()
    points = SHAPES[shape](points)
    near = np.float64 if "float32" in shape or shape == "the largest" else np.float32
    queries, gallery = points[:50].astype(near), points[50:]
    expected = retrieval_reference(
        usual(queries, points), labels[:50], usual(gallery, points), labels[50:]
    )
    for backend in BACKENDS:
        found = retrieval_metrics(
            queries, labels[:50], gallery=gallery, gallery_labels=labels[50:], backend=backend
        )
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_clusters_classes_and_an_approximate_index_see_the_same_points(shape):
    points, labels = points_and_labels()
    moved = SHAPES[shape](points)
    assert clustering_metrics(moved, labels)["nmi"] == pytest.approx(
        clustering_metrics(points, labels)["nmi"], abs=0.02
    )
    expected = retrieval_metrics(moved, labels)
    found = approximate_retrieval_metrics(moved, labels, index="hnsw", sample=len(labels))
    assert found["error_recall@1"] == pytest.approx(0, abs=0.02)
    assert found["recall@1"] == pytest.approx(expected["recall@1"], abs=0.02)
    classes = retrieval_scores(moved, labels).per_class()
    assert np.mean([scores["recall@1"] for scores in classes.values()]) == pytest.approx(
        expected["recall@1"]
    )


def test_float64_duplicates_are_ties():
    """Rows that are equal in float64 are one point; rows equal in float32 alone are not."""
    points = np.array([[1.0], [1.0], [1.0 + 1e-12], [1.0 + 1e-12], [2.0], [2.0]])
    labels = [0, 0, 1, 1, 2, 2]
    for backend in BACKENDS:
        scores = retrieval_metrics(points, labels, ks=[1], backend=backend)
        assert scores["recall@1"] == scores["map@r"] == 1.0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_points_farther_apart_than_their_kind_holds_are_compared_in_silence(
    kind, backend, distance
):
    points, labels = points_and_labels()
    sizes = (1 + np.abs(points) / np.abs(points).max()) * (np.finfo(kind).max / 2)
    points = np.copysign(sizes, points).astype(kind)
    measured = retrieval_metrics(points, labels, backend=backend, distance=distance)
    assert measured == retrieval_metrics(usual(points), labels, backend="dense", distance=distance)
