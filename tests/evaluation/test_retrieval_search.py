"""Every way of searching gives the same bits, within its memory."""

import tracemalloc

import numpy as np
import pytest
import torch
from clustered_points import clustered
from evaluation_reference import retrieval_reference

from stt_bench.evaluation import (
    chosen_backend,
    coarse,
    retrieval,
    retrieval_metrics,
    retrieval_scores,
    search,
)
from stt_bench.evaluation.backends import faiss_gpus, full_precision
from stt_bench.evaluation.coarse import TorchSearch
from stt_bench.evaluation.exact import Points, exact_distances
from stt_bench.evaluation.frames import CoarseFrame
from stt_bench.evaluation.levels import Level
from stt_bench.evaluation.search import NeighborSearch


def tight_pairs():
    """Spread far below the norm: the float32 pass cannot tell these neighbours apart."""
    rng = np.random.default_rng(0)
    points = np.sign(rng.normal(size=(2, 1, 16))) + 1e-6 * rng.normal(size=(2, 100, 16))
    return points.reshape(200, 16).astype(np.float32), rng.integers(0, 25, 200)


def grid():
    rng = np.random.default_rng(0)
    return rng.integers(0, 3, (250, 5)).astype(np.float32), rng.integers(0, 40, 250)


def fine_grid():
    rng = np.random.default_rng(0)
    return rng.integers(0, 40, (250, 5)).astype(np.float32), rng.integers(0, 40, 250)


def outlier():
    points, labels = clustered(30, 8, 8, 1.0)
    points[0] = 1e12
    return points, labels


CASES = {
    "clear": lambda: clustered(30, 8, 8, 0.3),
    "hopeless": lambda: clustered(60, 4, 16, 50.0),
    "mixed sizes": lambda: (clustered(1, 250, 8, 1.0)[0], np.sqrt(np.arange(250)).astype(int)),
    "grid": grid,
    "fine grid": fine_grid,
    "tight pairs": tight_pairs,
    "outlier": outlier,
    "collapsed": lambda: (np.ones((200, 4), np.float32), np.arange(200) % 40),
    "half zero": lambda: (np.maximum(0, clustered(30, 8, 2, 9.0)[0]), clustered(30, 8, 2, 9.0)[1]),
}


@pytest.fixture
def short_lists(monkeypatch):
    """Lists of a few points although the gallery is small, from a search that groups them."""
    monkeypatch.setattr(search, "SPARE", 2)
    monkeypatch.setattr(search, "LISTED", 1e-9)
    monkeypatch.setattr(coarse, "SORTED_SHARE", 1.0)
    monkeypatch.setattr(coarse, "GROUPS_WORTH", 0)
    monkeypatch.setattr(coarse, "GROUP", 2)


def test_backends_agree_to_the_bit(case, distance):
    points, labels = CASES[case]()
    expected = retrieval_metrics(points, labels, distance=distance, backend="dense")
    for backend in ("faiss-cpu", "torch-cpu", "auto"):
        assert retrieval_metrics(points, labels, distance=distance, backend=backend) == expected


@pytest.mark.parametrize("kibibytes", [8, 64, 2**18])
def test_lists_and_memory_budgets_agree_to_the_bit(
    case, distance, kibibytes, short_lists, monkeypatch
):
    points, labels = CASES[case]()
    expected = retrieval_metrics(points, labels, distance=distance, backend="dense")
    monkeypatch.setattr(retrieval, "MIB", kibibytes * 1024)
    for backend in ("faiss-cpu", "torch-cpu", "dense"):
        found = retrieval_metrics(points, labels, distance=distance, backend=backend, memory_mib=1)
        assert found == expected


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames and "wide" not in metafunc.fixturenames:
        metafunc.parametrize("case", CASES)
        metafunc.parametrize("distance", ["euclidean", "cosine"])


def test_the_grid_equals_the_loops(short_lists):
    points, labels = (array[:120] for array in grid())
    expected = retrieval_reference(points, labels)
    for backend in ("faiss-cpu", "torch-cpu", "dense"):
        assert retrieval_metrics(points, labels, backend=backend) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("case", "distance", "wide", "counted", "at_distances"),
    [
        ("clear", "euclidean", False, False, False),
        ("hopeless", "euclidean", False, True, False),
        ("hopeless", "cosine", False, True, False),
        ("grid", "euclidean", False, True, True),
        ("fine grid", "euclidean", True, True, False),
        ("tight pairs", "euclidean", True, True, False),
        ("half zero", "cosine", True, True, False),
    ],
)
def test_each_way_is_taken_where_it_is_due(
    case, distance, wide, counted, at_distances, short_lists, monkeypatch
):
    """Without this, the agreement above could come from one way alone."""
    passes, counts, grids = [], [], []
    blocks, count = NeighborSearch._blocks, search.count_nearer
    on_grid = search.count_at_distances
    monkeypatch.setattr(
        search, "count_at_distances", lambda *given: grids.append(given) or on_grid(*given)
    )
    monkeypatch.setattr(
        NeighborSearch,
        "_blocks",
        lambda *given: passes.append(given[2] is given[0].wide) or blocks(*given),
    )
    monkeypatch.setattr(
        search, "count_nearer", lambda *given: counts.append(given) or count(*given)
    )
    retrieval_metrics(*CASES[case](), distance=distance, backend="torch-cpu")
    assert (any(passes), bool(counts), bool(grids)) == (wide, counted, at_distances)


