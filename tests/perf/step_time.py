"""A training step beside a hand-written minimal loop and pytorch-metric-learning's trainer.

Ours is the whole loop of `stt-bench train`: batches, learning rate, step, watch, and every 20 steps
the log and TensorBoard. The minimal loop has the same network, images, batches and optimiser, and
nothing else: index the images, forward, loss, backward, step; its `free` side, for GPUs, lets torch
take kernels that are not deterministic, and cuDNN try which is quickest. Rounds of both take turns
within one training; given are the best round of each, and the median of the rounds' ratios. On a
CPU the seconds are those of the process's one thread and whatever it starts.

In one process the other side has what ours does to the whole process: it keeps the memory that it
frees (`keep_freed_memory`). The side `apart` is the minimal loop in a process of its own, without
that, as one would run it; processes of both kinds take turns, one for each round.

    python tests/perf/step_time.py [small_cnn] [lite0] [--rounds 7] [--device cpu] [--log-every 20]
    python tests/perf/step_time.py resnet50 --device cuda --precision bfloat16 --steps 50
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.datasets.batches import Batch, TrainingBatches
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.devices import Precision, autocast, resolve_device
from stt_bench.benchmark.system.machine import make_deterministic, seed_torch
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.learner import Learner
from stt_bench.benchmark.training.loop import fit
from stt_bench.benchmark.training.prepare import batches_of

SIDES = {
    "minimal": "minimal loop",
    "apart": "minimal loop, a process of its own",
    "free": "the same loop, not deterministic",
    "peer": "pytorch-metric-learning's trainer",
}
QUIET = Reporter(quiet=True)
CASES = {  # backbone, pixels, channels, P, K, steps of a round
    "small_cnn": ("small_cnn", 28, 1, 5, 8, 100),
    "lite0": ("timm/tf_efficientnet_lite0", 96, 3, 5, 8, 5),
    "resnet50": ("timm/resnet50", 224, 3, 8, 16, 2),
}
TABLE = """\
title: Step time
description: A training step on resized digits.
seeds: [0]
data: {{name: digits, task: {task}}}
input: {{size: {size}, channels: {channels}}}
model: {{backbone: {backbone}, embedding_dim: 64, normalize: {normalize}}}
loss: {loss}
sampler: {{p: {p}, k: {k}}}
optimizer: {{name: adam, lr: 0.0003}}
train:
  steps: {steps}
  threads: 1
  device: {device}
  precision: {precision}
  checkpoint_every: 100000
  log_every: {log_every}
rows: {{row: {{label: Row}}}}
"""


def made(text: str, folder: Path) -> Run:
    """Return the run of a table's one row."""
    path = folder / "step_time.yaml"
    path.write_text(text)
    table: Table = load_table(str(path))
    return run_of(table, "row", 0, folder / "runs")


def small_training(folder: Path) -> tuple[Run, Learner, Batch]:
    """Return the run of the small CNN on a CPU, its learner at step 0, and its first batch."""
    text = TABLE.format(
        size=28, channels=1, backbone="small_cnn", normalize="false", loss="softmax", steps=10**6,
        device="cpu", log_every=1, precision="float32", task="retrieval", p=5, k=8,
    )  # fmt: skip
    run = made(text, folder)
    make_deterministic(1)
    seed_torch(0, 0)
    items = load_items(run.experiment.data)
    learner = Learner(run.experiment, items, torch.device("cpu"))
    learner.network.train()
    batches = batches_of(run, items, learner, QUIET)
    batch = next(batches)
    batches.close()
    return run, learner, batch


class Minimal:
    """What one writes by hand, for Softmax."""

    def __init__(
        self,
        learner: Learner,
        images: torch.Tensor,
        drawn: TrainingBatches,
        precision: Precision,
    ) -> None:
        """Start from the learner's weights."""
        self.network = copy.deepcopy(learner.network).train()
        assert learner.objective.softmax is not None
        self.classifier = copy.deepcopy(learner.objective.softmax.linear)
        weights = [*self.network.parameters(), *self.classifier.parameters()]
        self.optimizer = torch.optim.Adam(weights, lr=3e-4, fused=True)
        self.images, self.drawn, self.device, self.step = images, drawn, learner.device, 0
        self.in_precision = partial(autocast, precision, learner.device)

    def __call__(self, steps: int) -> None:
        """Take some steps."""
        for _ in range(steps):
            rows = torch.from_numpy(self.drawn.sampler.batch(self.step))
            images = self.images[rows].to(self.device, non_blocking=True)
            labels = self.drawn.labels[rows].to(self.device, non_blocking=True)
            with self.in_precision():
                loss = cross_entropy(self.classifier(self.network(images)[1]), labels)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            self.step += 1


class Trainer:
    """pytorch-metric-learning's own, with its hard triplet loss."""

    def __init__(
        self,
        learner: Learner,
        images: torch.Tensor,
        drawn: TrainingBatches,
        steps: int,
        size: int,
        k: int,
    ) -> None:
        """Start from the learner's weights."""
        from pytorch_metric_learning import losses, miners, samplers, trainers

        trunk: nn.Module = _Embeddings(copy.deepcopy(learner.network))
        self.trainer = trainers.MetricLossOnly(
            models={"trunk": trunk},
            optimizers={"trunk_optimizer": torch.optim.Adam(trunk.parameters(), lr=3e-4)},
            batch_size=size,
            loss_funcs={"metric_loss": losses.TripletMarginLoss(margin=0.2)},
            mining_funcs={"tuple_miner": miners.BatchHardMiner()},
            dataset=torch.utils.data.TensorDataset(images, drawn.labels),
            sampler=samplers.MPerClassSampler(drawn.labels, k, size, size * steps),
            dataloader_num_workers=0,
            iterations_per_epoch=steps,
            data_device=learner.device,
        )
        self.epoch = 1

    def __call__(self, _steps: int) -> None:
        """Take the steps of an epoch."""
        with contextlib.redirect_stderr(io.StringIO()):
            self.trainer.train(start_epoch=self.epoch, num_epochs=self.epoch)
        self.epoch += 1


