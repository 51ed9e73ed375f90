"""A batch that is encoded in chunks has the loss and the gradients of the whole batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small import CLASSES, PER_CLASS, Small, batch, experiment_of
from torch import nn

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.store.runs import run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.machine import seed_torch
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.step import take_step
from stt_bench.benchmark.training.train import train
from stt_bench.losses import build_loss, loss_names

EQUAL = {"rtol": 1e-10, "atol": 1e-10}
QUIET = Reporter(quiet=True)


def is_kind(name: str, kind: str) -> bool:
    loss = build_loss(name, num_classes=2, embedding_dim=2)
    if kind == "with_memory":
        return loss.with_memory and loss.batch_layout == "any"
    return bool(getattr(loss, kind))


NAMES = loss_names()
CASES: dict[str, dict[str, Any]] = {name: {"loss": name} for name in NAMES}
CASES |= {
    f"{name}-two-heads": {"loss": name, "softmax_head": True, "loss_weight": 0.5}
    for name in ("hard_triplet", "center", "proxy_anchor")
}
CASES |= {
    f"{name}-memory": {"loss": name, "memory": {"size": 32}}
    for name in NAMES
    if is_kind(name, "with_memory")
}
CASES["phases"] = {"loss": "hard_triplet", "phases": [{"loss": "priming", "steps": 2}]}
CASES["unit-length"] = {"loss": "contrastive", "model": {"normalize": True}}
CASES["no-head"] = {"loss": "softmax", "model": {"head": "none"}}
CASES["softmax-on-embedding"] = CASES["center-two-heads"] | {"softmax_on": "embedding"}
CASES["frozen-backbone"] = {"loss": "proxy_nca", "model": {"freeze": "all"}}


def settings(chunk: int | None, **given: Any) -> Experiment:
    return experiment_of(**given, train={"chunk": chunk})


def compare(whole: Small, parted: Small) -> None:
    wanted, found = whole.gradients(), parted.gradients()
    assert wanted.keys() == found.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, msg=name, **EQUAL)
    states = ((m.state_dict() for m in (one.network, one.objective)) for one in (whole, parted))
    for one, other in zip(*states, strict=True):
        for name, tensor in one.items():
            torch.testing.assert_close(other[name], tensor, msg=name, **EQUAL)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_whole_batch(name: str) -> None:
    one, other = settings(None, **CASES[name]), settings(7, **CASES[name])
    whole, parted = Small(one), Small(other)
    for step in range(4):
        images, labels = batch(step)
        wanted = take_step(whole, one, 0, step, images, labels)
        found = take_step(parted, other, 0, step, images, labels)
        torch.testing.assert_close(found.loss, wanted.loss, **EQUAL)
        torch.testing.assert_close(found.embeddings, wanted.embeddings, **EQUAL)
        compare(whole, parted)


@pytest.mark.parametrize("name", [name for name in NAMES if is_kind(name, "with_weights")])
def test_gradients_are_those_of_the_whole_weighted_batch(name: str) -> None:
    one, other = settings(None, loss=name), settings(7, loss=name)
    whole, parted = Small(one), Small(other)
    weights = torch.rand(CLASSES * PER_CLASS, generator=torch.Generator().manual_seed(3))
    images, labels = batch(0)
    for learner, experiment in ((whole, one), (parted, other)):
        take_step(learner, experiment, 0, 0, images, labels, weights)
    compare(whole, parted)


def test_a_chunk_of_the_whole_batch_is_no_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, calls = Small(settings(20, loss="softmax")), []
    learner.forward = lambda images: calls.append(len(images)) or learner.network(images)
    take_step(learner, settings(20, loss="softmax"), 0, 0, *batch(0))
    assert calls == [20]
    take_step(learner, settings(8, loss="softmax"), 0, 1, *batch(1))
    assert calls[1:] == [8, 8, 4] * 2


def test_what_a_chunk_draws_is_drawn_again_and_differs_between_chunks() -> None:
    """Against one graph over the chunks, drawn as they are."""
    experiment = settings(10, loss="contrastive")
    parted, plain = Small(experiment), Small(experiment)
    for learner in (parted, plain):
        learner.network.head = nn.Sequential(nn.Dropout(0.5), learner.network.head)
    images, labels = batch(0)
    same = torch.cat([images[:10], images[:10]])
    taken = take_step(parted, experiment, 0, 0, same, labels)
    assert not torch.equal(taken.embeddings[:10], taken.embeddings[10:])
    rows = []
    for number in range(2):
        seed_torch(0, 1, number)
        rows.append(plain.network(images[:10])[1])
    embeddings = torch.cat(rows)
    torch.testing.assert_close(taken.embeddings, embeddings.detach(), **EQUAL)
    plain.objective(embeddings, embeddings, labels, 0)[0].backward()
    wanted = plain.gradients()
    for name, gradient in parted.gradients().items():
        torch.testing.assert_close(gradient, wanted[name], msg=name, **EQUAL)


def test_the_autocast_of_the_first_pass_leaves_the_second_its_gradients() -> None:
    """Casts of weights are cached within an autocast: without a graph they would cut it."""
    one, other = (
        experiment_of("contrastive", train={"chunk": chunk, "precision": "bfloat16"})
        for chunk in (None, 7)
    )
    whole, parted = Small(one, torch.float32), Small(other, torch.float32)
    for learner, experiment in ((whole, one), (parted, other)):
        take_step(learner, experiment, 0, 0, *batch(0))
    wanted = whole.gradients()
    for name, gradient in parted.gradients().items():
        scale = wanted[name].abs().max()
        assert (gradient - wanted[name]).abs().max() < 0.05 * scale, name


@pytest.mark.parametrize(
    ("model", "mend"),
    [
        ("model={backbone: small_cnn, head: fc1024}", "choose another model.head"),
        ("model={backbone: resnet18}", "set model.freeze_batch_norm: true"),
    ],
)
def test_batch_norm_that_trains_is_refused(
    tiny: Path, tmp_path: Path, model: str, mend: str
) -> None:
    table = load_table(str(tiny), [model, "train.chunk=8", "input={size: 32, channels: 3}"])
    with pytest.raises(BenchError, match=f"train.chunk: 8: the batch norm .*; {mend}, or leave"):
        train(run_of(table, "hard", 0, tmp_path), QUIET)


def test_a_training_in_chunks_resumes(tiny: Path, tmp_path: Path, killed_at: Any) -> None:
    table = load_table(str(tiny), ["train.chunk=6"])
    whole, parted = (run_of(table, "center", 0, tmp_path / name) for name in "ab")
    train(whole, QUIET)
    with killed_at(7):
        train(parted, QUIET)
    train(parted, QUIET)
    assert parted.weights.read_bytes() == whole.weights.read_bytes()
