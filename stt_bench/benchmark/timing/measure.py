"""What a second head costs: time of a training step and of inference, and peak memory.

All variants of a backbone, Softmax alone and Softmax with each loss on a second head, take turns in
random order, and each is compared with Softmax of the same round: drift of the machine cancels.
Images are random and lie on the device, so reading images is not in the times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel
from scipy.stats import t as student

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.models import check_backbone
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.machine import (
    device_name,
    make_deterministic,
    peak_memory_mib,
    resolve_device,
    restart_peak_memory,
    seed_torch,
    versions,
)
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.learner import new_model
from stt_bench.benchmark.training.optimization import build_optimizer
from stt_bench.losses import loss_names
from stt_bench.names import did_you_mean

SOFTMAX = "softmax"
K = 4  # images of each class in a batch
CLASSES = 102  # as Flowers-102, the source's dataset
EMBEDDING_DIM = 256
WARM_UP = 2  # rounds that are not counted


class Variant(BaseModel):
    """The measurements of Softmax alone, or with a loss on a second head; round by round."""

    loss: str  # of the second head; `softmax`: there is none
    train_seconds: list[float]
    inference_seconds: list[float]
    peak_memory_mib: float | None  # of two training steps in a process of their own


class BackboneTiming(BaseModel):
    """The variants of one backbone, Softmax alone first."""

    backbone: str
    variants: list[Variant]


class Timing(BaseModel):
    """What ``timing.json`` holds."""

    schema_version: Literal[1] = 1
    command: str
    device: str
    threads: int
    batch: int
    size: int
    steps: int
    seed: int
    versions: dict[str, str]
    backbones: list[BackboneTiming]


@dataclass(frozen=True)
class Ratio:
    """A geometric mean of paired ratios with its 95 % interval."""

    mean: float
    low: float
    high: float


def paired_ratio(times: Sequence[float], baseline: Sequence[float]) -> Ratio:
    """Return the geometric mean of (N,) per-round ratios, with Student's interval of their logs."""
    logs = np.log(times) - np.log(baseline)
    half = student.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    low, mean, high = np.exp([logs.mean() - half, logs.mean(), logs.mean() + half]).tolist()
    return Ratio(mean, low, high)


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


def measure(
    backbones: Sequence[str],
    losses: Sequence[str],
    reporter: Reporter,
    *,
    batch: int,
    size: int,
    steps: int,
    device: str = "auto",
    seed: int = 0,
    memory: bool = True,
) -> Timing:
    """Measure every loss on the second head of every backbone, beside Softmax alone.

    Args:
        backbones: Names as in a config, with random weights.
        losses: Names of ranking losses.
        reporter: Shows the progress.
        batch: Images a batch, a multiple of 4: four of each class.
        size: Side of the images, pixels.
        steps: Rounds that are counted, at least 2.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        seed: Of the order in which the variants take turns.
        memory: Also measure peak memory, in a process of its own for each variant.

    Raises:
        BenchError: an unknown name, sizes that do not fit, or too little GPU memory.
    """
    for backbone in backbones:
        check_backbone(backbone)
    for loss in losses:
        if loss == SOFTMAX or loss not in loss_names():
            valid = [name for name in loss_names() if name != SOFTMAX]
            raise BenchError(f"--losses: '{loss}' is no ranking loss; {did_you_mean(loss, valid)}")
    if batch < 2 * K or batch % K:
        raise BenchError(f"--batch {batch}: a batch has {K} images of each class; use {8 * K}")
    try:
        chosen = resolve_device(device)
    except BenchError as error:
        raise BenchError(str(error).replace("train.device", "--device")) from None
    make_deterministic(None)
    timings = []
    for backbone in backbones:
        variants = [experiment_of(backbone, loss, size) for loss in (SOFTMAX, *losses)]
        peaks: list[float | None] = [None] * len(variants)
        if memory:
            with reporter.bar(f"{backbone}: memory", len(variants)) as bar:
                for number, variant in enumerate(variants):
                    peaks[number] = _peak_in_own_process(variant, batch, chosen)
                    bar.to(number + 1)
        with reporter.bar(f"{backbone}: time", steps) as bar:
            try:
                table = _times(variants, batch, chosen, steps, seed, bar.to)
            except torch.OutOfMemoryError:
                raise BenchError(
                    f"{backbone}: the GPU's memory does not hold {len(variants)} networks at once; "
                    "lower --batch or --size, or name fewer --losses"
                ) from None
        measured = [
            Variant(
                loss=variant.loss.name,
                train_seconds=table[:, 2 * number].tolist(),
                inference_seconds=table[:, 2 * number + 1].tolist(),
                peak_memory_mib=peaks[number],
            )
            for number, variant in enumerate(variants)
        ]
        timings.append(BackboneTiming(backbone=backbone, variants=measured))
    return Timing(
        command=f"stt-bench timing --backbones {','.join(backbones)} --losses {','.join(losses)} "
        f"--batch {batch} --size {size} --steps {steps} --device {device}",
        device=device_name(chosen),
        threads=torch.get_num_threads(),
        batch=batch,
        size=size,
        steps=steps,
        seed=seed,
        versions=versions(),
        backbones=timings,
    )


def _times(
    variants: Sequence[Experiment],
    batch: int,
    device: torch.device,
    steps: int,
    seed: int,
    after_round: Callable[[int], None],
) -> np.ndarray:
    """Return the seconds of (steps, 2 × variants): training and inference of each."""
    watches = [Stopwatch(variant, batch, device) for variant in variants]
    actions = [action for watch in watches for action in (watch.train, watch.infer)]
    rng = np.random.default_rng(seed)
    take_turns(actions, WARM_UP, rng)
    return take_turns(actions, steps, rng, after_round)


def _peak_in_own_process(experiment: Experiment, batch: int, device: torch.device) -> float | None:
    """Return the MiB that two training steps need alone; None where that process fails."""
    order = {"experiment": experiment.model_dump(), "batch": batch, "device": str(device)}
    done = subprocess.run(
        [sys.executable, "-m", "stt_bench.benchmark.timing.measure"],
        input=json.dumps(order),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,  # Ctrl-C is for this process, which ends the other
        capture_output=True,
        text=True,
        check=False,
    )
    return float(done.stdout) if done.returncode == 0 else None


def _print_peak() -> None:
    order = json.load(sys.stdin)
    experiment = Experiment.model_validate(order["experiment"])
    device = resolve_device(order["device"])
    make_deterministic(None)
    check_backbone(experiment.model.backbone)  # imports its library, which is not to be counted
    restart_peak_memory(device)
    before = peak_memory_mib(device)
    watch = Stopwatch(experiment, order["batch"], device)
    watch.train()
    watch.train()
    print(round(peak_memory_mib(device) - before, 1))


if __name__ == "__main__":
    _print_peak()