class _Embeddings(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> Any:
        return self.network(images)[1]


def in_turns(
    batches: Iterator[Batch],
    steps: int,
    other: Callable[[int], None],
    now: Callable[[], float],
    table: list[tuple[float, float]],
) -> Iterator[Batch]:
    """Hand out our batches; after each round of ours let the other side take as many steps."""
    start = now()
    for number, batch in enumerate(batches):
        if number and number % steps == 0:
            ours = now() - start
            start = now()
            other(steps)
            table.append((ours, now() - start))
            start = now()
        yield batch


@contextlib.contextmanager
def free() -> Iterator[None]:
    """Let torch take the kernels that are quickest, whether or not they repeat, within."""
    torch.set_deterministic_debug_mode("default")
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        make_deterministic(1)


def compare(name: str, side: str, given: argparse.Namespace) -> None:
    """Measure one network against one other side, and print."""
    peer = side == "peer"
    backbone, size, channels, p, k, steps = CASES[name]
    steps = given.steps or steps
    with tempfile.TemporaryDirectory() as folder:
        run = made(
            TABLE.format(
                backbone=backbone,
                size=size,
                channels=channels,
                normalize=str(peer).lower(),
                loss="{name: hard_triplet, margin: 0.2}" if peer else "softmax",
                steps=steps * (given.rounds + 2) + 1,  # the first round warms up
                device=given.device,
                log_every=given.log_every,
                precision=given.precision,
                task="retrieval" if p <= 5 else "classification",
                p=p,
                k=k,
            ),
            Path(folder),
        )
        run.save()
        device = resolve_device(given.device)
        make_deterministic(1)
        seed_torch(0, 0)
        items = load_items(run.experiment.data, QUIET)
        learner = Learner(run.experiment, items, device)
        drawn = TrainingBatches(items, run.experiment, 0, learner.objective.needs)
        drawn.images.load()
        images = drawn.images.batch(np.arange(len(drawn.labels)))
        images = images.contiguous(memory_format=torch.channels_last)
        other: Callable[[int], None]
        if peer:
            other = Trainer(learner, images, drawn, steps, p * k, k)
        else:
            other = Minimal(learner, images, drawn, given.precision)
        if side == "free":
            other = free()(other)

        def now() -> float:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
                return time.perf_counter()
            return time.process_time()

        table: list[tuple[float, float]] = []
        if given.only == "minimal":
            for _ in range(given.rounds + 1):
                start = now()
                other(steps)
                table.append((0.0, now() - start))
            print(json.dumps([theirs / steps for _, theirs in table[1:]]))
            return
        if given.only == "ours":
            other = {}.get
        batches = in_turns(batches_of(run, items, learner, QUIET), steps, other, now, table)
        fit(run, learner, batches, run.origin(items.data_hash, "none"), threading.Event(), QUIET)
    if given.only == "ours":
        print(json.dumps([ours / steps for ours, _ in table[1:]]))
        return
    tell(name, side, *(1e3 * np.array(table[1:]).T / steps))


def apart(name: str, given: argparse.Namespace) -> None:
    """Measure one network, ours and the minimal loop in processes of their own, and print."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, __file__, name, "--rounds", "3", "--log-every", str(given.log_every)]
    rounds = []
    for _ in range(given.rounds):
        kinds = (("ours", {}), ("minimal", {"MALLOC_ARENA_MAX": "1000"}))  # set: nothing is kept
        made = [
            subprocess.run(
                [*command, "--sides", "minimal", "--only", only],
                env=plain | own,
                capture_output=True,
                check=True,
            )
            for only, own in kinds
        ]
        rounds.append([min(json.loads(done.stdout)) for done in made])
    tell(name, "apart", *(1e3 * np.array(rounds).T))


def tell(name: str, side: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Print a line of the table, of the milliseconds of the rounds."""
    _, size, _, p, k, _ = CASES[name]
    peer = side == "peer"
    ratios = ours / theirs if not peer else theirs / ours
    best = ours.min() / theirs.min() if not peer else theirs.min() / ours.min()
    asked = "trainer ÷ ours" if peer else "ours ÷ minimal"
    print(
        f"| {name}, {size} px, {p * k} images | {ours.min():.2f} | {SIDES[side]} "
        f"| {theirs.min():.2f} | {asked} | {best:.3f} | {np.median(ratios):.3f} |",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    logging.disable()
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("networks", nargs="*", default=["small_cnn", "lite0"])
    options.add_argument("--steps", type=int, help="of a round")
    options.add_argument("--precision", default="float32")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--device", default="cpu")
    options.add_argument("--log-every", type=int, default=20)
    options.add_argument("--sides", nargs="+", choices=SIDES, default=["minimal", "peer"])
    options.add_argument("--only", choices=["ours", "minimal"], help="in this process, as JSON")
    given = options.parse_args()
    if given.only:
        compare(given.networks[0], "minimal", given)
        return
    print("| network, batch | ours, ms | beside | ms | ratio | best rounds | median |")
    print("|---|---:|---|---:|---|---:|---:|")
    for name in given.networks:
        for side in given.sides:
            if side == "apart":
                if given.device != "cpu" or given.steps or given.precision != "float32":
                    sys.exit("apart is measured on a CPU, in float32 and steps of the script's own")
                apart(name, given)
            else:
                compare(name, side, given)


if __name__ == "__main__":
    main()
