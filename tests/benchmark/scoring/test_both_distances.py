"""Retrieval is measured by both distances; each is what a plain loop in float64 gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Command

from stt_bench.benchmark.config.evaluation_section import EvaluationConfig
from stt_bench.benchmark.scoring.evaluate import measure
from stt_bench.benchmark.store.embedding_set import EmbeddingSet, read_embedding_set
from stt_bench.benchmark.store.records import read_record

DISTANCES = ("euclidean", "cosine")


def lists(x: np.ndarray, distance: str) -> list[np.ndarray]:
    """Return for each query the other rows, nearest first; no two are equally far."""
    x = x.astype(np.float64)
    found = []
    for q, vector in enumerate(x):
        if distance == "euclidean":
            far = ((x - vector) ** 2).sum(axis=1)
        else:
            far = 1 - (x * vector).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (vector**2).sum())
        order = np.argsort(far)
        found.append(order[order != q])
    return found


def scores(order: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Return Recall@1 and MAP@R of a query, by their definitions."""
    hits = right[order].astype(float)
    r = int(hits.sum())
    precision = np.cumsum(hits[:r]) / np.arange(1, r + 1)
    return hits[0], float((hits[:r] * precision).sum() / r)


def set_of(x: np.ndarray, labels: list[str]) -> EmbeddingSet:
    count = len(labels)
    ids, roles = np.arange(count).astype(str), np.full(count, "both")
    return EmbeddingSet(x, np.array(labels), ids, roles, None, {})


# Two directions at two lengths: by cosine a and b are apart, by distance long and short are.
LENGTHS = np.array([[1, 0], [9, 1], [0, 1], [1, 9]], dtype=np.float32)


@pytest.mark.parametrize(("distance", "other"), [DISTANCES, DISTANCES[::-1]])
def test_lengths_count_for_one_distance_alone(distance: Any, other: str) -> None:
    config = EvaluationConfig(ks=[1], distance=distance, clustering=False)
    found = measure(set_of(LENGTHS, list("aabb")), config)
    # By distance (1, 0) and (0, 1) are each other's nearest; the long ones have a short one next.
    expected = {"cosine": 1.0, "euclidean": 0.5}
    assert found.metrics["recall@1"] == found.metrics["map@r"] == expected[distance]
    assert found.other is not None
    assert found.other.distance == other
    assert found.other.metrics["recall@1"] == found.other.metrics["map@r"] == expected[other]
    assert found.other.metrics.keys() == {"recall@1", "r_precision", "map@r", "mrr"}


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_record_holds_both_and_each_is_what_a_loop_gives(
    tiny: Path, tmp_path: Path, stt_bench: Command, distance: str
) -> None:
    where = ("--runs", tmp_path / "runs", "--results", tmp_path, "--quiet")
    ranked_by = ("--set", f"evaluation.distance={distance}", "--set", "train.steps=2")
    code, _, said = stt_bench("run", tiny, "--rows", "hard", *ranked_by, *where)
    assert code == 0, said
    record = read_record(tmp_path / "records/tiny/hard/seed-0.json")
    embedded = read_embedding_set(tmp_path / "runs/tiny/hard/seed-0/embeddings/test")
    labels = embedded.labels
    other = record.other_distance
    assert record.class_values is not None
    assert other is not None
    assert other.class_values is not None
    assert {distance, other.distance} == set(DISTANCES)
    measured = {
        distance: (record.metrics, record.class_values.metrics),
        other.distance: (other.metrics, other.class_values),
    }
    assert record.metrics["map@r"] != pytest.approx(other.metrics["map@r"], abs=1e-3)
    groups = record.class_values.groups
    for name, (metrics, shares) in measured.items():
        orders = lists(embedded.embeddings, name)
        loop = [scores(order, labels == labels[q]) for q, order in enumerate(orders)]
        for place, metric in enumerate(("recall@1", "map@r")):
            own = np.array([one[place] for one in loop])
            assert metrics[metric] == pytest.approx(own.mean(), abs=1e-12)
            by_class = [own[labels == group].sum() for group in groups]
            np.testing.assert_allclose(shares[metric].sums, by_class, atol=1e-9)
        without = []  # MAP@R with one class gone, as queries and from the lists
        for gone in groups:
            kept = labels != gone
            left = [
                scores(orders[q][kept[orders[q]]], labels == labels[q])
                for q in np.flatnonzero(kept)
            ]
            without.append(np.mean([map_at_r for _, map_at_r in left]))
        loss = np.mean(without) - np.array(without)
        values = metrics["map@r"] + (len(groups) - 1) * loss
        np.testing.assert_allclose(shares["map@r"].values, values, atol=1e-7)


def test_numbers_too_far_apart_for_one_distance_are_measured_by_the_other() -> None:
    x = np.array([[1e-200, 0], [1e-200, 1e-210], [0, 1e200], [1e190, 1e200]])
    config = EvaluationConfig(ks=[1], distance="cosine", clustering=False)
    found = measure(set_of(x, list("aabb")), config)
    assert found.metrics["recall@1"] == 1.0
    assert found.other is None


def test_eval_tells_both(tmp_path: Path, stt_bench: Command) -> None:
    np.save(tmp_path / "x.npy", LENGTHS)
    (tmp_path / "y.csv").write_text("a\na\nb\nb\n")
    given = ("eval", "--embeddings", tmp_path / "x.npy", "--labels", tmp_path / "y.csv")
    code, out, said = stt_bench(*given, "--no-clustering", "--ks", "1")
    assert code == 0, said
    shown = json.loads(out)
    assert (shown["distance"], shown["recall@1"]) == ("cosine", 1.0)
    assert shown["other_distance"]["distance"] == "euclidean"
    assert shown["other_distance"]["recall@1"] == 0.5


def test_a_record_of_many_classes_stays_small(tmp_path: Path) -> None:
    """Omniglot tests on 659 classes; numbers stand in lines, of few digits."""
    committed = Path(__file__).parents[1] / "records/digits_retrieval/angular/seed-0.json"
    record = read_record(committed)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(659 * 3, 8)).astype(np.float32)
    labels = [f"Alphabet_of_the_Magi/character{i // 3:02}" for i in range(len(x))]
    from stt_bench.benchmark.scoring.retrieval import shares_of_classes
    from stt_bench.benchmark.store.distances import OtherDistance
    from stt_bench.benchmark.system.progress import Reporter

    shares = shares_of_classes(
        set_of(x, labels), EvaluationConfig(), "cosine", Reporter(quiet=True)
    )
    assert shares is not None
    metrics = {name: shares.mean(name) for name in shares.metrics}
    other = OtherDistance(distance="cosine", metrics=metrics, class_values=shares.metrics)
    path = tmp_path / "seed-0.json"
    record.model_copy(update={"class_values": shares, "other_distance": other}).save(path)
    assert path.stat().st_size < 110_000
