"""k-means against a plain float64 loop, and against scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.metrics import normalized_mutual_info_score

from stt_bench.evaluation import clustering_metrics
from stt_bench.evaluation.kmeans import Lloyd, kmeans
from stt_bench.evaluation.kmeans_start import random_rows, spread_rows

CPU = torch.device("cpu")


def plain_lloyd(points, init, iterations):
    """Return the clusters after the plain iterations, and how near the nearest choice was.

    That is the difference of two squared distances as a share of (‖x‖ + ‖c‖)², the measure of
    what a float32 product can tell.
    """
    points, centroids = points.astype(np.float64), init.astype(np.float64)
    previous, closest = None, np.inf
    for updates in range(iterations + 1):
        distances = np.sqrt(((points[:, None] - centroids) ** 2).sum(axis=2))
        own = distances.argmin(axis=1)
        if len(init) > 1:
            two = np.partition(distances, 1, axis=1)[:, :2] ** 2
            norms = np.linalg.norm(points, axis=1) + np.linalg.norm(centroids, axis=1).max()
            closest = min(closest, float(((two[:, 1] - two[:, 0]) / norms**2).min()))
        if updates == iterations or (previous is not None and (own == previous).all()):
            break  # an empty cluster is filled only before an update
        members = [np.flatnonzero(own == cluster).tolist() for cluster in range(len(init))]
        gaps = distances[np.arange(len(points)), own]
        for cluster in range(len(init)):
            if members[cluster]:
                continue
            for row in np.argsort(-gaps, kind="stable"):
                if gaps[row] > 0 and len(members[own[row]]) > 1:
                    members[own[row]].remove(row)
                    members[cluster], own[row] = [row], cluster
                    break
        centroids = np.array(
            [points[m].mean(axis=0) if m else c for m, c in zip(members, centroids, strict=True)]
        )
        centroids = centroids.astype(np.float32).astype(np.float64)
        previous = own
    return own, closest


def clustered(classes, size, dimension, noise, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), size)
    points = rng.normal(size=(classes, dimension))[labels]
    points += noise * rng.normal(size=points.shape)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points.astype(np.float32), labels


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 80),
    st.integers(1, 12),
    st.integers(1, 20),
    st.integers(1, 12),
    st.booleans(),
)
@example(6596, 30, 2, 17, 1, True)  # a cluster is empty after the last update
def test_it_equals_the_plain_loop(seed, rows, dimension, clusters, iterations, far):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(rows, dimension)).astype(np.float32)
    if far:  # first centroids far away leave clusters empty
        init = (4 * rng.normal(size=(clusters, dimension))).astype(np.float32)
    else:
        init = points[rng.integers(0, rows, clusters)]
        init += rng.normal(scale=0.1, size=init.shape).astype(np.float32)
    expected, closest = plain_lloyd(points, init, iterations)
    own, centroids = kmeans(points, clusters, iterations=iterations, init=init)
    if closest > 1e-6:  # else the two may part for good
        assert own.tolist() == expected.tolist()
    distances = ((points[:, None].astype(float) - centroids) ** 2).sum(axis=2)
    chosen = distances[np.arange(rows), own]
    reach = np.linalg.norm(points, axis=1).max() + np.linalg.norm(centroids, axis=1).max()
    np.testing.assert_allclose(chosen, distances.min(axis=1), atol=1e-6 * reach**2)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 3), st.integers(1, 15))
def test_equally_near_first_centroids_go_by_their_number(seed, rows, dimension, clusters):
    rng = np.random.default_rng(seed)
    points = rng.integers(-2, 3, (rows, dimension)).astype(np.float32)
    init = rng.integers(-2, 3, (clusters, dimension)).astype(np.float32)
    lloyd = Lloyd(points, init, CPU)
    lloyd.run(0)
    expected = ((points[:, None] - init) ** 2).sum(axis=2).argmin(axis=1)
    assert lloyd.own.tolist() == expected.tolist()


@pytest.mark.parametrize("tile", [2**24, 700])
def test_scikit_learn_ends_in_the_same_clusters(tile, monkeypatch):
    monkeypatch.setattr("stt_bench.evaluation.kmeans.TILE", tile)
    points, labels = clustered(150, 6, 24, 0.6)
    init = random_rows(points, 150, 3)
    for iterations in (1, 4, 50):
        reference = KMeans(150, init=init, n_init=1, tol=0, max_iter=iterations).fit(points)
        own, centroids = kmeans(points, 150, iterations=iterations, init=init)
        assert (own == reference.labels_).all()
        np.testing.assert_allclose(centroids, reference.cluster_centers_, atol=1e-6)
        inertia = ((points - centroids[own]) ** 2).sum()
        assert inertia == pytest.approx(reference.inertia_, rel=1e-5)
        expected = normalized_mutual_info_score(labels, reference.labels_)
        assert normalized_mutual_info_score(labels, own) == expected


def test_scikit_learn_relocates_the_same_points():
    points, _ = clustered(30, 8, 10, 0.5)
    init = np.concatenate([points[:20], points[:10] + 50])
    reference = KMeans(30, init=init, n_init=1, tol=0, max_iter=30).fit(points)
    own, _ = kmeans(points, 30, iterations=30, init=init)
    assert len(np.unique(own)) == 30
    assert (own == reference.labels_).all()


def test_most_pairs_are_never_compared():
    points, _ = clustered(400, 8, 32, 0.5)
    lloyd = Lloyd(points, random_rows(points, 400, 0), CPU)
    lloyd.run(50)
    pairs = len(points) * 400
    assert 2 * pairs <= lloyd.compared < 5 * pairs
    own = lloyd.own.clone()
    assert (own.numpy() == kmeans(points, 400, init="random")[0]).all()
    gaps = torch.cdist(lloyd.points.double(), lloyd.centroids.double())
    nearest, rows = gaps.argmin(dim=1), torch.arange(len(own))
    assert torch.equal(nearest, own)
    gaps[rows, own] = torch.inf
    # The bounds hold: no other centroid is nearer than they say.
    assert (lloyd.rest <= gaps.amin(dim=1)).all()


def test_the_first_centroids_are_as_good_as_scikit_learns():
    points, _ = clustered(200, 5, 16, 0.6)

    def potential(chosen):
        return ((points[:, None] - chosen) ** 2).sum(axis=2).min(axis=1).sum()

    ours = [potential(spread_rows(points, 200, seed, CPU)) for seed in range(8)]
    theirs = [potential(kmeans_plusplus(points, 200, random_state=seed)[0]) for seed in range(8)]
    chance = [potential(random_rows(points, 200, seed)) for seed in range(8)]
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.02)
    assert np.mean(ours) < 0.9 * np.mean(chance)


def test_a_row_drawn_early_stands_by_its_new_distance(monkeypatch):
    """Three far groups of two: with one row of each chosen, the fourth is any of the others.

    Two rows are drawn at once for the third and fourth place. The old distances would make the
    fourth the neighbour of the third half of the time.
    """
    monkeypatch.setattr(np, "log", lambda _: -1)  # one trial: plain k-means++
    points = np.array([[0], [1], [1000], [1001], [2000], [2001]], np.float32)
    fourth = []
    for seed in range(1500):
        groups = spread_rows(points, 4, seed, CPU).ravel() // 1000
        assert len(set(groups[:3])) == 3
        fourth.append(groups[3] == groups[2])
    assert np.mean(fourth) == pytest.approx(1 / 3, abs=0.04)


@pytest.mark.parametrize("start", ["k-means++", "random"])
def test_first_centroids_are_distinct_rows(start):
    rng = np.random.default_rng(0)
    points = np.repeat(rng.normal(size=(12, 3)), 10, axis=0).astype(np.float32)
    points[:5] = 0.0
    points[5:10] = -0.0
    for clusters in (7, 12, 40):
        own, centroids = kmeans(points, clusters, init=start)
        assert len(np.unique(centroids, axis=0)) == min(clusters, 12)
        assert len(np.unique(own)) == min(clusters, 12)


@pytest.mark.parametrize("start", ["k-means++", "random"])
def test_the_seed_decides(start):
    points, _ = clustered(50, 6, 8, 0.8)
    one, again = (kmeans(points, 50, seed=4, init=start) for _ in range(2))
    assert one[0].tobytes() == again[0].tobytes()
    assert one[1].tobytes() == again[1].tobytes()
    assert (kmeans(points, 50, seed=5, init=start)[0] != one[0]).any()


def test_the_number_of_threads_changes_no_centroid():
    points, _ = clustered(300, 8, 16, 0.8)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(kmeans(points, 300, init=points[::8])[1].tobytes())
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1]


def test_one_cluster_and_a_cluster_for_each_point():
    points, _ = clustered(20, 3, 5, 0.5)
    own, centroids = kmeans(points, 1)
    assert (own == 0).all()
    np.testing.assert_allclose(centroids[0], points.astype(float).mean(axis=0), atol=1e-7)
    own, centroids = kmeans(points, 60)
    assert sorted(own) == list(range(60))
    assert (centroids[own] == points).all()


def test_collapsed_and_half_collapsed_points():
    assert kmeans(np.full((40, 3), 0.1), 5)[1].shape == (1, 3)
    # Wherever the first centroids are, the many equal points share one.
    rng = np.random.default_rng(0)
    points = np.concatenate([np.full((60, 8), 0.3), rng.normal(size=(60, 8))]).astype(np.float32)
    for seed in range(3):
        own, _ = kmeans(points, 10, seed=seed)
        assert len(set(own[:60])) == 1
        assert len(np.unique(own)) == 10


def test_equal_first_centroids_of_one_point_end_in_one_cluster():
    own, _ = kmeans(np.ones((9, 2)), 4, init=np.ones((4, 2)))
    assert (own == 0).all()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_any_norm_goes_through_clustering_metrics(scale):
    points, labels = clustered(20, 10, 12, 0.2)
    found = clustering_metrics(points * np.float32(scale), labels, start="k-means++")
    assert found["nmi"] > 0.95


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clusters": 0}, "clusters must be at least 1"),
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"init": "randon"}, "Unknown init 'randon': did you mean 'random'"),
        ({"init": np.eye(2)}, r"init must have shape \(2, 3\), not \(2, 2\)"),
        ({"points": np.full((4, 3), np.nan)}, "points holds values that are NaN"),
        ({"points": np.full((4, 3), -1e19)}, "points holds numbers as large as 1e[+]19, whose"),
        ({"init": np.full((2, 3), 1e25)}, "init holds numbers as large as 1e[+]25, whose"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        kmeans(**{"points": np.eye(4, 3), "clusters": 2, **arguments})


def test_numbers_near_the_largest_are_clustered_like_small_ones():
    points, _ = clustered(30, 8, 10, 0.5)
    init = random_rows(points, 30, 0)
    factor = np.float32(2.0**59)
    own, _ = kmeans(points * factor, 30, init=init * factor)
    assert (own == kmeans(points, 30, init=init)[0]).all()


def test_progress_counts_iterations_and_ends():
    points, _ = clustered(30, 8, 10, 0.5)
    told = []
    kmeans(points, 30, iterations=40, progress=lambda *done: told.append(done))
    done = [one for one, _ in told]
    assert done[:-1] == list(range(len(done) - 1))
    assert 2 < len(done) < 40
    assert told[-1] == (40, 40)
    assert {total for _, total in told} == {40}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_the_gpu_finds_the_same_clusters():
    points, _ = clustered(300, 6, 32, 0.4)
    init = random_rows(points, 300, 0)
    expected, centroids = kmeans(points, 300, init=init, device="cpu")
    own, there = kmeans(points, 300, init=init, device="cuda")
    assert (own == expected).all()
    assert (there == centroids).all()
    again = kmeans(points, 300, seed=1, device="cuda")[0]
    assert (kmeans(points, 300, seed=1, device="cuda")[0] == again).all()
