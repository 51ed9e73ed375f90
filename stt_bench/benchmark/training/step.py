"""One step of an optimisation: learning rate, forward, loss, backward, update."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.system.devices import autocast
from stt_bench.benchmark.system.machine import seed_torch
from stt_bench.benchmark.training.learner import Learner
from stt_bench.benchmark.training.optimization import set_learning_rate


class Step(NamedTuple):
    """What a step leaves to be looked at; the gradients are still in the parameters.

    The total loss () and its parts, detached, and the embeddings (B, D) of the batch.
    """

    loss: Tensor
    parts: dict[str, Tensor]
    embeddings: Tensor


def take_step(
    learner: Learner,
    experiment: Experiment,
    seed: int,
    step: int,
    images: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
) -> Step:
    """Train on a batch; what is drawn in it, as by dropout, follows from the seed and the step.

    Args:
        learner: is changed: weights, optimiser, and the number of steps that are done.
        experiment: learning rate, its schedule, and precision.
        seed: of the run.
        step: from 0.
        images: (B, C, S, S), uint8, or what the frozen part made of them; on any device.
        labels: (B,) class indices.
        weights: (B,), how much each item counts; None: all alike.
    """
    device, optimizer, scaler = learner.device, learner.optimizer, learner.scaler
    layout = torch.channels_last if images.ndim == 4 else torch.preserve_format
    images = images.to(device, non_blocking=True, memory_format=layout)
    labels = labels.to(device, non_blocking=True)
    if weights is not None:
        weights = weights.to(device, non_blocking=True)
    seed_torch(seed, step + 1)
    set_learning_rate(optimizer, experiment, step)
    with autocast(experiment.train.precision, device):
        features, embeddings = learner.forward(images)
        if learner.gather is not None:
            features, embeddings, labels, weights = learner.gather(
                features, embeddings, labels, weights
            )
        loss, parts = learner.objective(features, embeddings, labels, step, weights)
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    learner.step = step + 1
    return Step(loss.detach(), parts, embeddings.detach())
