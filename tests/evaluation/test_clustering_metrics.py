"""NMI, AMI and the chance floor, against scikit-learn and against simulation."""

import numpy as np
import pytest
from clustered_points import clustered
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information
from threadpoolctl import threadpool_limits

from stt_bench.evaluation import clustering, clustering_metrics
from stt_bench.evaluation.clustering import _agreement, expected_information
from stt_bench.evaluation.exact import Points
from stt_bench.evaluation.frames import CoarseFrame
from stt_bench.evaluation.kmeans import kmeans


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 12), st.integers(1, 12))
def test_agreement_equals_scikit_learn(seed, rows, classes, clusters):
    rng = np.random.default_rng(seed)
    _, labels = np.unique(rng.integers(0, classes, rows), return_inverse=True)
    found = rng.integers(0, clusters, rows) if seed % 3 else (labels * 7) % 1000
    nmi, ami, chance = _agreement(labels, found)
    assert nmi == pytest.approx(normalized_mutual_info_score(labels, found), abs=1e-10)
    degenerate = len(np.unique(found)) in (1, rows) or len(np.unique(labels)) in (1, rows)
    if not degenerate:
        assert ami == pytest.approx(adjusted_mutual_info_score(labels, found), abs=1e-7)
    assert 0 <= chance <= 1 + 1e-12


def test_expected_information_equals_scikit_learn():
    rng = np.random.default_rng(0)
    labels, found = rng.integers(0, 50, 700), rng.integers(0, 9, 700) ** 2
    table = contingency_matrix(labels, found)
    assert expected_information(table.sum(1), table.sum(0)) == pytest.approx(
        expected_mutual_information(table, 700), rel=1e-9
    )


@pytest.mark.parametrize("classes", [4, 100])
def test_the_chance_floor_is_the_mean_over_permutations(classes):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), 400 // classes)
    found = rng.integers(0, classes, 400)
    simulated = [normalized_mutual_info_score(rng.permutation(labels), found) for _ in range(300)]
    error = np.std(simulated) / np.sqrt(len(simulated))
    chance = _agreement(labels, np.unique(found, return_inverse=True)[1])[2]
    assert abs(np.mean(simulated) - chance) < 4 * error


def test_a_random_embedding_scores_the_floor_and_no_ami():
    points = np.random.default_rng(0).normal(size=(600, 16))
    scores = clustering_metrics(points, np.arange(600) % 150)
    assert scores["nmi_chance"] > 0.6
    assert scores["nmi"] == pytest.approx(scores["nmi_chance"], abs=0.02)
    assert scores["ami"] == pytest.approx(0.0, abs=0.05)
    assert scores["clusters"] == 150


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_separate_classes_are_found(distance):
    points, labels = clustered(3, 40, 32, 0.05)
    scores = clustering_metrics(points, labels, distance=distance, restarts=8)
    assert scores["nmi"] > 0.85
    assert scores["nmi_chance"] < 0.05
    assert set(scores) == {"nmi", "nmi_std", "ami", "nmi_chance", "clusters"}


def test_scores_are_means_over_restarts_of_their_own_seeds():
    points, labels = clustered(12, 15, 6, 0.6)
    seeds = np.random.SeedSequence(5).generate_state(4) >> 1
    assert len(set(seeds.tolist())) == 4
    scores = clustering_metrics(points, labels, restarts=4, seed=5)
    assert scores["nmi_std"] > 0
    assert clustering_metrics(points, labels, restarts=1, seed=5)["nmi_std"] == 0.0
    assert clustering_metrics(points, labels, restarts=4, seed=6) != scores
    assert clustering_metrics(points, labels, restarts=4, seed=5) == scores


def test_cosine_ignores_the_norms_and_euclidean_does_not():
    points, labels = clustered(5, 20, 8, 0.3)
    norms = 2.0 ** np.random.default_rng(0).integers(-6, 7, (100, 1))
    cosine = clustering_metrics(points, labels, distance="cosine")
    assert clustering_metrics(points * norms, labels, distance="cosine") == cosine
    assert clustering_metrics(points * norms, labels)["nmi"] < cosine["nmi"] - 0.1


