"""A batch shared among processes gives the loss and gradients of one process, for every loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from forked import forked
from timm.layers import BatchNormAct2d
from torch import nn

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.models.synced_batch_norm import sync_batch_norms
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.machine import seed_torch
from stt_bench.benchmark.system.processes import Processes, processes
from stt_bench.benchmark.training import probe
from stt_bench.benchmark.training.health import gradient_norm
from stt_bench.benchmark.training.sharing import share
from stt_bench.benchmark.training.step import take_step
from stt_bench.losses import build_loss, loss_names

LABELS = torch.arange(probe.CLASSES).repeat_interleave(probe.PER_CLASS)
UNEVEN = torch.tensor([0, 1, 0, 2, 1, 1, 5, 0, 4, 3, 3, 0, 2, 5, 5, 1, 0])  # a uniform batch
STEPS = 5
CHUNKED = {3: 5, 4: 8}  # by step; with eight the second of two processes has no more than a chunk


class Trained(NamedTuple):
    losses: list[float]
    gradients: list[np.ndarray]
    norms: list[float]
    weights: dict[str, np.ndarray]


def experiment_of(**changes: Any) -> Experiment:
    """Return the settings of a row; losses that read their pairs from the order get 6×4."""
    base: dict[str, Any] = {
        "data": {"name": "digits"},
        "input": {"size": 15, "channels": 1},
        "model": {"embedding_dim": 8},
        "sampler": {"name": "pxk", "p": probe.CLASSES, "k": probe.PER_CLASS},
        "optimizer": {"name": "sgd", "lr": 0.05},
        "train": {"steps": STEPS},
    }
    return Experiment.model_validate(base | changes)


ROWS = {name: experiment_of(loss=name) for name in loss_names() if not name.startswith("pml:")}
ROWS |= {
    "two heads": experiment_of(loss="hard_triplet", softmax_head=True, loss_weight=0.5),
    "center beside softmax": experiment_of(loss="center", softmax_head=True),
    "one head": experiment_of(loss="lifted", softmax_head=True, softmax_on="embedding"),
    "memory": experiment_of(loss="contrastive", memory={"size": 40, "start_step": 1}),
    "memory after": experiment_of(loss="margin", memory={"size": 60, "order": "after"}),
    "phases": experiment_of(
        loss="proxy_nca", phases=[{"loss": "priming", "steps": 1}, {"loss": "margin", "steps": 1}]
    ),
    "beta per class": experiment_of(loss={"name": "margin", "beta_per_class": True}),
    "batch norm": experiment_of(
        loss="lifted", model={"embedding_dim": 8, "head": "fc1024", "sync_batch_norm": True}
    ),
    "chunks": experiment_of(loss="circle", train={"steps": STEPS, "chunk": 5}),
    "frozen": experiment_of(
        loss="proxy_anchor", model={"head": "none", "embedding_dim": None, "freeze": "all"}
    ),
    "half frozen": experiment_of(
        loss="npairs",
        model={"embedding_dim": 8, "freeze": ["conv1"]},
    ),
}


def trained(experiment: Experiment) -> Trained:
    """Train the probe's network; this process takes its part of each batch.

    The batches are P×K, then the same with sample weights, then one of 17 images of any classes,
    where the loss takes them. Two follow of which several processes encode their parts in chunks.
    """
    shared, by_image = processes().size > 1, not experiment.model.sync_batch_norm
    chunks = CHUNKED if shared and by_image else {}
    tiny = probe._tiny(experiment).model_copy(update={"train": experiment.train})
    learner = probe._Tiny(tiny)
    learner.network.train()
    learner.objective.train()
    share(learner, experiment)
    found = Trained([], [], [], {})
    for step in range(STEPS):
        labels = UNEVEN if step in (2, 4) and takes_any_batch(experiment) else LABELS
        if step in chunks:
            chunk = tiny.train.model_copy(update={"chunk": chunks[step]})
            tiny = tiny.model_copy(update={"train": chunk})
        weights = None
        if step == 1 and takes_weights(experiment):
            weights = torch.linspace(0.2, 2.0, len(labels), dtype=torch.float64)
        images = probe._images(step, 1)[: len(labels)][processes().share(len(labels))]
        taken = take_step(learner, tiny, 0, step, images, labels, weights)
        found.losses.append(float(taken.loss))
        flat = [p.grad.flatten() for p in learner.trained if p.grad is not None]
        found.gradients.append(torch.cat(flat).numpy().copy())
        found.norms.append(gradient_norm(learner.trained))
    for module in (learner.network, learner.objective):
        found.weights.update({name: t.numpy().copy() for name, t in module.state_dict().items()})
    return found


def takes_any_batch(row: Experiment) -> bool:
    return all(_built(loss).batch_layout == "any" for loss in row.losses)


def takes_weights(row: Experiment) -> bool:
    return all(_built(loss).with_weights for loss in row.losses)


def _built(loss: Any) -> Any:
    return build_loss(loss.name, num_classes=2, embedding_dim=2, **loss.params)


@pytest.fixture(scope="module")
def one() -> dict[str, Trained]:
    return {name: trained(row) for name, row in ROWS.items()}


@pytest.mark.parametrize("size", [2, 3])
def test_loss_and_gradients_are_those_of_one_process(
    tmp_path: Path, one: dict[str, Trained], size: int
) -> None:
    rows = (
        ROWS
        if size == 2
        else {name: ROWS[name] for name in ("memory", "batch norm", "phases", "chunks")}
    )
    every = forked(size, tmp_path, lambda _: {name: trained(row) for name, row in rows.items()})
    for name in rows:
        alone = one[name]
        assert any(np.abs(gradient).max() > 0 for gradient in alone.gradients), name
        for found in every:
            mine: Trained = found[name]
            np.testing.assert_allclose(mine.losses, alone.losses, rtol=1e-9, err_msg=name)
            for gradient, wanted in zip(mine.gradients, alone.gradients, strict=True):
                np.testing.assert_allclose(gradient, wanted, rtol=1e-7, atol=1e-9, err_msg=name)
            for key, value in alone.weights.items():
                np.testing.assert_allclose(
                    mine.weights[key], value, rtol=1e-7, atol=1e-9, err_msg=f"{name}: {key}"
                )
            first: Trained = every[0][name]
            for key, value in first.weights.items():  # bit by bit: nothing drifts apart
                assert value.tobytes() == mine.weights[key].tobytes(), f"{name}: {key}"


def _chunked(_: Processes) -> list[np.ndarray]:
    """Return the gradients of steps of 17 images in chunks of eight; two processes have 9 and 8."""
    experiment = experiment_of(loss="proxy_nca", train={"steps": STEPS, "chunk": 8})
    tiny = probe._tiny(experiment).model_copy(update={"train": experiment.train})
    learner = probe._Tiny(tiny)
    share(learner, experiment)
    found = []
    for step in range(STEPS):
        images = probe._images(step, 1)[: len(UNEVEN)][processes().share(len(UNEVEN))]
        take_step(learner, tiny, 0, step, images, UNEVEN)
        found += [p.grad.numpy().copy() for p in learner.trained if p.grad is not None]
    return found


def test_one_process_may_have_chunks_where_another_has_none(tmp_path: Path) -> None:
    wanted = _chunked(Processes())
    for found in forked(2, tmp_path, _chunked):
        for gradient, value in zip(found, wanted, strict=True):
            np.testing.assert_allclose(gradient, value, rtol=1e-7, atol=1e-9)


def _synced(_: Processes) -> list[np.ndarray]:
    """Return the outputs, gradients and statistics of a part's share of a batch norm."""
    present = processes()
    part = present.share(7)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(7, 4, 3, 3, generator=generator, dtype=torch.float64)
    factors = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    found = []
    for layer in (nn.BatchNorm2d(4), nn.BatchNorm2d(4, momentum=None), BatchNormAct2d(4)):
        layer = layer.double()
        with torch.no_grad():
            layer.weight.copy_(torch.linspace(0.5, 2.0, 4))
        if present.size > 1:
            sync_batch_norms(layer)
        for _ in range(2):
            mine = x[part].clone().requires_grad_()
            made = layer(mine)
            (made * factors[part]).sum().backward()
        found += [made.detach(), mine.grad, layer.running_mean, layer.running_var]
        found.append(layer.eval()(x).detach())
    return [tensor.numpy() for tensor in found]


