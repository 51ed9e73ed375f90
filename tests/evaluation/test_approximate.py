"""An approximate index: its lists, and the error it reports of itself."""

import numpy as np
import pytest
from clustered_points import clustered

from stt_bench.evaluation import (
    approximate,
    approximate_retrieval_metrics,
    retrieval_metrics,
)
from stt_bench.evaluation.frames import CoarseFrame


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("index", ["ivf", "ivfpq", "hnsw"])
def test_the_error_over_all_queries_is_the_difference_from_exact_search(index, distance):
    points, labels = clustered(400, 5, 24, 0.9)
    points[7] = points[11]
    found = approximate_retrieval_metrics(
        points, labels, index=index, distance=distance, sample=10**6
    )
    exact = retrieval_metrics(points, labels, distance=distance)
    assert found["sample"] == found["queries"] == exact["queries"]
    for name, value in exact.items():
        if not name.startswith("queries"):
            assert found[f"error_{name}"] == pytest.approx(found[name] - value, abs=1e-12)
            assert abs(found[f"error_{name}"]) < 0.25
    assert any(found[f"error_{name}"] for name in ("mrr", "map@r"))


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("index", ["ivf", "ivfpq", "hnsw"])
def test_where_the_index_finds_everything_it_is_exact(index, kind):
    points, labels = clustered(40, 5, 16, 0.02)
    points = points.astype(kind)
    found = approximate_retrieval_metrics(points, labels, index=index, sample=50)
    exact = retrieval_metrics(points, labels)
    assert {name: found[name] for name in exact} == pytest.approx(exact)
    assert found["sample"] == 50
    assert found["error_map@r"] == 0.0


def test_query_and_gallery_and_items_without_a_positive():
    points, labels = clustered(40, 5, 16, 0.02)
    gallery = np.flatnonzero(labels != 3)
    found = approximate_retrieval_metrics(
        points, labels, gallery=points[gallery], gallery_labels=labels[gallery],
        query_ids=np.arange(200), gallery_ids=gallery, index="hnsw",
    )  # fmt: skip
    assert found["queries_without_positive"] == 5
    assert found["recall@1"] == 1.0


def test_a_positive_that_is_not_listed_is_not_found():
    """Positives farther than all lists reach: every metric is 0, and the error says so."""
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 300
    points = rng.normal(size=(600, 4)).astype(np.float32)
    points[300:] += 1e3
    found = approximate_retrieval_metrics(points, labels, ks=[1, 2], index="hnsw", sample=600)
    exact = retrieval_metrics(points, labels, ks=[1, 2])
    assert found["mrr"] == 0.0 < exact["mrr"]
    assert found["error_mrr"] == pytest.approx(-exact["mrr"])


def test_more_probes_find_more_and_all_cells_find_everything():
    points, labels = clustered(400, 5, 24, 0.9)
    exact = retrieval_metrics(points, labels)
    errors = [
        abs(approximate_retrieval_metrics(points, labels, probes=probes)["map@r"] - exact["map@r"])
        for probes in (1, 8, 51)
    ]
    assert errors[0] > errors[1] > errors[2] == pytest.approx(0, abs=1e-12)


def test_product_quantization_leaves_the_order_to_exact_distances():
    """With all cells visited and lists of all items, nothing is lost but by the width of a list."""
    points, labels = clustered(30, 5, 8, 1.0)
    points[3] = points[7]
    labels[3] = labels[12]  # a tie, which counts as the expectation over its orders
    found = approximate_retrieval_metrics(
        points, labels, index="ivfpq", probes=10, ks=[1, 40], distance="cosine"
    )
    exact = retrieval_metrics(points, labels, ks=[1, 40], distance="cosine")
    for name in ("recall@1", "recall@40", "r_precision", "map@r"):
        assert found[name] == pytest.approx(exact[name], abs=1e-12)


def test_float16_rows_are_held_as_they_are(monkeypatch):
    """An index of float16 holds half of the bytes, and rows are framed in blocks."""
    points, labels = clustered(600, 5, 64, 0.9)
    sizes, largest = [], [0]
    framed = CoarseFrame.rows

    def rows(frame, held, index, *group):
        found = framed(frame, held, index, *group)
        if found.dtype == np.float32:  # exact search has a float64 frame, too
            largest[0] = max(largest[0], len(found))
        return found

    def built(*arguments):
        found = build(*arguments)
        sizes.append(found.code_size)
        return found

    build = approximate._build
    monkeypatch.setattr(approximate, "_build", built)
    monkeypatch.setattr(approximate, "ROWS_AT_ONCE", 256)
    monkeypatch.setattr(approximate, "MIB", 2**10)
    monkeypatch.setattr(approximate, "LEARNED_FROM", 3)
    monkeypatch.setattr(CoarseFrame, "rows", rows)
    for kind in (np.float32, np.float16):
        for index in ("ivf", "ivfpq"):
            approximate_retrieval_metrics(points.astype(kind), labels, index=index, sample=9)
    assert sizes == [4 * 64, 64 // 8, 2 * 64, 64 // 8]
    assert largest[0] <= 256


def test_the_sample_is_seeded():
    points, labels = clustered(400, 5, 24, 0.9)
    first, again, other = (
        approximate_retrieval_metrics(points, labels, sample=100, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"index": "hsnw"}, "Unknown index 'hsnw': did you mean 'hnsw'"),
        ({"sample": 0}, "sample must be at least 1"),
        ({"ks": [0]}, "Every K of ks"),
        ({"probes": 0}, "probes must be at least 1"),
        ({"probes": 3, "index": "hnsw"}, "hnsw has no cells"),
        ({"index": "ivfpq"}, "ivfpq needs a dimension that 4 divides, not 3: take ivf"),
    ],
)
def test_it_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        approximate_retrieval_metrics(*clustered(4, 5, 3, 1.0), **settings)


def test_progress_covers_index_queries_and_sample():
    points, labels = clustered(40, 5, 8, 0.5)
    told = []
    approximate_retrieval_metrics(
        points, labels, sample=30, progress=lambda *done: told.append(done)
    )
    assert told == sorted(told)
    assert told[0] == (200, 430)
    assert told[-1] == (430, 430)
