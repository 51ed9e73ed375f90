"""Retrieval metrics against plain loops, peers and values known in advance."""

from importlib import import_module

import numpy as np
import pytest
import torch
from clustered_points import clustered
from evaluation_reference import retrieval_reference
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval_problems import problems, search_like_a_large_one

from stt_bench.evaluation import retrieval_metrics

BACKENDS = ["faiss-cpu", "torch-cpu", "dense"]


@settings(max_examples=150, deadline=None)
@given(problems(), st.sampled_from([1, 200, 1000, 5000, 2**29]), st.integers(0, 3))
def test_one_set_equals_the_loops(problem, memory, spare):
    points, labels, distance = problem
    ks = (1, 2, 3, 8, 1000)
    expected = retrieval_reference(points, labels, distance=distance, ks=ks)
    for backend in BACKENDS:
        settings = {"distance": distance, "backend": backend, "ks": ks}
        assert retrieval_metrics(points, labels, **settings) == pytest.approx(expected, abs=1e-12)
        with search_like_a_large_one(memory, spare):
            scores = retrieval_metrics(points, labels, **settings, memory_mib=1)
        assert scores == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(problems(), st.integers(0, 3), st.integers(1, 3))
def test_query_and_gallery_equal_the_loops(problem, first, last):
    """Rows from `first` on are queries, rows up to `-last` are gallery: most are both."""
    points, labels, distance = problem
    names = np.array([f"item {row}" for row in range(len(points))])
    last = len(points) - last
    labels[first] = labels[0]
    own = {row - first: row for row in range(first, last)} if last > first else {}
    positive = any(
        labels[q] == labels[g] and q != g for q in range(first, len(labels)) for g in range(last)
    )
    if not positive:
        return
    expected = retrieval_reference(
        points[first:], labels[first:], points[:last], labels[:last], own, distance=distance
    )
    for backend in BACKENDS:
        with search_like_a_large_one():
            scores = retrieval_metrics(
                points[first:], labels[first:], gallery=points[:last], gallery_labels=labels[:last],
                query_ids=names[first:], gallery_ids=names[:last], distance=distance,
                backend=backend,
            )  # fmt: skip
        assert scores == pytest.approx(expected, abs=1e-12)


def test_a_separate_gallery_excludes_nothing():
    points, labels = clustered(4, 5, 3, 1.0)
    scores = retrieval_metrics(points, labels, gallery=points, gallery_labels=labels)
    assert scores == pytest.approx(retrieval_reference(points, labels, points, labels))
    assert scores["recall@1"] == 1.0
    assert retrieval_metrics(points, labels)["recall@1"] < 1.0


def test_one_set_is_the_gallery_of_its_own_ids():
    points, labels = clustered(6, 5, 3, 1.0)
    ids = np.random.default_rng(0).permutation(len(points)) * 7
    order = np.random.default_rng(1).permutation(len(points))
    as_roles = retrieval_metrics(
        points, labels, gallery=points[order], gallery_labels=labels[order],
        query_ids=ids, gallery_ids=ids[order],
    )  # fmt: skip
    assert as_roles == pytest.approx(retrieval_metrics(points, labels), abs=1e-15)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("classes", [2, 5, 60])
