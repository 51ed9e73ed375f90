"""What the second head costs: seconds a step of Softmax + Hard triplet ÷ Softmax alone.

The network is that of cub50_retrieval (EfficientNet-Lite0) in two settings: as the table freezes
it, and with everything training. Steps of the two take turns, so that drift of the machine hits
both; the ratio is the geometric mean over the rounds, with a 95 % interval. `stt-bench timing`
measures other backbones and losses in the same way.

    python tests/perf/two_head_cost.py [--steps 30] [--batch 32] [--size 128] [--device cpu]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.timing.results import paired_ratio
from stt_bench.benchmark.timing.stopwatch import Stopwatch, take_turns

TABLE = Path(__file__).parents[2] / "stt_bench" / "configs" / "cub50_retrieval.yaml"
CLASSES = 25


def experiments(frozen: bool, size: int) -> tuple[Experiment, Experiment]:
    """Return Softmax alone and the two heads, on the same untrained backbone."""
    row = load_table(str(TABLE)).rows["softmax_0.0002"].model_dump()
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
    device = torch.device(given.device)
    rng = np.random.default_rng(0)
    for name, frozen in (("first five stages frozen", True), ("everything trains", False)):
        steps = [
            Stopwatch(experiment, given.batch, device, CLASSES).train
            for experiment in experiments(frozen, given.size)
        ]
        take_turns(steps, 3, rng)
        alone, two = take_turns(steps, given.steps, rng).T
        ratio = paired_ratio(two, alone)
        print(
            f"{name}: Softmax {1e3 * np.median(alone):.1f} ms, "
            f"two heads {1e3 * np.median(two):.1f} ms, "
            f"ratio {ratio.mean:.3f} (95 %: {ratio.low:.3f} to {ratio.high:.3f})"
        )


if __name__ == "__main__":
    main()
