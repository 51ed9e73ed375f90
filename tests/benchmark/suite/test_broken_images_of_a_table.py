"""Broken images and other settings in a table of one's own, from the sentence to its remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import Command
from PIL import Image

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.datasets import load_items, prepared_images
from stt_bench.benchmark.datasets.training_items import folds_of, training_items
from stt_bench.benchmark.models import build_network
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.training import train as training
from stt_bench.benchmark.training.head_start import start_head
from stt_bench.benchmark.tuning.trial import Material

TABLE = """\
title: Scenes
description: For tests.
seeds: [0]
data: {name: images, root: PHOTOS}
input: {size: 16, channels: 3}
model: {backbone: small_cnn, embedding_dim: 8}
sampler: {name: pxk, p: 2, k: 2}
train: {steps: 1, threads: 1, device: cpu}
evaluation: {ks: [1], restarts: 1, distance: cosine}
rows:
  untrained: {label: Untrained, loss: softmax, train: {steps: 0}}
  softmax: {label: Softmax, loss: softmax}
"""
BROKEN = ["train/a/03.png", "train/b/07.png", "train/c/12.png"]
IN_VAIN = "the same command can only fail again: do first what is said there"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a table of 40 photos of 8 classes, half of them to train on."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for number in range(40):
        label = "abcdefgh"[number // 5]
        folder = tmp_path / "photos" / ("train" if label in "abcd" else "test") / label
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    file = tmp_path / "scenes.yaml"
    file.write_text(TABLE.replace("PHOTOS", str(tmp_path / "photos")))
    return file


@pytest.fixture
def broken(table: Path) -> Path:
    """Return the table after three of its training images broke."""
    for name in BROKEN:
        file = table.parent / "photos" / name
        file.write_bytes(file.read_bytes()[:300])
    return table


def places(table: Path) -> tuple[object, ...]:
    return "--runs", table.parent / "runs", "--results", table.parent / "results"


def names_all(table: Path, said: str) -> bool:
    (listed,) = (table.parent / "cache/stt-bench/unreadable").glob("*.txt")
    lines = listed.read_text().splitlines()
    return (
        f"3 of 40 images cannot be used: {table.parent / 'photos' / BROKEN[0]} " in said
        and f"all are listed in {listed}" in said
        and [name in line for name, line in zip(BROKEN, lines, strict=True)] == [True] * 3
    )


def test_an_untrained_row_names_all_broken_images_and_leaves_nothing(
    stt_bench: Command, broken: Path
) -> None:
    done = stt_bench("run", broken, *places(broken))
    first = next(line for line in done.stderr.splitlines() if "untrained/seed-0 failed" in line)
    assert done.returncode == 1
    assert names_all(broken, first)
    assert "embed: starts" not in done.stderr
    assert done.stderr.splitlines()[-1] == f"warning: 2 runs failed, see above; {IN_VAIN}"
    assert not list(broken.parent.glob("runs/**/training.json"))

    skip = ("--set", "data.skip_unreadable=true")
    done = stt_bench("run", broken, *places(broken), *skip)
    assert done.returncode == 0, done.stderr
    assert len(list(broken.parent.glob("results/records/scenes/*/seed-0.json"))) == 2


def test_embedding_an_untrained_run_names_all_broken_images(
    stt_bench: Command, broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "check_images", lambda *_: None)  # as earlier versions
    assert stt_bench("train", broken, "--row", "untrained", *places(broken)).returncode == 0
    folder = broken.parent / "runs/scenes/untrained/seed-0"
    done = stt_bench("embed", folder)
    assert done.returncode == 2
    assert names_all(broken, done.stderr)
    assert "embed: starts" not in done.stderr
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(broken.parent / "cache"))

    # What it left is of no worth: other settings begin it anew, and the dry run knows it.
    skip = ("--rows", "untrained", "--set", "data.skip_unreadable=true")
    done = stt_bench("run", broken, *places(broken), *skip, "--dry-run")
    assert done.returncode == 0
    assert "untrained, seed 0: starts" in done.stdout
    done = stt_bench("run", broken, *places(broken), *skip)
    assert done.returncode == 0, done.stderr


def test_an_untrained_run_without_embeddings_begins_anew_with_other_data(
    stt_bench: Command, table: Path
) -> None:
    assert stt_bench("train", table, "--row", "untrained", *places(table)).returncode == 0
    (table.parent / "photos/test/h/39.png").unlink()
    options = ("--rows", "untrained", *places(table))
    assert stt_bench("run", table, "--dry-run", *options).returncode == 0
    assert stt_bench("run", table, *options).returncode == 0
    (table.parent / "photos/test/h/38.png").unlink()  # now there are embeddings
    done = stt_bench("run", table, *options)
    assert "was trained with other data; train it again with --force" in done.stderr
    assert done.stderr.splitlines()[-1] == f"warning: 1 run failed, see above; {IN_VAIN}"


def test_runs_of_other_settings_are_not_said_to_be_tried_again(
    stt_bench: Command, table: Path
) -> None:
    assert stt_bench("run", table, *places(table)).returncode == 0
    done = stt_bench("run", table, *places(table), "--set", "optimizer.lr=0.5")
    assert done.stderr.count("holds a run with another 'optimizer.lr'") == 2
    assert done.stderr.splitlines()[-1] == f"warning: 2 runs failed, see above; {IN_VAIN}"
    done = stt_bench("run", table, *places(table), "--set", "sampler.p=9", "--runs",
                     table.parent / "others", "--rows", "softmax", "--seeds", "1")  # fmt: skip
    assert done.stderr.splitlines()[-1] == f"warning: 1 run failed, see above; {IN_VAIN}"


def experiment_of(table: Path, *overrides: str) -> Experiment:
    return load_table(str(table), overrides).rows["softmax"]


def test_a_head_that_starts_from_features_names_all_broken_images(broken: Path) -> None:
    experiment = experiment_of(broken, "model.head_start=pca")
    network = build_network(experiment.model, experiment.input)
    with pytest.raises(BenchError) as told:
        start_head(network, experiment, load_items(experiment.data))
    assert names_all(broken, str(told.value))


def test_a_search_names_all_broken_images_that_do_not_fit_into_memory(
    broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = experiment_of(broken)
    network = build_network(experiment.model, experiment.input)
    monkeypatch.setattr(prepared_images, "memory_limit", lambda: 0)
    monkeypatch.setattr(prepared_images, "_SAMPLE", 1)  # which is not broken
    items = training_items(experiment.data)
    material = Material(items, folds_of(items, "retrieval", 2))
    with pytest.raises(BenchError, match="3 of 20 images cannot be used"):
        material.inputs(experiment, network)
