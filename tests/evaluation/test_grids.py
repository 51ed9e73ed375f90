"""Codes and other points of few distances: items are counted at each of them."""

import numpy as np
import pytest
from evaluation_reference import distance_table, retrieval_reference

from stt_bench.evaluation import grids, retrieval_metrics, retrieval_scores, search
from stt_bench.evaluation.coarse import TorchSearch
from stt_bench.evaluation.exact import Points, points_of
from stt_bench.evaluation.frames import CoarseFrame
from stt_bench.evaluation.gallery import Gallery
from stt_bench.evaluation.verification import verification_curve


def codes(size=300, dimension=16, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 20, size)
    flips = rng.random((size, dimension)) < 0.2
    centres = rng.choice([-1.0, 1.0], (20, dimension))
    return np.where(flips, -1, 1) * centres[labels], labels


def grid_of(points, queries=None, distance="euclidean", kept=True):
    size = len(points)
    both = (points,) if queries is None else (points, queries)
    held, asked = (points_of(distance, *both) * 2)[:2]
    assert isinstance(held, Points)
    gallery = Gallery(held, np.zeros(size, int), np.zeros(len(asked), int), np.full(len(asked), -1))
    frame = CoarseFrame(asked, gallery.points, False).sharpened(asked, gallery.points)
    frame = frame.widened(asked, gallery.points, 10)
    return grids.grid_of(frame, asked, gallery, kept), frame


@pytest.mark.parametrize("scale", [1.0, 2.0**-40, 2.0**40])
@pytest.mark.parametrize("kind", ["codes", "bits", "offset", "halves"])
def test_all_distances_are_multiples_of_the_square_of_the_spacing(kind, scale):
    points, _ = codes()
    spacing, most = {"codes": (2, 16), "bits": (1, 16), "offset": (2, 16), "halves": (0.5, 36)}[
        kind
    ]
    if kind == "bits":
        points = (points > 0).astype(np.float32)
    elif kind == "offset":
        points = points + 1000
    elif kind == "halves":
        points = np.random.default_rng(0).integers(0, 4, (300, 4)) / 2
    grid, frame = grid_of(points * scale)
    assert grid.square == (spacing * scale) ** 2 * frame.unit
    assert grid.distances == 1 + most
    table = np.array(distance_table(points[:20], points, "euclidean")) / spacing**2
    assert (table == np.rint(table)).all()
    assert table.max() <= most


def test_where_many_distances_are_possible_nothing_is_counted(monkeypatch):
    points, _ = codes()
    points[7, 3] = 1.5  # of steps of a half: 25 and 15 · 16
    assert grid_of(points)[0] is None
    assert grid_of(np.random.default_rng(0).normal(size=(300, 16)))[0] is None
    assert grid_of(np.arange(300.0)[:, None])[0] is None
    points, _ = codes()
    assert grid_of(points, points[:9] * 9)[0] is None  # the queries are farther
    assert grid_of(points, points[:9])[0].distances == 17
    assert grid_of(points, distance="cosine")[0].distances == 17
    assert grid_of(np.ones((300, 5)))[0] is None  # one point
    assert grid_of(points, kept=False)[0] is None
    monkeypatch.setattr(grids, "FEW_SHARE_READ", 1 / 4)
    assert grid_of(points, kept=False)[0].distances == 17


@pytest.mark.parametrize("backend", ["torch-cpu", "faiss-cpu", "dense"])
@pytest.mark.parametrize("dimension", [24, 48])
def test_equal_cosines_of_codes_are_ties(dimension, backend):
    """Whatever the order of the coordinates and the scale: as by Euclidean distance."""
    points, labels = codes(dimension=dimension)
    expected = retrieval_scores(points, labels, backend="dense").values.tobytes()
    shuffled = points[:, np.random.default_rng(3).permutation(dimension)]
    for given in (points, points.astype(np.int8), 3 * points, shuffled):
        found = retrieval_scores(given, labels, distance="cosine", backend=backend)
        assert found.values.tobytes() == expected
    apart = {"gallery": points, "gallery_labels": labels, "backend": backend}
    found = retrieval_scores(points[:99], labels[:99], distance="cosine", **apart)
    expected = retrieval_scores(points[:99], labels[:99], **apart)
    assert found.values.tobytes() == expected.values.tobytes()


@pytest.mark.parametrize("backend", ["torch-cpu", "faiss-cpu", "dense"])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("step", [0.1, 200**-0.5, 1e30, 3e-200])
def test_codes_of_any_step_have_the_ties_of_codes_of_one(step, distance, backend):
    """The square of a step is rounded, and its sums part what is equally far."""
    points, labels = codes(dimension=200)
    expected = retrieval_scores(points, labels, backend="dense").values.tobytes()
    settings = {"distance": distance, "backend": backend}
    for kind in (np.float64, np.float32):
        if kind is np.float64 or abs(np.log10(step)) < 35:
            given = (step * points).astype(kind)
            assert retrieval_scores(given, labels, **settings).values.tobytes() == expected
    zeros = points * (np.random.default_rng(1).random(points.shape) < 0.7)
    zeros[0] = 0
    expected = retrieval_scores(zeros, labels, backend="dense", distance=distance).values.tobytes()
    assert retrieval_scores(step * zeros, labels, **settings).values.tobytes() == expected
    one_odd = step * points
    one_odd[-1, -1] = np.nextafter(one_odd[-1, -1], 0)
    found = retrieval_scores(one_odd, labels, **settings)
    apart = retrieval_scores(one_odd, labels, distance=distance, backend="dense")
    assert found.values.tobytes() == apart.values.tobytes()


