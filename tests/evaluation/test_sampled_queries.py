"""A sample of the queries against the whole gallery: its numbers, its error and its memory."""

import numpy as np
import pytest
from clustered_points import clustered
from evaluation_reference import retrieval_reference

from stt_bench.evaluation import QueryScores, retrieval_metrics, retrieval_scores
from stt_bench.evaluation.coarse import TorchSearch
from stt_bench.evaluation.exact import Points

KS = (1, 3)


def example():
    points, labels = clustered(9, 5, 4, 1.2)
    labels[:2] = (100, 101)  # without a positive
    return points, labels


def drawn(scores):
    return np.flatnonzero(scores.scored)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_a_sample_equals_a_plain_loop_over_its_queries(distance):
    points, labels = example()
    scores = retrieval_scores(points, labels, ks=KS, distance=distance, sample=12, seed=3)
    some = drawn(scores)
    assert len(some) == 12
    assert not {0, 1} & set(some.tolist())
    own = dict(enumerate(some.tolist()))
    expected = retrieval_reference(
        points[some], labels[some], points, labels, own, ks=KS, distance=distance
    )
    found = retrieval_metrics(points, labels, ks=KS, distance=distance, sample=12, seed=3)
    expected |= {"queries_without_positive": 2, "sampled_from": 43}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    for name in scores.names:  # s √(1/n − 1/N), by hand
        values = scores.values[some, scores.names.index(name)].tolist()
        spread = sum((value - found[name]) ** 2 for value in values) / 11
        error = (spread * (1 / 12 - 1 / 43)) ** 0.5
        assert found[f"standard_error_{name}"] == pytest.approx(error)


def test_queries_keep_their_scores_and_larger_samples_hold_smaller_ones():
    points, labels = example()
    everything = retrieval_scores(points, labels, ks=KS)
    few, more, others = (
        retrieval_scores(points, labels, ks=KS, sample=count, seed=seed)
        for count, seed in ((8, 0), (20, 0), (8, 1))
    )
    for scores in (few, more, others):
        some = drawn(scores)
        assert (scores.values[some] == everything.values[some]).all()
    assert set(drawn(few)) < set(drawn(more))
    assert set(drawn(few)) != set(drawn(others))


@pytest.mark.parametrize("sample", [43, 1000])
def test_a_sample_of_all_queries_is_no_sample(sample):
    points, labels = example()
    assert retrieval_metrics(points, labels, sample=sample) == retrieval_metrics(points, labels)


def test_a_gallery_and_rules_may_stand_beside_it():
    points, labels = example()
    given = {
        "gallery": points[10:], "gallery_labels": labels[10:], "query_ids": np.arange(45),
        "gallery_ids": np.arange(10, 45), "query_groups": np.arange(45) % 3,
        "gallery_groups": np.arange(10, 45) % 3,
    }  # fmt: skip
    scores = retrieval_scores(points, labels, **given, sample=9)
    everything = retrieval_scores(points, labels, **given)
    some = drawn(scores)
    assert (scores.values[some] == everything.values[some]).all()
    assert scores.metrics()["sampled_from"] == everything.scored.sum()
    assert (
        scores.metrics()["queries_without_positive"]
        == everything.metrics()["queries_without_positive"]
    )


def test_two_standard_errors_hold_the_metric_of_all_queries_as_often_as_they_say():
    """Over 1,000 samples, and the estimate is that metric on average."""
    rng = np.random.default_rng(0)
    whole = rng.beta(2.0, 2.0, 400)
    within, means = 0, []
    for _ in range(1000):
        values = np.full((400, 1), np.nan)
        some = rng.permutation(400)[:100]
        values[some, 0] = whole[some]
        scores = QueryScores(("m",), values, np.arange(400), sampled_from=400)
        mean = scores.metrics()["m"]
        within += abs(mean - whole.mean()) <= 1.96 * scores.standard_errors()["m"]
        means.append(mean)
    assert 0.93 < within / 1000 < 0.97
    assert np.mean(means) == pytest.approx(whole.mean(), abs=0.003)


def test_what_a_sample_cannot_be():
    points, labels = example()
    with pytest.raises(ValueError, match="sample must be at least 2"):
        retrieval_metrics(points, labels, sample=1)
    with pytest.raises(ValueError, match="seed must be at least 0"):
        retrieval_metrics(points, labels, seed=-1)
    with pytest.raises(ValueError, match="no mean over classes"):
        retrieval_metrics(points, labels, sample=5, average="class")


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_float16_on_disk_is_read_in_blocks_and_equals_float32(distance, tmp_path, monkeypatch):
    """No block comes near the whole: 4,000 × 256 are 4 MiB in float32."""
    points, labels = clustered(1000, 4, 256, 0.8)
    half = points.astype(np.float16)
    np.save(tmp_path / "x.npy", half)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    expected = retrieval_metrics(half.astype(np.float32), labels, distance=distance, sample=50)
    read, held = Points._read, TorchSearch.load
    largest = {"read": 0, "loaded": 0}

    def reading(points, index):
        rows = read(points, index)
        largest["read"] = max(largest["read"], rows.nbytes)
        return rows

    def loading(search, rows, sizes):
        largest["loaded"] = max(largest["loaded"], rows.nbytes)
        return held(search, rows, sizes)

    monkeypatch.setattr(Points, "_read", reading)
    monkeypatch.setattr(TorchSearch, "load", loading)
    found = retrieval_metrics(mapped, labels, distance=distance, sample=50, memory_mib=2)
    assert found == expected
    assert 0 < largest["read"] <= 2**20
    assert 0 < largest["loaded"] <= 2**20