def test_progress_goes_through_all_restarts():
    told = []
    clustering_metrics(
        *clustered(5, 20, 8, 0.4), restarts=3, progress=lambda *done: told.append(done)
    )
    assert told == sorted(told)
    assert told[0] == (0, 150)
    assert {(50, 150), (100, 150), (150, 150)} <= set(told)


def test_huge_and_tiny_norms_cluster_alike():
    points, labels = clustered(5, 20, 8, 0.4)
    scores = clustering_metrics(points, labels)
    for scale in (2.0**100, 2.0**-90):
        assert clustering_metrics(points * scale, labels) == scores


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e30])
def test_a_collapsed_embedding_is_one_cluster(distance, value):
    points = np.full((90, 7), value, np.float32)
    scores = clustering_metrics(points, np.arange(90) % 6, distance=distance)
    assert (scores["nmi"], scores["ami"], scores["nmi_chance"]) == (0.0, 0.0, 0.0)


def test_duplicated_points_leave_clusters_empty_without_harm():
    points = np.repeat(np.random.default_rng(0).normal(size=(5, 3)), 12, axis=0)
    labels = np.arange(60) % 20
    scores = clustering_metrics(points, labels)
    assert scores["clusters"] == 20
    assert 0 <= scores["nmi"] <= 1


def test_one_label_or_one_point_for_each_label_has_one_clustering():
    points = np.random.default_rng(0).normal(size=(30, 4))
    for labels in (np.zeros(30, int), np.arange(30)):
        scores = clustering_metrics(points, labels)
        assert (scores["nmi"], scores["ami"], scores["nmi_chance"]) == (1.0, 1.0, 1.0)


def test_every_point_gets_a_cluster_and_nothing_is_printed(capfd):
    points, labels = clustered(100, 3, 4, 1.0)
    assert kmeans(points, 100, seed=1)[0].shape == (300,)
    clustering_metrics(points, [f"class {label}" for label in labels])
    clustering_metrics(points[:2], [0, 1])
    assert capfd.readouterr() == ("", "")


def test_k_means_sees_every_point():
    """Its fixed point: each point belongs to the nearest mean of all the points assigned."""
    points = np.random.default_rng(0).normal(size=(3000, 1)).astype(np.float32)
    found, _ = kmeans(points, 2, seed=1)
    means = np.array([points[found == c].mean(dtype=np.float64) for c in (0, 1)])
    assert np.array_equal(np.abs(points - means).argmin(axis=1), found)


def test_the_standard_deviation_is_that_of_a_sample(monkeypatch):
    values = iter([(0.2, 0.1, 0.0), (0.6, 0.3, 0.2)])
    monkeypatch.setattr("stt_bench.evaluation.clustering._agreement", lambda *_: next(values))
    scores = clustering_metrics(np.eye(4), [0, 0, 1, 1], restarts=2)
    assert [scores[k] for k in ("nmi", "ami", "nmi_chance")] == pytest.approx([0.4, 0.2, 0.1])
    assert scores["nmi_std"] == pytest.approx(np.sqrt(0.08))


def test_the_start_is_that_of_the_settings():
    points, labels = clustered(40, 8, 16, 0.8)
    for start in ("random", "k-means++"):
        seed = int(np.random.SeedSequence(0).generate_state(1)[0] >> 1)
        frame = CoarseFrame(*[Points(points, "euclidean")] * 2, inner_product=False)
        rows = frame.rows(Points(points, "euclidean"), slice(None))
        nmi = _agreement(labels, kmeans(rows, 40, seed=seed, init=start)[0])[0]
        assert clustering_metrics(points, labels, restarts=1, start=start)["nmi"] == nmi


@pytest.mark.parametrize("start", ["random", "k-means++"])
@pytest.mark.parametrize("classes", [3, 40])
def test_scikit_learn_and_our_own_k_means_give_the_same_clusters(classes, start, monkeypatch):
    points, labels = clustered(classes, 12, 10, 0.7)
    expected = clustering_metrics(points, labels, start=start)
    monkeypatch.setattr(clustering, "FEW_CLUSTERS", 0)
    assert clustering_metrics(points, labels, start=start) == expected


def test_threads_change_no_cluster():
    """Enough points that scikit-learn would share them out."""
    points, labels = clustered(20, 150, 16, 1.5)
    found = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads):
            found.append(clustering_metrics(points, labels, restarts=2))
    assert found[0] == found[1] == found[2]
