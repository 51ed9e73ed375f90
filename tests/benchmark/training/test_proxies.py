"""Losses with proxies in a training: learning rate, accuracy, resumption, and class counts."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from stt_bench.benchmark.config.experiment import CLASSIFIERS, Experiment
from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.embedding.embed import embed_split
from stt_bench.benchmark.scoring.evaluate import measure
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.learner import Learner, new_model
from stt_bench.benchmark.training.optimization import build_optimizer
from stt_bench.benchmark.training.train import train
from stt_bench.losses import RankingLoss, SoftmaxLoss, build_loss, loss_names

QUIET = Reporter(quiet=True)
TABLE = """\
seeds: [0]
data: {name: digits, task: classification, validation: 0.2}
input: {size: 16, channels: 1, mean: [0.3], std: [0.37]}
model: {backbone: small_cnn, embedding_dim: 8}
sampler: {name: uniform, batch_size: 16}
optimizer: {lr: 0.01, proxy_lr_factor: 10.0}
train: {steps: 6, log_every: 3, checkpoint_every: 2, validate_every: 3, threads: 1}
evaluation: {ks: [1], restarts: 1}
rows:
  softmax: {loss: softmax}
  adjusted: {loss: {name: softmax, logit_adjustment: 1.0}, data: {long_tail: 10}}
  arcface: {loss: {name: arcface, scale: 8.0, sub_centers: 2}}
  two_head: {loss: proxy_anchor, softmax_head: true, loss_weight: 0.1}
  phased:
    loss: hard_triplet
    phases: [{steps: 3, loss: {name: soft_triple, centers: 2}}]
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "proxies.yaml"
    path.write_text(TABLE)
    return path


def run_in(table: Path, row: str, runs: Path, *overrides: str) -> Run:
    return run_of(load_table(str(table), overrides), row, 0, runs)


def test_the_losses_that_classify_are_those_with_class_scores() -> None:
    built = {name: build_loss(name, num_classes=2, embedding_dim=2) for name in loss_names()}
    scored = {name for name, loss in built.items() if type(loss).logits is not RankingLoss.logits}
    assert scored == CLASSIFIERS


@pytest.mark.parametrize("row", ["arcface", "two_head", "phased", "adjusted"])
def test_a_stopped_run_ends_in_the_same_bytes(
    table: Path, tmp_path: Path, row: str, killed_at: Any
) -> None:
    whole, parted = run_in(table, row, tmp_path / "whole"), run_in(table, row, tmp_path / "parted")
    train(whole, QUIET)
    for last in (3, 5):
        with killed_at(last):
            train(parted, QUIET)
    train(parted, QUIET)
    assert parted.weights.read_bytes() == whole.weights.read_bytes()


@pytest.mark.parametrize("row", ["arcface", "adjusted"])
def test_accuracy_selects_and_is_measured(table: Path, tmp_path: Path, row: str) -> None:
    run = run_in(table, row, tmp_path)
    facts = train(run, QUIET)
    entries = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [entry["step"] for entry in entries if "validation_accuracy" in entry] == [3, 6]
    items = load_items(run.experiment.data)
    embedded = embed_split(run, facts, items, QUIET)
    assert embedded.logits is not None
    found = measure(embedded, run.experiment.evaluation).metrics["accuracy"]
    _, objective = new_model(run.experiment, len(items.classes))
    if row == "arcface":  # by hand: the class of the nearest sub-centre
        proxies = safetensors.torch.load_file(run.weights)["objective.ranking.proxies"]
        assert proxies.shape == (10, 2, 8)
        unit = torch.nn.functional.normalize
        rows = unit(torch.from_numpy(np.array(embedded.embeddings)))
        nearest = torch.einsum("bd,ckd->bck", rows, unit(proxies, dim=2)).amax(2).argmax(1)
        named = [items.classes[number] for number in nearest]
        assert found == pytest.approx(np.mean(np.array(named) == embedded.labels))
    else:
        assert isinstance(objective.softmax, SoftmaxLoss)
        assert objective.softmax.class_counts is None


def test_class_counts_are_those_that_are_trained_on(table: Path, tmp_path: Path) -> None:
    run = run_in(table, "adjusted", tmp_path)
    items = load_items(run.experiment.data)
    labels = items.split("train")["label"].tolist()
    wanted = [labels.count(name) for name in items.classes]
    assert items.class_counts == wanted
    assert wanted[0] > 5 * wanted[-1]
    learner = Learner(run.experiment, items, torch.device("cpu"))
    assert learner.objective.softmax is not None
    counts = learner.objective.softmax.class_counts
    assert counts is not None
    assert counts.tolist() == wanted
    copied = copy.deepcopy(learner.objective)
    assert copied.softmax is not None
    assert copied.softmax.class_counts is not None
    assert copied.softmax.class_counts.tolist() == wanted
    assert not any("class_counts" in name for name in learner.state()["objective"])


