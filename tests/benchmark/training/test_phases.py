"""Swapping the loss in the middle of a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.datasets.batches import training_batches
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.wording import loss_text
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.machine import make_deterministic, seed_torch
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.learner import new_model
from stt_bench.benchmark.training.train import train
from stt_bench.benchmark.training.validation import Selection
from stt_bench.losses import build_loss

QUIET = Reporter(quiet=True)

TABLE = """\
title: Phases
data: {name: digits, task: retrieval}
input: {size: 16, channels: 1, mean: [0.3], std: [0.37]}
model: {backbone: small_cnn, embedding_dim: 8}
sampler: {name: pxk, p: 4, k: 4}
optimizer: {name: sgd, momentum: 0.0, lr: 0.01}
train: {steps: 9, log_every: 3, checkpoint_every: 2, threads: 1}
rows:
  softmax: {loss: softmax}
  three:
    loss: {name: hard_triplet, margin: 0.5}
    phases:
      - {steps: 3, loss: priming, lr: 0.1}
      - steps: 4
        loss: {name: batch_all_triplet, margin: 0.3}
  from_softmax:
    loss: center
    phases: [{steps: 3, loss: softmax}]
  two_head:
    loss: {name: hard_triplet, margin: 0.5}
    softmax_head: true
    phases: [{steps: 5, loss: priming}]
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "phases.yaml"
    path.write_text(TABLE)
    return path


def run_in(table: Path, row: str, runs: Path) -> Run:
    return run_of(load_table(str(table)), row, 0, runs)


def test_the_loss_changes_and_the_network_goes_on(table: Path, tmp_path: Path) -> None:
    run = run_in(table, "three", tmp_path)
    train(run, QUIET)
    trained = safetensors.torch.load_file(run.weights)

    experiment, items = run.experiment, load_items(run.experiment.data)
    make_deterministic(1)
    seed_torch(0, 0)
    network, _ = new_model(experiment, len(items.classes))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    losses = [
        (build_loss("priming"), 0.1),
        (build_loss("batch_all_triplet", margin=0.3), 0.01),
        (build_loss("hard_triplet", margin=0.5), 0.01),
    ]
    for batch in training_batches(items, experiment, 0, 0, 9):
        loss, lr = losses[0 if batch.step < 3 else 1 if batch.step < 7 else 2]
        images = batch.images.to(memory_format=torch.channels_last)
        network.zero_grad()
        loss(network(images)[1], batch.labels).backward()
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.grad is not None:
                    parameter -= lr * parameter.grad
    for name, value in network.state_dict().items():
        torch.testing.assert_close(trained[f"network.{name}"], value, rtol=1e-5, atol=1e-7)

    entries = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [(entry["step"], entry["phase"]) for entry in entries] == [
        (1, 0),
        (3, 0),
        (6, 1),
        (9, 2),
    ]
    assert [entry["learning_rate"] for entry in entries] == pytest.approx([0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("row", ["three", "from_softmax", "two_head"])
def test_a_run_stopped_at_any_step_ends_in_the_same_bytes(
    table: Path, tmp_path: Path, row: str, killed_at: Any
) -> None:
    whole, parted = run_in(table, row, tmp_path / "whole"), run_in(table, row, tmp_path / "parted")
    train(whole, QUIET)
    for last in (2, 5, 8):  # in each phase; the checkpoint before is what it continues from
        with killed_at(last):
            train(parted, QUIET)
    train(parted, QUIET)
    assert parted.weights.read_bytes() == whole.weights.read_bytes()


def test_the_two_head_classifier_trains_through_all_phases(table: Path, tmp_path: Path) -> None:
    run = run_in(table, "two_head", tmp_path)
    train(run, QUIET)
    entries = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert all({"softmax_loss", "ranking_loss"} <= set(entry) for entry in entries)
    names = [name for name in safetensors.torch.load_file(run.weights) if "objective" in name]
    assert sorted(names) == [
        "objective.softmax.linear.bias",
        "objective.softmax.linear.weight",
    ]


def test_a_leaderboard_names_all_phases(table: Path) -> None:
    experiment = load_table(str(table)).rows["three"]
    row = Row("three", "Three", experiment, {}, [0], {}, "", 0.0, 0)
    assert loss_text(row) == (
        "priming for 3 steps (lr 0.1), then batch_all_triplet (margin 0.3) for 4 steps, "
        "then hard_triplet (margin 0.5)"
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("steps: 4\n", "steps: 6\n", ["row 'three'", "9 steps", "train.steps (9)"]),
        ("loss: priming, lr", "loss: primng, lr", ["line 13", "primng", "priming"]),
        ("lr: 0.1", "lrr: 0.1", ["line 13", "phases.0.lrr", "did you mean 'lr'"]),
        ("loss: priming, lr: 0.1", "lr: 0.1", ["line 13", "phases.0.loss", "missing"]),
        ("margin: 0.3", "margn: 0.3", ["line 15", "margn", "margin"]),
        ("steps: 5, loss: priming", "steps: 5, loss: softmax", ["row 'two_head'", "Softmax alone"]),
    ],
)
def test_mistakes_in_phases(table: Path, old: str, new: str, said: list[str]) -> None:
    assert old in TABLE
    table.write_text(TABLE.replace(old, new))
    with pytest.raises(BenchError) as caught:
        load_table(str(table))
    for part in said:
        assert part in str(caught.value)


def test_weights_of_a_phase_are_never_selected(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ["data.validation=0.4", "train.validate_every=1", "sampler.p=3"]
    run = run_of(load_table(str(table), changes, only=["three"]), "three", 0, tmp_path)
    falling = iter([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    monkeypatch.setattr(Selection, "_value", lambda *_, **__: next(falling))
    assert train(run, QUIET).selected_step == 8  # the first of the row's own loss
