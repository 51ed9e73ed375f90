"""A network and its loss on one batch of random images, timed step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.system.machine import seed_torch
from stt_bench.benchmark.training.learner import new_model
from stt_bench.benchmark.training.optimization import build_optimizer

SOFTMAX = "softmax"
K = 4  # images of each class in a batch
CLASSES = 102  # as Flowers-102, the source's dataset
EMBEDDING_DIM = 256


def take_turns(
    actions: Sequence[Callable[[], float]],
    rounds: int,
    rng: np.random.Generator,
    after_round: Callable[[int], None] = lambda _done: None,
) -> np.ndarray:
    """Return what each action says in each round, (rounds, actions); every round in a new order."""
    table = np.empty((rounds, len(actions)))
    for number in range(rounds):
        for index in rng.permutation(len(actions)):
            table[number, index] = actions[index]()
        after_round(number + 1)
    return table


class Stopwatch:
    """Times training steps and inference of an experiment on one batch of random images."""

    def __init__(
        self, experiment: Experiment, batch: int, device: torch.device, classes: int = CLASSES
    ) -> None:
        """Build the network; the same experiment gives the same weights and images."""
        seed_torch(0, 0)
        network, objective = new_model(experiment, classes)
        self.device = device
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.objective = objective.to(device)
        self.optimizer = build_optimizer(experiment.optimizer, self.network, self.objective)
        shape = (batch, experiment.input.channels, *[experiment.input.size] * 2)
        images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.labels = (torch.arange(batch, device=device) // K) % classes

    def train(self) -> float:
        """Take a training step; return its seconds."""
        self.network.train()
        self.objective.train()
        start = self._now()
        features, embeddings = self.network(self.images)
        loss, _ = self.objective(features, embeddings, self.labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return self._now() - start

    def infer(self) -> float:
        """Compute embeddings and class scores of the batch; return the seconds."""
        self.network.eval()
        self.objective.eval()
        with torch.inference_mode():
            start = self._now()
            self.objective.logits(*self.network(self.images))
            return self._now() - start

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def experiment_of(backbone: str, loss: str, size: int) -> Experiment:
    """Return the experiment of a variant: Softmax on the features, and a loss on a second head.

    The head is one linear layer to 256 coordinates of unit length, as in arXiv:1901.08616; the
    loss has its default parameters. `softmax` has no second head.
    """
    second: dict[str, object] = {
        "model": {"backbone": backbone, "embedding_dim": EMBEDDING_DIM, "normalize": True},
        "softmax_head": True,
    }
    alone: dict[str, object] = {"model": {"backbone": backbone, "head": "none"}}
    return Experiment.model_validate(
        {
            "data": {"name": "random"},
            "input": {"size": size},
            "loss": {"name": loss},
            "optimizer": {"name": "sgd", "lr": 0.001},
            **(alone if loss == SOFTMAX else second),
        }
    )
