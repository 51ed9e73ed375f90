"""How far the weights of two implementations of one optimiser lie apart after four steps.

PyTorch's plain and its fused Adam, and its plain and fused SGD, on the CPU: a hard triplet loss on
digits from the same weights with the same batches. For each parameter the largest difference is
printed, and the largest gradient of the four steps.

    python tests/perf/adam_rounding.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.store.runs import run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.machine import make_deterministic, seed_torch
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.learner import Learner
from stt_bench.benchmark.training.prepare import batches_of
from stt_bench.benchmark.training.step import take_step

STEPS, RATE = 4, 0.001
Tensors = dict[str, torch.Tensor]


def trained(name: str, *, fused: bool) -> tuple[Tensors, Tensors]:
    """Return the parameters after the steps, and the largest size of each one's gradients."""
    settings = ["optimizer.schedule=constant", f"optimizer.lr={RATE}", f"train.steps={STEPS}"]
    run = run_of(load_table("digits_retrieval", settings), "hard_triplet", 0, Path("runs"))
    make_deterministic(1)
    items = load_items(run.experiment.data)
    seed_torch(0, 0)
    learner = Learner(run.experiment, items, torch.device("cpu"))
    kinds = {"Adam": torch.optim.Adam, "SGD": torch.optim.SGD}
    groups = learner.optimizer.param_groups
    parts = [{"params": g["params"], "base_lr": g["base_lr"]} for g in groups]
    learner.optimizer = kinds[name](parts, lr=RATE, fused=fused)
    largest: Tensors = {}
    for step, images, labels, weights in batches_of(run, items, learner, Reporter(quiet=True)):
        take_step(learner, run.experiment, 0, step, images, labels, weights)
        for one, parameter in learner.network.named_parameters():
            if parameter.grad is not None:
                size = parameter.grad.abs().max()
                largest[one] = torch.maximum(largest.get(one, size), size)
        if step + 1 == STEPS:
            break
    return {n: p.detach() for n, p in learner.network.named_parameters()}, largest


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    print("| optimiser | parameter | largest difference | largest gradient |\n|---|---|---:|---:|")
    for name in ("Adam", "SGD"):
        plain, largest = trained(name, fused=False)
        fused, _ = trained(name, fused=True)
        for one, size in largest.items():
            apart = float((plain[one] - fused[one]).abs().max())
            print(f"| {name} | {one} | {apart:.1e} | {float(size):.1e} |")


if __name__ == "__main__":
    main()