def test_adjustment_is_the_cross_entropy_of_shifted_logits(table: Path, tmp_path: Path) -> None:
    run = run_in(table, "adjusted", tmp_path)
    items = load_items(run.experiment.data)
    learner = Learner(run.experiment, items, torch.device("cpu"))
    embeddings = torch.randn(5, 8)
    labels = torch.tensor([0, 1, 9, 3, 9])
    total, _ = learner.objective(embeddings, embeddings, labels)
    scores = learner.objective.logits(embeddings, embeddings)
    assert scores is not None
    shares = np.array(items.class_counts) / sum(items.class_counts)
    shifted = scores.detach().double().numpy() + np.log(shares)
    by_hand = [np.log(np.exp(row).sum()) - row[y] for row, y in zip(shifted, labels, strict=True)]
    assert total.item() == pytest.approx(np.mean(by_hand), rel=1e-5)


def experiment(**fields: Any) -> Experiment:
    base: dict[str, Any] = {
        "data": {"name": "digits"},
        "model": {"embedding_dim": 4},
        "input": {"size": 16, "channels": 1, "mean": [0.3], "std": [0.37]},
        "loss": "proxy_anchor",
    }
    return Experiment.model_validate(base | fields)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_proxies_learn_at_their_own_rate_and_are_not_decayed(name: str) -> None:
    rates = {"name": name, "lr": 0.01, "proxy_lr_factor": 100.0, "weight_decay": 0.5}
    two = experiment(optimizer=rates, softmax_head=True)
    network, objective = new_model(two, 5)
    optimizer = build_optimizer(two.optimizer, network, objective)
    assert objective.ranking is not None
    (of_proxies,) = [
        group
        for group in optimizer.param_groups
        if any(p is objective.ranking.proxies for p in group["params"])
    ]
    assert len(of_proxies["params"]) == 1
    assert of_proxies["lr"] == of_proxies["base_lr"] == 1.0
    assert of_proxies["weight_decay"] == 0
    for group in optimizer.param_groups:
        if group is not of_proxies:
            assert group["lr"] == 0.01
            assert group["weight_decay"] == 0.5
    trained = sum(len(group["params"]) for group in optimizer.param_groups)
    assert trained == len([*network.parameters(), *objective.parameters()])


def test_a_factor_of_0_keeps_the_proxies_where_they_start(table: Path, tmp_path: Path) -> None:
    run = run_in(table, "two_head", tmp_path, "optimizer.proxy_lr_factor=0")
    items = load_items(run.experiment.data)
    learner = Learner(run.experiment, items, torch.device("cpu"))
    assert learner.objective.ranking is not None
    assert all(p is not learner.objective.ranking.proxies for p in learner.trained)


def test_the_factor_changes_no_digest_unless_it_is_set() -> None:
    plain = experiment()
    same = experiment(optimizer={"proxy_lr_factor": 1.0})
    other = experiment(optimizer={"proxy_lr_factor": 2.0})
    assert same.digest() == plain.digest()
    assert other.training_digest() != plain.training_digest()


def test_the_log_tells_the_rate_of_heads_and_losses(table: Path, tmp_path: Path) -> None:
    run = run_in(table, "arcface", tmp_path, "optimizer.backbone_lr_factor=0.1")
    train(run, QUIET)
    entries = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert {entry["learning_rate"] for entry in entries if "loss" in entry} == {0.01}


@pytest.mark.parametrize("name", ["num_classes", "embedding_dim", "class_counts"])
def test_a_table_does_not_say_what_data_and_model_say(tmp_path: Path, name: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        f"data: {{name: digits}}\nrows:\n  a: {{loss: {{name: softmax, {name}: [1, 1]}}}}\n"
    )
    with pytest.raises(BenchError, match=f"line 3: .*{name} follows from the data and the model"):
        load_table(str(path))


def test_a_variant_of_softmax_is_compared_with_softmax() -> None:
    assert experiment(loss="softmax").is_softmax
    assert experiment(loss={"name": "softmax", "bias": False}).is_softmax
    assert not experiment(loss={"name": "softmax", "logit_adjustment": 1.0}).is_softmax
    assert not experiment(loss={"name": "softmax", "label_smoothing": 0.1}).is_softmax
    assert experiment(loss={"name": "softmax", "label_smoothing": 0.0}).is_softmax
    assert not experiment(loss="normalized_softmax").is_softmax