@pytest.mark.parametrize("kibibytes", [4, 16, 2**18])
@pytest.mark.parametrize("backend", ["faiss-cpu", "torch-cpu"])
@pytest.mark.parametrize("noise", [1.0, 50.0])
def test_a_coarse_pass_outside_its_bound_is_not_believed(
    backend, kibibytes, noise, short_lists, monkeypatch
):
    """As of a GPU that multiplies in reduced precision: in lists, and where it counts."""
    points, labels = clustered(60, 5, 16, noise)
    expected = retrieval_metrics(points, labels, backend="dense")
    honest = CoarseFrame.rows

    def rounded(self, points, index, *group):
        return honest(self, points, index, *group).astype(np.float16).astype(np.float32)

    monkeypatch.setattr(CoarseFrame, "rows", rounded)
    monkeypatch.setattr(retrieval, "MIB", kibibytes * 1024)
    told = []
    found = retrieval_metrics(
        points, labels, backend=backend, memory_mib=1, progress=lambda *done: told.append(done)
    )
    assert found == expected
    assert told[-1] == (300, 300)


def test_a_count_that_misses_the_nearest_positive_is_not_believed(short_lists, monkeypatch):
    points, labels = clustered(60, 4, 16, 50.0)
    expected = retrieval_metrics(points, labels, backend="dense")
    honest = TorchSearch.nearer

    def shifted(self, queries, part, low, high):
        return honest(self, queries, part, low + 1, high + 1)

    monkeypatch.setattr(TorchSearch, "nearer", shifted)
    assert retrieval_metrics(points, labels, backend="torch-cpu") == expected


def test_a_count_that_misses_the_ties_on_a_grid_is_not_believed(short_lists, monkeypatch):
    points, labels = fine_grid()
    expected = retrieval_metrics(points, labels, backend="dense")
    honest, asked = TorchSearch.counts, []

    def shifted(self, queries, part, at):
        asked.append(len(at))
        return honest(self, queries, part, np.nextafter(at, -1))

    monkeypatch.setattr(TorchSearch, "counts", shifted)
    assert retrieval_metrics(points, labels, backend="torch-cpu") == expected
    assert asked


def test_the_precision_of_the_process_is_not_touched():
    points, labels = clustered(30, 8, 8, 0.3)
    libraries = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    before = [library.fp32_precision for library in libraries]
    try:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        retrieval_metrics(points, labels)
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
        with full_precision():
            assert {library.fp32_precision for library in libraries} == {"ieee"}
    finally:
        for library, precision in zip(libraries, before, strict=True):
            library.fp32_precision = precision


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("dimension", [1, 2, 3, 7, 8, 33, 64])
def test_exact_distances_do_not_depend_on_the_block(dimension, distance):
    rng = np.random.default_rng(dimension)
    left, right = rng.normal(size=(21, dimension)), rng.normal(size=(67, dimension))
    table = exact_distances(left, right, distance)
    assert np.array_equal(table, exact_distances(right, left, distance).T)
    for i in range(len(left)):
        some = rng.permutation(67)[: rng.integers(1, 67)]
        alone = exact_distances(left[i : i + 1], right[some], distance)[0]
        assert np.array_equal(alone, table[i, some])


def coarse_distances(frame, queries, gallery):
    """(Q, G), in the order of the gallery."""
    searcher = TorchSearch(frame.inner_product, 2**16)
    part = searcher.load(gallery, np.ones(len(gallery)))
    table = np.empty((len(queries), len(gallery)))
    for block, values, places in searcher.nearest(searcher.queries(queries), part, len(gallery)):
        np.put_along_axis(table[block], places, values, axis=1)
    return table


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1.0, 1e30])
def test_the_float32_bound_holds(distance, offset, scale):
    rng = np.random.default_rng(0)
    for dimension in (1, 4, 100, 700):
        spread = np.exp(rng.normal(size=(90, 1), scale=2))
        points = (rng.normal(size=(90, dimension)) * spread + offset) * scale
        points[:4] = points[4]
        points[5] = 0
        with np.errstate(under="ignore"):
            held = Points(points.astype(np.float32), distance)
        frame = CoarseFrame(held, held, distance == "cosine")
        rows = frame.rows(held, slice(None))
        exact = exact_distances(held.rows(slice(None)), held.rows(slice(None)), distance)
        coarse = coarse_distances(frame, rows, rows)
        assert np.isfinite(coarse).all()
        assert (np.abs(coarse - exact * frame.unit) <= frame.errors(rows)[:, None]).all()
        # Coordinates lie in [−1, 1], so squared distances reach 4D: the bound is a small part.
        assert frame.errors(rows).max() <= 1.01 * 4 * dimension * (dimension + 16) * 2.0**-24


