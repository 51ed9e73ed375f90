"""What the second head costs: seconds a step of Softmax + Hard triplet ÷ Softmax alone.

The network is that of cub50_retrieval (EfficientNet-Lite0) in two settings: as the table freezes
it, and with everything training. Steps of the two alternate, so that drift of the machine hits
both; the ratio is of the medians, with a 95 % bootstrap interval.

    python tests/perf/two_head_cost.py [--steps 30] [--batch 32] [--size 128] [--device cpu]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from benchmark.config import Experiment
from benchmark.tables import load_table
from benchmark.train import build_optimizer, new_model

TABLE = Path(__file__).parents[2] / "configs" / "cub50_retrieval.yaml"
CLASSES = 25


class Step:
    """One training step of an experiment on random images."""

    def __init__(self, experiment: Experiment, batch: int, device: str) -> None:
        torch.manual_seed(0)
        network, objective = new_model(experiment, CLASSES)
        self.device = device
        self.network = network.to(device, memory_format=torch.channels_last).train()
        self.objective = objective.to(device).train()
        self.optimizer = build_optimizer(experiment.optimizer, self.network, self.objective)
        size = experiment.input.size
        images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, device=device)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.labels = (torch.arange(batch, device=device) // 4) % CLASSES

    def __call__(self) -> float:
        start = time.perf_counter()
        features, embeddings = self.network(self.images)
        loss, _ = self.objective(features, embeddings, self.labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        if self.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - start


def experiments(frozen: bool, size: int) -> tuple[Experiment, Experiment]:
    """Return Softmax alone and the two heads, on the same untrained backbone."""
    row = load_table(str(TABLE)).rows["softmax"].model_dump()
    row["model"]["weights"] = None
    row["input"] |= {"size": size, "resize": None}
    if not frozen:
        row["model"] |= {"freeze": [], "freeze_batch_norm": False}
    alone = {**row, "model": {**row["model"], "head": "none"}}
    two = {**row, "loss": {"name": "hard_triplet"}, "softmax_head": True}
    return Experiment.model_validate(alone), Experiment.model_validate(two)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--steps", type=int, default=30)
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--size", type=int, default=128)
    options.add_argument("--device", default="cpu")
    given = options.parse_args()
    rng = np.random.default_rng(0)
    for name, frozen in (("first five stages frozen", True), ("everything trains", False)):
        alone, two = (
            Step(experiment, given.batch, given.device)
            for experiment in experiments(frozen, given.size)
        )
        for _ in range(3):
            alone(), two()
        pairs = np.array(
            [
                (alone(), two()) if step % 2 else (two(), alone())[::-1]
                for step in range(given.steps)
            ]
        )
        draws = rng.integers(0, given.steps, (2000, given.steps))
        ratios = np.median(pairs[draws, 1], axis=1) / np.median(pairs[draws, 0], axis=1)
        medians = np.median(pairs, axis=0)
        low, high = np.quantile(ratios, (0.025, 0.975))
        print(
            f"{name}: Softmax {1e3 * medians[0]:.1f} ms, two heads {1e3 * medians[1]:.1f} ms, "
            f"ratio {medians[1] / medians[0]:.3f} (95 %: {low:.3f} to {high:.3f})"
        )


if __name__ == "__main__":
    main()
