"""Weights selected on a part of the training items, never on the test split."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from stt_bench.benchmark.config.sections import DataConfig
from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.datasets.held_out import hold_out
from stt_bench.benchmark.datasets.image_set import image_set
from stt_bench.benchmark.embedding.embed import embed
from stt_bench.benchmark.store.embedding_set import read_embedding_set
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.suite.before import check_fits
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import read_json
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.train import train
from stt_bench.benchmark.training.validation import Selection

QUIET = Reporter(quiet=True)
SIZES = st.lists(st.integers(2, 12), min_size=2, max_size=8)


def frame_of(sizes: list[int]) -> pd.DataFrame:
    labels = [f"c{i}" for i, n in enumerate(sizes) for _ in range(n)]
    train = pd.DataFrame({"label": labels, "split": "train"})
    test = pd.DataFrame({"label": labels, "split": "test"})
    frame = pd.concat([train, test], ignore_index=True)
    return frame.assign(path=[str(i) for i in range(len(frame))], role="both")


@given(SIZES.filter(lambda sizes: len(sizes) > 2), st.floats(0.05, 0.9))
def test_retrieval_holds_out_whole_classes(sizes: list[int], share: float) -> None:
    before = frame_of(sizes)
    after = hold_out(before, "retrieval", share)
    pd.testing.assert_frame_equal(after.drop(columns="split"), before.drop(columns="split"))
    parts = {name: set(part["label"]) for name, part in after.groupby("split")}
    assert not parts["train"] & parts["validation"]
    wanted = max(2, share * len(sizes))  # of one class every metric is 100
    assert abs(len(parts["validation"]) - wanted) <= 1
    assert 2 <= len(parts["validation"]) < len(sizes)
    assert (after["split"] == "test").tolist() == (before["split"] == "test").tolist()
    pd.testing.assert_frame_equal(hold_out(before, "retrieval", share), after)


@given(SIZES, st.floats(0.01, 0.9))
def test_classification_holds_out_images_of_every_class(sizes: list[int], share: float) -> None:
    after = hold_out(frame_of(sizes), "classification", share)
    for label, n in enumerate(sizes):
        own = after[(after["label"] == f"c{label}") & (after["split"] != "test")]["split"]
        assert (own == "validation").sum() == min(max(2, round(share * n)), n - 1)


def test_a_part_that_cannot_be_is_told() -> None:
    with pytest.raises(BenchError, match="every training class has one item"):
        hold_out(frame_of([1, 1]), "classification", 0.1)
    with pytest.raises(BenchError, match="needs three training classes"):
        hold_out(frame_of([5]), "retrieval", 0.3)


def selecting(tiny: Path, row: str, runs: Path, *more: str) -> Run:
    settings = [
        "data.validation=0.4",
        "train.validate_every=3",
        "optimizer.lr=0.02",
        "sampler.p=3",
        *more,
    ]
    return run_of(load_table(str(tiny), settings, only=[row]), row, 0, runs)


def plain_map_at_r(x: np.ndarray, labels: list[str]) -> float:
    """Return MAP@R by its definition, one query after the other."""
    values = []
    for q in range(len(x)):
        far = ((x - x[q]) ** 2).sum(axis=1)
        others = sorted((i for i in range(len(x)) if i != q), key=lambda i: float(far[i]))
        hits = [labels[i] == labels[q] for i in others]
        r = sum(hits)
        values.append(sum(sum(hits[: i + 1]) / (i + 1) for i in range(r) if hits[i]) / r)
    return float(np.mean(values))


@pytest.mark.parametrize(
    ("row", "metric", "distance"),
    [
        ("hard", "map@r", "euclidean"),
        ("hard", "map@r", "cosine"),
        ("two_head", "accuracy", "cosine"),
    ],
)
def test_the_best_weights_on_the_part_are_kept(
    tiny: Path,
    tmp_path: Path,
    row: str,
    metric: str,
    distance: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ranked_by = f"evaluation.distance={distance}"
    run = selecting(tiny, row, tmp_path / "a", ranked_by)
    train(run, QUIET)
    kept = safetensors.torch.load_file(run.weights)

    items = load_items(run.experiment.data)
    frame = items.split("validation")
    images = image_set(items, "validation", run.experiment.input, training=False)
    watched = selecting(tiny, row, tmp_path / "b", ranked_by)
    values: dict[int, float] = {}
    weights: dict[int, dict[str, Any]] = {}

    def look(_: Selection, step: int, network: Any, objective: Any) -> float:
        network.eval()
        with torch.no_grad():
            features, x = network(images.batch(np.arange(len(images))))
            if metric == "map@r":
                rows = x.double().numpy()
                if distance == "cosine":
                    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
                value = plain_map_at_r(rows, frame["label"].tolist())
            else:
                predicted = objective.logits(features, x).argmax(dim=1)
                right = [items.classes[p] for p in predicted] == frame["label"].to_numpy()
                value = float(np.mean(right))
        network.train()
        values[step] = value
        weights[step] = {name: t.clone() for name, t in network.state_dict().items()}
        return value

    monkeypatch.setattr(Selection, "look", look)
    train(watched, QUIET)
    assert sorted(values) == [3, 6, 9, 12]
    best = max(values, key=lambda step: (values[step], -step))
    assert read_json(run.training)["selected_step"] == best
    for name, tensor in weights[best].items():
        torch.testing.assert_close(kept[f"network.{name}"], tensor)
    entries = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    logged = {e["step"]: e[f"validation_{metric}"] for e in entries if f"validation_{metric}" in e}
    assert logged == pytest.approx(values, abs=1e-6)


def test_what_is_held_out_does_not_train_and_the_test_split_stays(tiny: Path) -> None:
    whole = load_items(DataConfig(name="digits"))
    parted = load_items(DataConfig(name="digits", validation=0.4))
    assert parted.split("test").equals(whole.split("test"))
    assert set(parted.classes) | set(parted.split("validation")["label"]) == set(whole.classes)
    assert len(parted.classes) == 3
    assert parted.data_hash != whole.data_hash


def test_a_selecting_run_that_was_stopped_ends_in_the_same_bytes(
    tiny: Path, tmp_path: Path, killed_at: Any
) -> None:
    whole, parted = selecting(tiny, "hard", tmp_path / "a"), selecting(tiny, "hard", tmp_path / "b")
    train(whole, QUIET)
    with killed_at(11):
        train(parted, QUIET)
    train(parted, QUIET)
    assert parted.weights.read_bytes() == whole.weights.read_bytes()


def test_a_part_without_positives_is_told_before_training(tiny: Path, tmp_path: Path) -> None:
    run = selecting(tiny, "hard", tmp_path)
    items = load_items(run.experiment.data)
    part = items.frame["split"] == "validation"
    single = items.frame[
        ~part | ~items.frame[part].duplicated("label").reindex(part.index, fill_value=False)
    ]
    with pytest.raises(BenchError, match="no two items of one class"):
        Selection(run.experiment, replace(items, frame=single), torch.device("cpu"))
    with pytest.raises(BenchError, match="no two items of one class"):  # before anything is removed
        check_fits(run.experiment, replace(items, frame=single))


def test_two_classes_are_held_out_at_least() -> None:
    frame = pd.DataFrame({"split": "train", "path": range(8), "label": [*"aabbccdd"]})
    held = hold_out(frame, "retrieval", 0.01)
    assert held.loc[held["split"] == "validation", "label"].nunique() == 2
    with pytest.raises(BenchError, match=r"needs three training classes .* and there are 2"):
        hold_out(frame[:4], "retrieval", 0.5)


def test_selection_without_a_part_is_told(tiny: Path) -> None:
    with pytest.raises(BenchError, match=r"needs data\.validation"):
        load_table(str(tiny), ["train.validate_every=3"])


def test_the_part_can_be_embedded(tiny: Path, tmp_path: Path) -> None:
    run = selecting(tiny, "hard", tmp_path)
    train(run, QUIET)
    embedded = read_embedding_set(embed(run, QUIET, split="validation"))
    part = load_items(run.experiment.data).split("validation")
    assert embedded.ids.tolist() == part["path"].tolist()
    plain = run_of(load_table(str(tiny)), "hard", 0, tmp_path / "plain")
    train(plain, QUIET)
    with pytest.raises(BenchError, match="no validation items"):
        embed(plain, QUIET, split="validation")