def test_perfect_clusters_score_exactly_one(classes, distance):
    points, labels = clustered(classes, 6, 16, 1e-4)
    for backend in BACKENDS:
        scores = retrieval_metrics(points, labels, distance=distance, backend=backend)
        assert all(v == 1.0 for k, v in scores.items() if not k.startswith("queries"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_duplicate_pairs_have_recall_one(backend):
    points = np.random.default_rng(0).normal(size=(1000, 32)).astype(np.float32)
    labels = np.arange(1000)
    both = np.random.default_rng(1).permutation(2000) % 1000
    scores = retrieval_metrics(points[both], labels[both], backend=backend)
    assert scores["recall@1"] == scores["map@r"] == scores["mrr"] == 1.0


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_collapsed_embedding_scores_chance_in_any_order(backend, distance):
    classes, size = 8, 25
    rest = classes * size - 1
    labels = np.repeat(np.arange(classes), size)
    points = np.full((len(labels), 12), 0.3, np.float32)
    for order in (np.arange(len(labels)), np.random.default_rng(0).permutation(len(labels))):
        scores = retrieval_metrics(points, labels[order], backend=backend, distance=distance)
        for k in (1, 2, 4, 8, 16):
            miss = np.prod([(rest - (size - 1) - i) / (rest - i) for i in range(k)])
            assert scores[f"recall@{k}"] == pytest.approx(1 - miss, abs=1e-12)
        assert scores["r_precision"] == pytest.approx((size - 1) / rest, abs=1e-12)


def test_mean_over_random_orders_of_untied_data_approaches_the_tied_score():
    labels = np.repeat(np.arange(5), 8)
    rng = np.random.default_rng(0)
    tied = np.repeat(rng.integers(0, 2, 40)[:, None], 2, axis=1).astype(float)
    runs = [
        retrieval_metrics(tied + rng.normal(scale=1e-3, size=tied.shape), labels)
        for _ in range(200)
    ]
    tied_scores = retrieval_metrics(tied, labels)
    for key in ("recall@1", "recall@4", "r_precision", "map@r", "mrr"):
        assert np.mean([run[key] for run in runs]) == pytest.approx(tied_scores[key], abs=0.015)


def test_singletons_are_left_out_and_counted():
    points, labels = clustered(5, 4, 3, 1.0)
    more = np.concatenate([points, points[:3] + 0.01])
    scores = retrieval_metrics(more, np.concatenate([labels, [90, 91, 92]]))
    assert (scores["queries"], scores["queries_without_positive"]) == (20, 3)
    assert scores == pytest.approx(
        retrieval_reference(more, np.concatenate([labels, [90, 91, 92]]))
    )


def test_k_beyond_the_gallery_is_the_whole_gallery():
    points, labels = clustered(3, 2, 3, 5.0)
    assert retrieval_metrics(points, labels, ks=[1000])["recall@1000"] == 1.0


@pytest.mark.parametrize("scale", [1e18, 1e-30, 1e-38])
@pytest.mark.parametrize("backend", BACKENDS)
def test_huge_and_tiny_norms_rank_alike(backend, scale):
    points, labels = clustered(10, 6, 8, 1.0)
    scaled = (points.astype(np.float64) * scale).astype(np.float32)
    scores = retrieval_metrics(scaled, labels, backend=backend)
    assert scores == pytest.approx(retrieval_reference(scaled, labels), abs=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_far_common_offset_does_not_blur_the_ranks(backend):
    points, labels = clustered(10, 6, 8, 0.5)
    moved = points + np.float32(4096.0)
    scores = retrieval_metrics(moved, labels, backend=backend)
    assert scores == pytest.approx(retrieval_reference(moved, labels), abs=1e-12)


def test_pytorch_metric_learning_agrees_without_ties():
    accuracy_calculator = import_module("pytorch_metric_learning.utils.accuracy_calculator")
    points, labels = clustered(20, 9, 8, 1.0)
    theirs = accuracy_calculator.AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        device=torch.device("cpu"),
    ).get_accuracy(torch.from_numpy(points), torch.from_numpy(labels))
    ours = retrieval_metrics(points, labels)
    assert ours["recall@1"] == pytest.approx(theirs["precision_at_1"], abs=1e-9)
    assert ours["r_precision"] == pytest.approx(theirs["r_precision"], abs=1e-9)
    assert ours["map@r"] == pytest.approx(theirs["mean_average_precision_at_r"], abs=1e-9)


def test_strings_integers_and_objects_are_labels_alike():
    points, labels = clustered(6, 5, 4, 1.0)
    expected = retrieval_metrics(points, labels)
    words = [f"class {label}" for label in labels]
    for other in (words, np.array(words, object), labels.astype(np.uint8), labels.tolist()):
        assert retrieval_metrics(points, other) == expected


def test_half_precision_and_memory_maps_are_read_as_they_are(tmp_path):
    points, labels = clustered(8, 6, 5, 1.0)
    half = points.astype(np.float16)
    np.save(tmp_path / "embeddings.npy", half)
    mapped = np.load(tmp_path / "embeddings.npy", mmap_mode="r")
    assert retrieval_metrics(mapped, labels) == retrieval_metrics(half.astype(np.float64), labels)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int16])
def test_a_memory_map_of_any_kind_is_read_in_blocks(kind, tmp_path):
    points, labels = clustered(30, 6, 8, 1.0)
    points = np.round(points * 16).astype(kind)
    np.save(tmp_path / "x.npy", points)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    with search_like_a_large_one(memory=4096):
        found = retrieval_metrics(mapped, labels, memory_mib=1)
    assert found == retrieval_metrics(points.astype(np.float32), labels)


def test_progress_ends_with_all_queries_that_have_a_positive():
    points, labels = clustered(60, 4, 16, 50.0)
    labels[0] = 10**6
    told = []
    with search_like_a_large_one(memory=4096):
        retrieval_metrics(points, labels, memory_mib=1, progress=lambda *done: told.append(done))
    assert len(told) > 2
    assert told == sorted(told)
    assert told[-1] == (239, 239)
