"""A training step on a CPU where the process keeps the memory that it frees, and where it does not.

Each measurement is a process of its own; the two kinds take turns. Given are CPU milliseconds of a
step (its process, one thread), page faults of a step, the peak memory, and the median of the
ratios of neighbours. `stt-bench` keeps memory in every training (`keep_freed_memory`).

    python tests/perf/kept_memory.py [small_cnn] [lite0] [resnet50] [soft_triple] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import cross_entropy

CASES = {  # backbone, pixels, steps
    "small_cnn": ("small_cnn", 28, 200),
    "lite0": ("timm/tf_efficientnet_lite0", 96, 6),
    "resnet50": ("timm/resnet50", 128, 3),
    "soft_triple": ("", 0, 100),
}
IMAGES = 40


def step_of(name: str) -> Callable[[], None]:
    """Return a training step: of a network with Softmax, or of SoftTriple's 7,230 centres alone."""
    from stt_bench.benchmark.config.sections import InputConfig, ModelConfig
    from stt_bench.benchmark.models import build_network
    from stt_bench.losses import build_loss

    torch.manual_seed(0)
    labels = torch.arange(IMAGES) // 4
    backbone, size, _ = CASES[name]
    if not backbone:
        loss = build_loss("soft_triple", num_classes=723, embedding_dim=128)
        head = torch.nn.Linear(1280, 128)
        optimizer = torch.optim.Adam([*loss.parameters(), *head.parameters()], fused=True)
        inputs = torch.randn(IMAGES, 1280)

        def value() -> torch.Tensor:
            found: torch.Tensor = loss(head(inputs), labels)
            return found
    else:
        model = ModelConfig(backbone=backbone, embedding_dim=64)
        network = build_network(model, InputConfig(size=size))
        network = network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        classifier = torch.nn.Linear(64, 10)
        optimizer = torch.optim.Adam([*network.parameters(), *classifier.parameters()])
        images = torch.randint(0, 256, (IMAGES, 3, size, size), dtype=torch.uint8)
        images = images.contiguous(memory_format=torch.channels_last)

        def value() -> torch.Tensor:
            return cross_entropy(classifier(network(images)[1]), labels)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        value().backward()
        optimizer.step()

    return step


def work(name: str) -> None:
    """Measure in this process, and print."""
    from stt_bench.benchmark.system.machine import make_deterministic

    make_deterministic(1)
    step, steps = step_of(name), CASES[name][2]
    step()
    step()
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.process_time()
    for _ in range(steps):
        step()
    seconds, after = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF)
    faults = (after.ru_minflt - before.ru_minflt) / steps
    print(json.dumps([1e3 * seconds / steps, faults, after.ru_maxrss / 2**10]))


def measured(name: str, *, kept: bool) -> list[float]:
    """Return milliseconds, page faults and peak MiB of a process of one kind."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    if not kept:
        environment["MALLOC_ARENA_MAX"] = "1000"  # which changes nothing but that it is set
    command = [sys.executable, __file__, "--worker", name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: list[float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2])
        return
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("cases", nargs="*", default=[*CASES])
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    print("| step | ms, kept | ms | ratio | faults, kept | faults | peak MiB, kept | peak MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in given.cases:
        rounds = [
            [measured(name, kept=kept) for kept in (True, False)] for _ in range(given.rounds)
        ]
        found = np.array(rounds)  # rounds × kinds × measures
        ratio = np.median(found[:, 0, 0] / found[:, 1, 0])
        (ms, faults, peak), (ms_not, faults_not, peak_not) = np.median(found, axis=0)
        print(
            f"| {name} | {ms:.1f} | {ms_not:.1f} | {ratio:.2f} | {faults:,.0f} "
            f"| {faults_not:,.0f} | {peak:,.0f} | {peak_not:,.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
