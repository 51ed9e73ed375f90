"""A learner of a tiny network in float64, for tests of single steps."""

from __future__ import annotations

from typing import Any

import torch

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.system.machine import seed_torch
from stt_bench.benchmark.training.average import Average
from stt_bench.benchmark.training.learner import Learner, new_model
from stt_bench.benchmark.training.optimization import build_optimizer
from stt_bench.benchmark.training.scaling import LossScaler

CLASSES, PER_CLASS, SIDE = 5, 4, 11


def experiment_of(loss: Any = "softmax", **settings: Any) -> Experiment:
    """Return settings with a network of 11×11 images and an embedding of 6."""
    return Experiment.model_validate(
        {
            "data": {"name": "digits"},
            "input": {"size": SIDE, "channels": 1, "mean": [0.3], "std": [0.37]},
            "model": {"embedding_dim": 6, **settings.pop("model", {})},
            "loss": loss,
            "sampler": {"p": CLASSES, "k": PER_CLASS},
            "optimizer": {"name": "sgd", "lr": 0.05, **settings.pop("optimizer", {})},
            "train": {"steps": 10, **settings.pop("train", {})},
            **settings,
        }
    )


class Small(Learner):
    """A learner without data, at step 0; the same settings give the same weights."""

    def __init__(
        self,
        experiment: Experiment,
        dtype: torch.dtype = torch.float64,
        device: torch.device = torch.device("cpu"),  # noqa: B008
    ) -> None:
        """Build it."""
        seed_torch(1, 0)
        self.device = device
        network, objective = new_model(experiment, CLASSES, [9, 8, 7, 6, 5])
        self.network, self.objective = network.to(device, dtype), objective.to(device, dtype)
        self.forward = self.network
        self.optimizer = build_optimizer(experiment.optimizer, self.network, self.objective)
        if experiment.train.ema is not None:
            self.average = Average(experiment.train.ema, self.trained)
        self.scaler = LossScaler(self.device, enabled=experiment.train.precision == "float16")
        self.step = 0
        self.network.train()
        self.objective.train()

    def gradients(self) -> dict[str, torch.Tensor]:
        """Return the gradients by the names of the parameters."""
        parameters = [*self.network.named_parameters(), *self.objective.named_parameters()]
        return {name: p.grad.clone() for name, p in parameters if p.grad is not None}


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random images, and labels class by class."""
    generator = torch.Generator().manual_seed(step)
    count = CLASSES * PER_CLASS
    shape = (count, 1, SIDE, SIDE)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return images, torch.arange(CLASSES).repeat_interleave(PER_CLASS)
