"""A probe of the numeric code of training: a few numbers that a row's own settings give.

A tiny network is trained for a few steps on a built-in batch under the row's loss with its
parameters, memory, phases and weight, its heads and their start, normalisation, optimiser and
schedule. Images, weights and labels follow from integer arithmetic and all else is float64, so that
another processor, number of threads or version of PyTorch moves the numbers by rounding only, and
another formula by more.

It does not cover the data, the row's backbone and its weights (the small network on 15×15 images
stands in for all of them), the width of the embedding above 16, frozen modules short of all, batch
drawing, sample weights, half precision and the choice of the best weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stt_bench.benchmark.config.evaluation_section import EvaluationConfig
from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.sections import DataConfig, TrainConfig
from stt_bench.benchmark.models import EmbeddingNetwork
from stt_bench.benchmark.models.heads import components, start_from
from stt_bench.benchmark.system.machine import seed_torch
from stt_bench.benchmark.training.health import gradient_norm
from stt_bench.benchmark.training.learner import Learner, new_model
from stt_bench.benchmark.training.optimization import build_optimizer
from stt_bench.benchmark.training.scaling import LossScaler
from stt_bench.benchmark.training.step import take_step

ROUNDING = 1e-4
"""Relative difference that another machine or library may make; they make some 1e-7."""
_NOTHING = 1e-9  # below it a number counts as 0
CLASSES, PER_CLASS, SIDE, WIDTH, MEMORY = 6, 4, 15, 16, 64
_COUNTS = (9, 8, 7, 5, 3, 2)  # training images of the classes, for losses that adjust for them


def training_probe(experiment: Experiment) -> dict[str, float] | None:
    """Return the numbers: of each step its loss and the norm of its gradient, and what remains.

    `moved` is the L2 distance of all parameters from their start; `loss_after` the loss of the
    first batch then; `embedding` and `scores` weighted sums over the first batch in evaluation
    mode, of the embeddings and of the class scores, if there are any. An untrained row has
    `embedding` alone. `batch` is what the losses need a batch to hold, as one number. All are
    rounded to nine significant digits; what is not finite is left out.

    None where the row's loss is not known here, as a plugin's that was not named, or does not take
    such a batch.
    """
    try:
        with torch.random.fork_rng(devices=[]), _one_thread():
            found = _probe(_tiny(experiment))
    except Exception:  # a plugin's own faults too: the probe is no reason for a training to fail
        return None
    return {name: float(f"{v:.9g}") for name, v in found.items() if math.isfinite(v)}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute by one thread: for so little, others take time only to wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def changed(before: dict[str, float], now: dict[str, float]) -> list[str]:
    """Return the names of the numbers that differ by more than rounding, of those in both."""
    return [
        name
        for name, value in before.items()
        if name in now and not math.isclose(value, now[name], rel_tol=ROUNDING, abs_tol=_NOTHING)
    ]


def numbers(count: int, start: int = 0) -> np.ndarray:
    """Return (count,) float64 between −1 and 1, the same everywhere: integers, well mixed."""
    x = np.arange(count, dtype=np.uint64) + np.uint64(1 + 1_000_003 * start)
    for multiplier in (0x7FEB352D, 0x846CA68B):
        x ^= x >> np.uint64(16)
        x = (x * np.uint64(multiplier)) & np.uint64(0xFFFFFFFF)
    x ^= x >> np.uint64(16)
    return x.astype(np.float64) / 2**31 - 1


class _Tiny(Learner):
    """The network and objective of the probe, at step 0."""

    def __init__(self, experiment: Experiment) -> None:
        """Build both twice: what differs is random, and gets numbers that are the same anywhere."""
        built = []
        for seed in range(2):
            seed_torch(seed, 0)
            built.append(new_model(experiment, CLASSES, _COUNTS))
        (network, objective), others = built
        for module, other in zip((network, objective), others, strict=True):
            _replace_random(module.double(), other.double())
        if experiment.model.head_start == "pca":
            _start_from_components(network, experiment.input.channels)
        self.network, self.forward, self.objective = network, network, objective
        self.optimizer = build_optimizer(experiment.optimizer, network, objective)
        self.device = torch.device("cpu")
        self.scaler = LossScaler(self.device, enabled=False)
        self.step = 0


def _replace_random(module: torch.nn.Module, other: torch.nn.Module) -> None:
    others = other.state_dict()
    for place, (name, tensor) in enumerate(module.state_dict().items()):
        if not torch.equal(tensor, others[name]):
            inputs = tensor[0].numel() if tensor.ndim > 1 else 100
            values = numbers(tensor.numel(), place) * (3 / inputs) ** 0.5
            tensor.copy_(torch.from_numpy(values).view(tensor.shape))


def _start_from_components(network: EmbeddingNetwork, channels: int) -> None:
    """Start the head from the components of three batches."""
    with torch.no_grad():
        features, _ = network(torch.cat([_images(number, channels) for number in range(3)]))
    rows = features.numpy()
    assert isinstance(network.head, torch.nn.Linear)
    found = components(len(rows), rows.sum(axis=0), rows.T @ rows, network.head.out_features)
    start_from(network.head, *found)


def _tiny(experiment: Experiment) -> Experiment:
    """Return a row's settings with a network and images that take no time."""
    model, memory = experiment.model, experiment.memory
    width = None if model.embedding_dim is None else min(model.embedding_dim, WIDTH)
    changes: dict[str, Any] = {
        "data": DataConfig(name="digits", task=experiment.data.task),
        "model": model.model_copy(
            update={
                "backbone": "small_cnn",
                "weights": None,
                "embedding_dim": width,
                "freeze": "all" if model.freeze == "all" else [],
            }
        ),
        "input": experiment.input.model_copy(
            update={"size": SIDE, "resize": None, "resize_max": None}
        ),
        "train": TrainConfig(steps=experiment.train.steps),
        "evaluation": EvaluationConfig(),
    }
    if memory is not None:
        small = {"size": min(memory.size, MEMORY), "start_step": min(memory.start_step, 1)}
        changes["memory"] = memory.model_copy(update=small)
    return experiment.model_copy(update=changes)


