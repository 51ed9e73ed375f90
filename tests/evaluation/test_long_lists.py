"""Few large classes, duplicates, grids, an outlier: long lists by float64 products."""

import numpy as np
import pytest
from clustered_points import clustered
from evaluation_reference import retrieval_reference

from stt_bench.evaluation import retrieval, retrieval_metrics, retrieval_scores, search
from stt_bench.evaluation.coarse import TorchSearch
from stt_bench.evaluation.exact import Points, exact_distances
from stt_bench.evaluation.frames import CoarseFrame
from stt_bench.evaluation.lists import ListRanker
from stt_bench.evaluation.regions import regions
from stt_bench.evaluation.wide import WideSearch, split_keys


def few_classes(kind):
    """Large classes: lists that hold a good part of the gallery."""
    points, labels = clustered(3, 50, 6, 2.0)
    labels[:20] = labels[0]  # of several sizes
    if kind == "twice":
        points[75:] = points[:75]
    elif kind == "grid":
        points = np.round(points)
    elif kind == "outlier":
        points[3] *= 1e6
    elif kind == "many outliers":
        points[::9] *= 1e6
    elif kind == "one class and an outlier":
        points[3] *= 1e6
        labels[:] = 0
    elif kind == "tight":
        points = points * 1e-7 + 4 * np.eye(3, 6)[labels]
    elif kind == "huge and pairs":
        labels = np.minimum(np.arange(150) // 2, 40)
    return points, labels


KINDS = ["plain", "twice", "grid", "outlier", "huge and pairs"]
FAR = ["many outliers", "one class and an outlier", "tight"]


@pytest.mark.parametrize("kind", KINDS + FAR)
def test_few_large_classes_equal_the_float64_loop(kind, monkeypatch):
    monkeypatch.setattr(search, "PROBED", 4)
    points, labels = few_classes(kind)
    expected = retrieval_reference(points, labels)
    for kibibytes in (16, 2**18):
        monkeypatch.setattr(retrieval, "MIB", kibibytes * 1024)
        found = [
            retrieval_metrics(points, labels, backend=backend, memory_mib=1)
            for backend in ("torch-cpu", "faiss-cpu", "dense")
        ]
        assert found[0] == pytest.approx(expected, abs=1e-12)
        assert found[1:] == found[:1] * 2


@pytest.mark.parametrize("kind", KINDS + FAR)
def test_few_large_classes_are_not_compared_one_by_one(kind, monkeypatch):
    """What a float64 product can tell is not asked of the exact distances again.

    Of tight classes, what a product about each can tell; that it is one, the first queries show.
    """
    monkeypatch.setattr(search, "PROBED", 4)
    points, labels = few_classes(kind)
    pairs = []
    exact = ListRanker.exact
    monkeypatch.setattr(
        ListRanker, "exact", lambda *given: pairs.append(len(given[1])) or exact(*given)
    )
    retrieval_metrics(points, labels, backend="torch-cpu")
    assert sum(pairs) <= (8 if kind == "tight" else 3) * len(points)


@pytest.mark.parametrize("asked", [[0, 1], [0, 1, 2]])
def test_classes_in_one_tight_cloud_are_told_apart_about_it(asked, monkeypatch):
    """Where no query lies elsewhere, the extent of the gallery shows that the cloud is tight."""
    monkeypatch.setattr(search, "PROBED", 4)
    points, labels = clustered(3, 50, 6, 2.0)
    cloud = labels < 2
    points = points.astype(np.float64)
    points[cloud] = 1e-7 * points[cloud] + 4
    rows = np.flatnonzero(np.isin(labels, asked))
    problem = {
        "gallery": points,
        "gallery_labels": labels,
        "query_ids": rows,
        "gallery_ids": np.arange(150),
    }
    pairs = []
    exact = ListRanker.exact
    monkeypatch.setattr(
        ListRanker, "exact", lambda *given: pairs.append(len(given[1])) or exact(*given)
    )
    found = retrieval_scores(points[rows], labels[rows], backend="torch-cpu", **problem)
    assert sum(pairs) <= 12 * len(rows)
    dense = retrieval_scores(points[rows], labels[rows], backend="dense", **problem)
    assert found.values.tobytes() == dense.values.tobytes()


@pytest.mark.parametrize("kind", ["many outliers", "tight"])
def test_near_ties_are_compared_exactly_beside_far_points(kind, monkeypatch):
    monkeypatch.setattr(search, "PROBED", 4)
    points, labels = few_classes(kind)
    rng = np.random.default_rng(0)
    points = points.astype(np.float64)
    points[75:] = points[rng.integers(0, 75, 75)]
    points[75:] = np.nextafter(points[75:], rng.choice([-9.0, 9.0], (75, 6)))
    expected = retrieval_scores(points, labels, backend="dense").values.tobytes()
    assert retrieval_scores(points, labels, backend="torch-cpu").values.tobytes() == expected


def test_regions_are_found_where_classes_are_tight():
    """Each query once; a region's point lies in it; what lies in none comes with None."""
    points, labels = clustered(3, 100, 6, 1e-4)
    labels = np.append(labels, [3] * 9)
    points = np.append(points, np.random.default_rng(1).normal(size=(9, 6)), axis=0)
    asked = np.random.default_rng(2).permutation(309)[:250]
    held = Points(points, "euclidean")
    found = list(regions(held, asked))
    assert np.array_equal(np.sort(np.concatenate([some for _, some in found])), np.sort(asked))
    for center, some in found:
        if center is None:
            assert set(labels[some]) <= {3}
        else:
            (label,) = set(labels[some])
            assert np.array_equal(some, asked[labels[asked] == label])
            assert (points[labels == label] == center).all(axis=1).any()
    assert [center is None for center, _ in found] == [False] * 3 + [True]
    spread = Points(clustered(3, 100, 6, 1.0)[0], "euclidean")
    assert [center for center, _ in regions(spread, np.arange(300))] == [None]
    alone = np.flatnonzero(labels == 0)  # no other query shows that they are close together
    assert [center is None for center, _ in regions(held, alone)] == [True]
    assert [center is None for center, _ in regions(held, alone, 2.0)] == [False]


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_the_float64_bound_holds_up_to_the_end_of_every_list(distance):
    rng = np.random.default_rng(0)
    for dimension in (1, 5, 300):
        points = rng.normal(size=(80, dimension))
        points[0] *= 1e9
        points[1:9] = points[9]
        held = Points(points.astype(np.float32), distance)
        exact = exact_distances(held.rows(slice(None)), held.rows(slice(None)), distance)
        narrow = CoarseFrame(held, held, distance == "cosine")
        for frame in (narrow, narrow.widened(held, held, 7)):
            rows = frame.rows(held, slice(None))
            squares = (rows.astype(np.float64) ** 2).sum(axis=1)
            table = squares[:, None] + squares - 2 * (rows @ rows.T)
            if frame.inner_product:
                table = 1 - rows @ rows.T
            off = np.abs(table - exact * frame.unit)
            order = np.argsort(table, axis=1)
            for count in (1, 10, 79):
                some = order[:, :count]
                largest = np.take_along_axis(table, some, axis=1)[:, -1]
                bound = frame.errors(rows, largest)
                assert (np.take_along_axis(off, some, axis=1) <= bound[:, None]).all()
            start, slope = frame.errors_by_distance(rows)
            by_distance = start[:, None] + slope * table.clip(0)
            assert (off <= by_distance).all()
            for column in (0, 7, 79):
                assert (frame.errors(rows, table[:, column]) <= by_distance[:, column]).all()
        # The outlier widens no bound but its own.
        if distance == "euclidean":
            assert np.median(bound) < 1e-9 * frame.errors(rows).max()


@pytest.mark.parametrize("size", [60, 64])
def test_distances_on_a_coarse_grid_are_exact_products_of_float32(size):
    """Codes of ±1 and few values: the quick search knows every tie. A single odd point is seen."""
    rng = np.random.default_rng(0)
    for points in (
        np.sign(rng.normal(size=(size, 900))),
        rng.integers(-9, 9, (size, 30)) / 4 + 1000,
        np.nextafter(np.float32(1), rng.integers(0, 3, (size, 16)).astype(np.float32)),
    ):
        held = Points(points.astype(np.float32), "euclidean")
        frame = CoarseFrame(held, held, False).sharpened(held, held)
        assert frame.exact
        rows = frame.rows(held, slice(None), 16)
        assert rows.dtype == np.float32
        assert len(rows) == 64
        exact = exact_distances(held.rows(slice(None)), held.rows(slice(None)), "euclidean")
        searcher = TorchSearch(False, 2**16)
        part = searcher.load(rows, np.ones(size))
        found = np.concatenate([t for _, t in searcher.distances(searcher.queries(rows), part)])
        assert np.array_equal(found[:size], exact * frame.unit)
        wide = frame.widened(held, held, 6)
        searcher = WideSearch(False, 2**16, precision=wide.precision)
        parts = [(slice(0, size), searcher.load(wide.rows(held, slice(None)), np.ones(size)))]
        values, places = split_keys(searcher.keys(rows[:size], parts, size, size), size)
        assert wide.precision is np.float32
        assert np.array_equal(values, np.take_along_axis(exact * wide.unit, places, axis=1))
    for odd in (0.5, 1e-30, 1 + 1e-6):
        points = np.sign(rng.normal(size=(size, 900))).astype(np.float32)
        points[7, 5] = odd
        held = Points(points, "euclidean")
        assert CoarseFrame(held, held, False).sharpened(held, held).exact == (odd == 0.5)


def test_distances_on_a_grid_are_exact_products():
    rng = np.random.default_rng(0)
    for points in (
        rng.integers(-3, 4, (60, 9)),
        np.sign(rng.normal(size=(60, 200))) / 8,
        rng.integers(0, 256, (60, 30)).astype(np.uint8),
        rng.integers(0, 9, (60, 5)) + 2**20,
    ):
        held = Points(points, "euclidean")
        frame = CoarseFrame(held, held, False).widened(held, held, 6)
        assert frame.exact
        rows = frame.rows(held, slice(None))
        exact = exact_distances(held.rows(slice(None)), held.rows(slice(None)), "euclidean")
        searcher = WideSearch(False, 2**16)
        parts = [(slice(0, 60), searcher.load(rows, np.ones(60)))]
        values, places = split_keys(searcher.keys(rows, parts, 60, 60), 60)
        assert np.array_equal(values, np.take_along_axis(exact * frame.unit, places, axis=1))
    held = Points(rng.normal(size=(60, 9)), "euclidean")
    assert not CoarseFrame(held, held, False).widened(held, held, 6).exact
