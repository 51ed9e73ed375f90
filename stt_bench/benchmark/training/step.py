"""One step of an optimisation: learning rate, forward, loss, backward, update."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.system.devices import autocast
from stt_bench.benchmark.system.machine import seed_torch
from stt_bench.benchmark.system.processes import processes
from stt_bench.benchmark.training.chunks import Chunks
from stt_bench.benchmark.training.finite import overflow_of
from stt_bench.benchmark.training.learner import Learner
from stt_bench.benchmark.training.optimization import set_learning_rate


class Step(NamedTuple):
    """What a step leaves to be looked at; the gradients are still in the parameters.

    The total loss (), detached, and its parts; embeddings (B, D) and labels (B,) of the whole
    batch, where processes share one, too. All are on the learner's device. `overflow` () is above 0
    where a gradient is not finite, though no loss scaler is there to skip the step.
    """

    loss: Tensor
    parts: dict[str, Tensor]
    embeddings: Tensor
    labels: Tensor
    overflow: Tensor


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
    set_learning_rate(optimizer, experiment, step)
    trained = learner.trained
    for parameter in trained:  # a tenth of the time that `zero_grad` takes
        parameter.grad = None
    in_precision = partial(autocast, experiment.train.precision, device)
    drawn_anew = partial(seed_torch, seed, step + 1)
    drawn_anew()
    chunks, size = None, experiment.train.chunk
    if size is not None and size < _most(learner, images, labels):
        chunks = Chunks(learner, images.split(size), in_precision, drawn_anew)
        features, embeddings = chunks.outputs
    else:
        with in_precision():
            features, embeddings = learner.forward(images)
    if learner.gather is not None:
        features, embeddings, labels, weights = learner.gather(
            features, embeddings, labels, weights
        )
    with in_precision():
        loss, parts = learner.objective(features, embeddings, labels, step, weights)
    scaler.scale(loss).backward()
    if chunks is not None:
        chunks.backward()
    if scaler.is_enabled():
        scaler.unscale_(optimizer)
        overflow = torch.zeros_like(scaler.one)  # it skips a step that overflows
        scaler.step(optimizer)
        scaler.update()
    else:
        overflow = overflow_of(trained, scaler.one)
        learner.update()
    if learner.average is not None:
        learner.average.update(step)
    learner.step = step + 1
    return Step(loss.detach(), parts, embeddings, labels, overflow)


def _most(learner: Learner, images: Tensor, labels: Tensor) -> int:
    """Return the most images that a process has of the batch.

    All processes that share it go the same way, or they wait for each other for ever.
    """
    return len(images) if learner.gather is None else processes().share(len(labels), 0).stop