def test_the_float32_bound_covers_underflow():
    """One far query leaves the gallery so small in the frame that its squares underflow."""
    near = np.random.default_rng(0).normal(size=(80, 6)).astype(np.float32)
    for far in (1e20, 1e22, 1e30):
        queries = Points(np.concatenate([near, np.full((1, 6), far, np.float32)]), "euclidean")
        gallery = Points(near, "euclidean")
        frame = CoarseFrame(queries, gallery, inner_product=False)
        rows = frame.rows(queries, slice(80))
        exact = exact_distances(queries.rows(slice(80)), gallery.rows(slice(None)), "euclidean")
        coarse = coarse_distances(frame, rows, frame.rows(gallery, slice(None)))
        assert (np.abs(coarse - exact * frame.unit) <= frame.errors(rows)[:, None]).all()


@pytest.mark.parametrize("backend", ["faiss-cpu", "torch-cpu", "dense"])
@pytest.mark.parametrize("kind", ["clear", "hopeless", "codes"])
def test_memory_stays_far_below_all_pairs(backend, kind, monkeypatch):
    """numpy's memory as it is traced, torch's as the tables that it fills."""
    points, labels = clustered(1000, 4, 16, 50.0 if kind == "hopeless" else 1.5)
    if kind == "codes":
        points, labels = np.sign(points), np.arange(len(points)) % 3
    pairs = len(points) ** 2 * 8
    tiles = TorchSearch._tiles

    def watched(self, *given, **settings):
        for block, table in tiles(self, *given, **settings):
            assert table.nbytes <= self.tile_bytes == 2**20
            yield block, table

    monkeypatch.setattr(TorchSearch, "_tiles", watched)
    tracemalloc.start()
    scores = retrieval_metrics(points, labels, backend=backend, memory_mib=4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0 < scores["recall@1"] < 1
    assert peak < pairs / 10


def test_more_items_are_counted_than_float32_holds():
    """One point stands for 2²⁴ items, and another for one more."""
    sizes = np.array([2**24, 1, 5])
    searcher = TorchSearch(inner_product=False, tile_bytes=2**16)
    part = searcher.load(np.array([[0.0], [1.0], [9.0]], np.float32), sizes)
    held = searcher.queries(np.zeros((1, 1), np.float32))
    low, high = np.array([[4.0], [5.0]], np.float32)
    ((_, counts, *_),) = searcher.nearer(held, part, low, high)
    assert counts.tolist() == [2**24 + 1]


def test_the_backend_is_described():
    assert chosen_backend("dense") == "dense float64"
    assert chosen_backend("faiss-cpu") == "faiss-cpu flat"
    assert chosen_backend("torch-cpu") == "torch-cpu flat"
    best = "torch-cuda" if torch.cuda.is_available() else "torch-cpu"
    assert chosen_backend() == chosen_backend(best)


@pytest.mark.gpu
@pytest.mark.skipif(not faiss_gpus(), reason="FAISS sees no GPU: needs faiss-gpu and a device")
def test_faiss_on_the_gpu_agrees_to_the_bit(case, distance, short_lists):
    points, labels = CASES[case]()
    expected = retrieval_metrics(points, labels, distance=distance, backend="dense")
    assert retrieval_metrics(points, labels, distance=distance, backend="faiss-gpu") == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_torch_on_the_gpu_agrees_to_the_bit(case, distance, short_lists):
    points, labels = CASES[case]()
    expected = retrieval_metrics(points, labels, distance=distance, backend="dense")
    assert retrieval_metrics(points, labels, distance=distance, backend="torch-cuda") == expected


@pytest.mark.parametrize(
    ("each", "dimension", "apart", "wide"),
    [
        (100, 128, 0, True),  # lists of a tenth of the gallery are sorted sooner all together
        (4, 600, 0, False),  # short lists
        (4, 600, 1e4, True),  # two halves so far apart that float32 leaves most orders open
    ],
)
def test_the_cheaper_search_is_taken(each, dimension, apart, wide, monkeypatch):
    """Of 1,000 items most are searched by the one way or by the other."""
    asked = {True: 0, False: 0}
    taken = NeighborSearch._pass

    def counted(self, level, pending, *more):
        asked[level is self.wide] += len(pending)
        return taken(self, level, pending, *more)

    monkeypatch.setattr(NeighborSearch, "_pass", counted)
    points, labels = clustered(1000 // each, each, dimension, 1.0)
    points[: len(points) // 2] += apart
    points[len(points) // 2 :] -= apart
    retrieval_metrics(points, labels, backend="torch-cpu")
    assert (asked[True] > asked[False]) == wide


@pytest.mark.parametrize("copied", [1, 2])
def test_single_positives_that_lists_miss_are_counted_at_once(copied, monkeypatch):
    """Of pairs in noise, a few queries show that lists find nothing."""
    listed = []
    taken = NeighborSearch._pass

    def seen(self, level, pending, *more):
        listed.append(len(pending))
        return taken(self, level, pending, *more)

    monkeypatch.setattr(NeighborSearch, "_pass", seen)
    points = np.random.default_rng(0).normal(size=(1600, 256)).repeat(copied, axis=0)
    labels = np.random.default_rng(1).permutation(np.arange(len(points)) // 2)
    found = retrieval_metrics(points, labels, backend="torch-cpu")
    assert sum(listed) < 200
    assert found == retrieval_metrics(points, labels, backend="dense")


def test_the_gallery_is_not_read_once_more_for_a_few_short_lists(monkeypatch):
    """Beside 880 items of one class, whose lists are wide, there are 60 pairs."""
    wide = []
    taken = NeighborSearch._pass

    def seen(self, level, pending, *more):
        wide.append(level is self.wide or not len(pending))
        return taken(self, level, pending, *more)

    monkeypatch.setattr(NeighborSearch, "_pass", seen)
    points, _ = clustered(10, 100, 600, 1.0)
    labels = np.maximum(np.arange(1000) - 880, -1) // 2
    found = retrieval_metrics(points, labels, backend="torch-cpu")
    assert all(wide)
    assert found == retrieval_metrics(points, labels, backend="dense")


def test_lists_of_which_none_is_certain_are_made_anew(monkeypatch):
    """Two halves far apart, and no patience to compare what float32 leaves open."""
    monkeypatch.setattr(NeighborSearch, "_patience", lambda _: 0)
    points, labels = clustered(250, 4, 600, 1.0)
    points[: len(points) // 2] += 1e4
    points[len(points) // 2 :] -= 1e4
    found = retrieval_metrics(points, labels, backend="torch-cpu")
    assert found == retrieval_metrics(points, labels, backend="dense")


def test_a_query_far_from_its_own_row_is_left_out_where_it_stands():
    """Without ties, and with another embedding as a query than in the gallery."""
    points, labels = clustered(10, 12, 8, 1.0)
    queries = np.random.default_rng(1).normal(size=points.shape)
    ids = np.arange(len(points))
    given = {"gallery": points, "gallery_labels": labels, "query_ids": ids, "gallery_ids": ids}
    ours = retrieval_scores(queries, labels, **given, metrics=["map", "map@r", "mrr"])
    for query, values in enumerate(ours.values):
        order = np.argsort(((points - queries[query]) ** 2).sum(axis=1))
        hits = labels[order[order != query]] == labels[query]
        ranks = np.flatnonzero(hits) + 1
        precision = np.arange(1, len(ranks) + 1) / ranks
        within = precision[ranks <= len(ranks)].sum() / len(ranks)
        assert values == pytest.approx([within, 1 / ranks[0], precision.mean()])


@pytest.mark.parametrize("kind", ["noise", "tight"])
def test_a_gallery_that_is_not_kept_is_read_once_for_few_queries(kind, monkeypatch):
    """Neither a probe reads it once more, nor queries whose positive lies far down a list."""
    reads = []
    parts = Level.parts
    monkeypatch.setattr(Level, "parts", lambda level: reads.append(level) or parts(level))
    monkeypatch.setattr(retrieval, "MIB", 2**14)
    rng = np.random.default_rng(0)
    labels = np.maximum(np.arange(2000) - 1600, -1) // 2
    points = rng.normal(size=(2000, 600))
    if kind == "tight":
        points = points[labels] + 1e-3 * points
    asked = np.sort(rng.choice(2000, 300, replace=False))
    problem = {
        "gallery": points,
        "gallery_labels": labels,
        "query_ids": asked,
        "gallery_ids": np.arange(2000),
    }
    few = retrieval_scores(
        points[asked], labels[asked], memory_mib=1100, **problem, backend="torch-cpu"
    )
    assert len(reads) == 1
    dense = retrieval_scores(points[asked], labels[asked], **problem, backend="dense")
    assert few.values.tobytes() == dense.values.tobytes()