def _probe(experiment: Experiment) -> dict[str, float]:
    learner, found = _Tiny(experiment), {}
    channels = experiment.input.channels
    labels = torch.arange(CLASSES).repeat_interleave(PER_CLASS)
    first = _images(0, channels)
    if experiment.train.steps:
        learner.network.train()
        learner.objective.train()
        before = [p.detach().clone() for p in learner.trained]
        for number, step in enumerate(_steps(experiment)):
            taken = take_step(learner, experiment, 0, step, _images(number, channels), labels)
            found[f"loss_{number}"] = float(taken.loss)
            found[f"gradient_{number}"] = gradient_norm(learner.trained)
        moves = zip(learner.trained, before, strict=True)
        squares = [float((now.detach() - then).square().sum()) for now, then in moves]
        found["moved"] = sum(squares) ** 0.5
        seed_torch(0, 0)
        with torch.no_grad():
            found["loss_after"] = float(learner.objective(*learner.network(first), labels, None)[0])
    learner.network.eval()
    learner.objective.eval()
    with torch.no_grad():
        features, embeddings = learner.network(first)
        scores = learner.objective.logits(features, embeddings)
    found["embedding"] = _weighted(embeddings)
    if scores is not None and experiment.train.steps:
        found["scores"] = _weighted(scores)
    needs = learner.objective.needs
    found["batch"] = float(needs.positives + 2 * needs.negatives + 4 * needs.together)
    return found


def _steps(experiment: Experiment) -> list[int]:
    """Return the first step of each earlier phase; the first, middle and last of its own loss."""
    *earlier, own = accumulate([0, *(phase.steps for phase in experiment.phases)])
    last = experiment.train.steps - 1
    return [*earlier, own, (own + last) // 2, last]


def _images(number: int, channels: int) -> Tensor:
    """Return (24, C, 15, 15) uint8 images, those of a class alike."""
    pixels = channels * SIDE * SIDE
    of_class = np.repeat(numbers(CLASSES * pixels, 50).reshape(CLASSES, -1), PER_CLASS, axis=0)
    own = numbers(CLASSES * PER_CLASS * pixels, 60 + number).reshape(-1, pixels)
    values = np.floor((2 + of_class + own) * 63.75).astype(np.uint8)
    return torch.from_numpy(values).view(-1, channels, SIDE, SIDE)


def _weighted(rows: Tensor) -> float:
    weights = torch.from_numpy(numbers(rows.numel(), 99)).view(rows.shape)
    return float((rows * weights).sum())