def test_synced_batch_norm_is_that_of_one_process(tmp_path: Path) -> None:
    """Also timm's, which has an activation in it, and of parts of two sizes."""
    wanted = _synced(Processes())
    parts = forked(3, tmp_path, _synced)
    for place, (value, *found) in enumerate(zip(wanted, *parts, strict=True)):
        if place % 5 < 2:  # outputs and gradients lie in parts; statistics are all alike
            found = [np.concatenate(found)]
        for one in found:
            np.testing.assert_allclose(one, value, rtol=1e-10, atol=1e-12)


def test_an_unknown_batch_norm_is_refused() -> None:
    class Other(nn.BatchNorm2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    with pytest.raises(BenchError, match="layer '0' is a Other"):
        sync_batch_norms(nn.Sequential(Other(3)))


def _drawn(present: Processes) -> tuple[list[float], float]:
    """Return what dropout lets through of ones, and what a loss draws after it."""
    learner = probe._Tiny(probe._tiny(ROWS["softmax"]))
    learner.network.head = nn.Sequential(nn.Dropout(0.5), learner.network.head)
    learner.network.train()
    share(learner, ROWS["softmax"])
    seed_torch(0, 1)
    learner.network.head.register_forward_hook(lambda *call: seen.append(call[2]))
    seen: list[torch.Tensor] = []
    learner.forward(probe._images(0, 1)[present.share(24)])
    return seen[0].flatten().tolist(), float(torch.rand(()))


def test_dropout_is_drawn_apart_and_losses_draw_alike(tmp_path: Path) -> None:
    """The same in every run: a function of seed, step and process."""
    (one, drawn), (other, too) = first = forked(2, tmp_path / "a", _drawn)
    assert drawn == too
    assert one != other
    assert forked(2, tmp_path / "b", _drawn) == first
