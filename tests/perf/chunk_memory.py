"""What a training step takes where it encodes the batch in parts (`train.chunk`), and where not.

    python tests/perf/chunk_memory.py [--p 32] [--k 16] [--chunks 0 16] [--backbone timm/...]
    python tests/perf/chunk_memory.py --device cuda --precision bfloat16

Each measurement is a process of its own: two steps of Adam with the hard triplet loss on random
images, of which the second is measured. Given are its seconds, what it takes of memory beyond what
it found (weights and the optimiser's state are there by then), and the peak of all: of the GPU, or
of the process, libraries included. A chunk of 0 is the whole batch at once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from step_time import made

from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.system.machine import (
    make_deterministic,
    peak_memory_mib,
    restart_peak_memory,
    seed_torch,
)
from stt_bench.benchmark.training.learner import Learner
from stt_bench.benchmark.training.step import take_step

TABLE = """\
title: Memory of a step
description: Random images.
seeds: [0]
data: {{name: digits, task: retrieval}}
input: {{size: {size}, channels: 3}}
model: {{backbone: {backbone}, embedding_dim: 512}}
loss: hard_triplet
sampler: {{p: 5, k: 8}}
optimizer: {{name: adam, lr: 0.00001}}
train: {{steps: 10, device: {device}, precision: {precision}{chunk}}}
rows: {{row: {{label: Row}}}}
"""


def measure(given: argparse.Namespace) -> None:
    """Measure a step in this process, and print it as JSON."""
    chunk = given.chunks[0]
    device = torch.device(given.device)
    with tempfile.TemporaryDirectory() as folder:
        text = TABLE.format(**vars(given), chunk=f", chunk: {chunk}" if chunk else "")
        experiment = made(text, Path(folder)).experiment
    make_deterministic(given.threads)
    seed_torch(0, 0)
    learner = Learner(experiment, load_items(experiment.data), device)
    images = torch.randint(0, 256, (given.p * given.k, 3, given.size, given.size)).byte()
    labels = torch.arange(given.p).repeat_interleave(given.k)
    few = min(2 * given.k, len(labels))
    take_step(learner, experiment, 0, 0, images[:few], labels[:few])
    restart_peak_memory(device)
    before, start = peak_memory_mib(device), time.perf_counter()
    take_step(learner, experiment, 0, 1, images, labels)
    peak = peak_memory_mib(device)  # on a GPU after all that the step asked for
    print(json.dumps([time.perf_counter() - start, (peak - before) / 1024, peak / 1024]))


def main() -> None:
    """Measure each kind in a process of its own, and print a line."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--backbone", default="timm/vit_small_patch16_224")
    options.add_argument("--size", type=int, default=224)
    options.add_argument("--p", type=int, default=32)
    options.add_argument("--k", type=int, default=16)
    options.add_argument("--chunks", type=int, nargs="+", default=[0, 64, 16])
    options.add_argument("--device", default="cpu")
    options.add_argument("--precision", default="float32")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--in-this-process", action="store_true")
    given = options.parse_args()
    if given.in_this_process:
        measure(given)
        return
    print("| network | images | chunk | seconds | GiB of the step | GiB of all |")
    print("|---|---:|---:|---:|---:|---:|")
    for chunk in given.chunks:
        command = [sys.executable, __file__, *sys.argv[1:], "--in-this-process"]
        done = subprocess.run(
            [*command, "--chunks", str(chunk)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            told = "no memory" if done.returncode < 0 else done.stderr.strip().splitlines()[-1]
            print(f"| {given.backbone} | {given.p * given.k} | {chunk} | {told} | | |", flush=True)
            continue
        seconds, step, peak = json.loads(done.stdout)
        print(
            f"| {given.backbone} | {given.p * given.k} | {chunk or 'all'} "
            f"| {seconds:.0f} | {step:.2f} | {peak:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