@pytest.mark.parametrize("step", [0.1, 3.0])
def test_pairs_of_codes_are_accepted_by_their_distance(step):
    points, labels = codes(size=60, dimension=24)
    curve = verification_curve(step * points, labels)
    same = (labels[:, None] == labels) & ~np.eye(60, dtype=bool)
    flipped = np.unique((points[:, None] != points).sum(axis=2)[same])
    assert curve.thresholds == pytest.approx(flipped * (2 * step) ** 2, rel=1e-14)


@pytest.mark.parametrize("kind", [np.int8, np.float64])
def test_pairs_of_codes_are_accepted_by_their_cosine(kind):
    points, labels = codes(size=60, dimension=24)
    curve = verification_curve(points.astype(kind) * 3, labels, distance="cosine")
    same = (labels[:, None] == labels) & ~np.eye(60, dtype=bool)
    cosines = np.unique((points @ points.T)[same])[::-1] / 24
    assert curve.thresholds == pytest.approx(1 - cosines, abs=1e-15)


def test_rules_are_not_asked_of_all_pairs(monkeypatch):
    points, labels = codes()
    groups = np.random.default_rng(1).integers(0, 3, 300)
    given = {"query_groups": groups, "groups_apply_to": "label"}
    expected = retrieval_scores(points, labels, **given, backend="dense").values.tobytes()
    monkeypatch.setattr(search, "count_at_distances", None)
    found = retrieval_scores(points, labels, **given, backend="torch-cpu")
    assert found.values.tobytes() == expected


@pytest.mark.parametrize("kibibytes", [4, 64, 2**18])
@pytest.mark.parametrize("queries", ["all", "some"])
def test_counts_at_distances_equal_the_loops(queries, kibibytes, monkeypatch):
    """By gallery parts and blocks of queries of any size; rows of the same code are many."""
    points, labels = codes()
    points[250:] = points[:50]
    monkeypatch.setattr(grids, "FEW_SHARE_READ", 1 / 4)
    monkeypatch.setattr(search, "LISTED", 10**9)  # no narrow search, whatever the class
    counted, count = [], search.count_at_distances
    monkeypatch.setattr(
        search, "count_at_distances", lambda *given: counted.append(len(given[3])) or count(*given)
    )
    given = {"ks": (1, 3, 40)}
    x, y = points, labels
    if queries == "some":
        x, y = points[100:200], labels[100:200]
        given |= {"gallery": points, "gallery_labels": labels}
        given |= {"query_ids": range(100, 200), "gallery_ids": range(300)}
        expected = retrieval_reference(
            x, y, points, labels, {row: row + 100 for row in range(100)}, ks=(1, 3, 40)
        )
    else:
        expected = retrieval_reference(x, y, ks=(1, 3, 40))
    monkeypatch.setattr("stt_bench.evaluation.retrieval.MIB", kibibytes * 1024)
    assert retrieval_metrics(x, y, **given, memory_mib=1) == pytest.approx(expected, abs=1e-12)
    assert sum(counted) == len(x)
    assert (len(counted) > 1) == (kibibytes < 2**18)


def test_of_many_distances_few_queries_are_counted_at_once(monkeypatch):
    """So that a float32 holds the number of each cell, of whatever part of a gallery."""
    points = np.random.default_rng(0).integers(0, 101, (60, 1)).astype(np.float32)
    points[:2] = [[0], [100]]
    labels = np.arange(60) % 7
    expected = retrieval_scores(points, labels, backend="dense").values.tobytes()
    monkeypatch.setattr(grids, "FEW_SHARE", 10.0**4)
    monkeypatch.setattr(search, "LISTED", 10**9)
    cells, count = [], np.bincount

    def counted(places, weights=None, minlength=0):
        cells.append(minlength)
        return count(places, weights, minlength)

    monkeypatch.setattr(np, "bincount", counted)
    found = retrieval_scores(points, labels, backend="torch-cpu")
    assert found.values.tobytes() == expected
    assert 10_001 < max(cells) <= grids.CELLS


@pytest.mark.parametrize("off", ["all are halves", "one is below 0", "one is too far"])
def test_distances_that_are_not_exact_are_not_believed(off, monkeypatch):
    points, labels = codes()
    expected = retrieval_scores(points, labels, backend="dense").values.tobytes()
    honest, asked = TorchSearch.distances, []

    def wrong(self, queries, part):
        for block, table in honest(self, queries, part):
            asked.append(block)
            if off == "all are halves":
                table /= 2
            else:
                table[0, 1] = -1 if off == "one is below 0" else 1000
            yield block, table

    monkeypatch.setattr(TorchSearch, "distances", wrong)
    assert retrieval_scores(points, labels, backend="torch-cpu").values.tobytes() == expected
    assert asked


def test_more_items_than_one_number_holds_are_not_counted(monkeypatch):
    points, labels = codes()
    expected = retrieval_metrics(points, labels, backend="dense")
    monkeypatch.setattr(grids, "POSITIVE", 256.0)
    assert grid_of(points)[0] is None
    assert retrieval_metrics(points, labels) == expected
