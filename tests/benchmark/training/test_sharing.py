"""A batch shared among processes gives the loss and gradients of one process, for every loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from forked import forked

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.system.processes import processes
from stt_bench.benchmark.training import probe
from stt_bench.benchmark.training.health import gradient_norm
from stt_bench.benchmark.training.sharing import share
from stt_bench.benchmark.training.step import take_step
from stt_bench.losses import build_loss, loss_names

LABELS = torch.arange(probe.CLASSES).repeat_interleave(probe.PER_CLASS)
UNEVEN = torch.tensor([0, 1, 0, 2, 1, 1, 5, 0, 4, 3, 3, 0, 2, 5, 5, 1, 0])  # a uniform batch
STEPS = 3


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
    where the loss takes them.
    """
    tiny = probe._tiny(experiment)
    learner = probe._Tiny(tiny)
    learner.network.train()
    learner.objective.train()
    share(learner, experiment)
    found = Trained([], [], [], {})
    for step in range(STEPS):
        labels = UNEVEN if step == 2 and takes_any_batch(experiment) else LABELS
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
    rows = ROWS if size == 2 else {name: ROWS[name] for name in ("memory", "batch norm", "phases")}
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
