"""What small parts of a training step cost in it, beside what is done instead: the small CNN.

A part that takes a microsecond alone takes ten after a backward pass, whose convolutions drive
Python out of the processor's caches. So each is timed once after a forward and a backward pass, in
turns; given are the medians, in microseconds of one thread.

    python tests/perf/step_parts.py [--rounds 200]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from step_time import small_training

from stt_bench.benchmark.training.finite import overflow_of
from stt_bench.benchmark.training.update import Update
from stt_bench.losses.terms import check_class_range


def main() -> None:
    """Print a line for each part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        _, learner, (_, images, labels, _) = small_training(Path(folder))
    optimizer, trained, loss = learner.optimizer, learner.trained, learner.objective.softmax
    assert loss is not None
    embeddings = learner.network(images)[1].detach()

    update = Update(optimizer)

    def gradients_gone() -> None:
        for parameter in trained:
            parameter.grad = None

    parts: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "zero_grad": optimizer.zero_grad,
        "ours: gradients set to None": gradients_gone,
        "the optimiser's step": optimizer.step,
        "ours: its lists made once": update,
        "a look at the range of the labels": lambda: check_class_range(labels, 10**6),
        "ours: whether a gradient overflows": lambda: overflow_of(trained, learner.scaler.one),
        "ours: the loss module": lambda: loss(embeddings, labels),
        "linear layer and cross-entropy": lambda: torch.nn.functional.cross_entropy(
            loss.linear(embeddings), labels
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, part in parts.items():
            learner.objective(*learner.network(images), labels)[0].backward()
            start = time.perf_counter()
            part()
            times[name].append(1e6 * (time.perf_counter() - start))
            gradients_gone()
    for name, found in times.items():
        print(f"{name:<36} {np.median(found):6.0f}")


if __name__ == "__main__":
    main()
