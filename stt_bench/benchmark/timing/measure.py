"""What a second head costs: time of a training step and of inference, and peak memory.

All variants of a backbone, Softmax alone and Softmax with each loss on a second head, take turns in
random order, and each is compared with Softmax of the same round: drift of the machine cancels.
Images are random and lie on the device, so reading images is not in the times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.models import check_backbone
from stt_bench.benchmark.system.devices import device_name, given_device
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.machine import (
    make_deterministic,
    versions,
)
from stt_bench.benchmark.system.memory import full_memory_told
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.timing.memory import peak_of_own_process
from stt_bench.benchmark.timing.results import BackboneTiming, Timing, Variant
from stt_bench.benchmark.timing.stopwatch import SOFTMAX, K, Stopwatch, experiment_of, take_turns
from stt_bench.losses import loss_names
from stt_bench.names import did_you_mean

WARM_UP = 2  # rounds that are not counted


def measure(
    backbones: Sequence[str],
    losses: Sequence[str],
    reporter: Reporter,
    *,
    batch: int,
    size: int,
    steps: int,
    device: str,
    memory: bool,
    seed: int = 0,
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
        memory: Also measure peak memory, in a process of its own for each variant; where that
            fails, a warning says why.
        seed: Of the order in which the variants take turns.

    Raises:
        BenchError: an unknown name, sizes that do not fit, or too little memory.
    """
    for backbone in backbones:
        check_backbone(backbone)
    for loss in losses:
        if loss == SOFTMAX or loss not in loss_names():
            valid = [name for name in loss_names() if name != SOFTMAX]
            raise BenchError(f"--losses: '{loss}' is no ranking loss; {did_you_mean(loss, valid)}")
    if batch < 2 * K or batch % K:
        raise BenchError(f"--batch {batch}: a batch has {K} images of each class; use {8 * K}")
    chosen = given_device(device, reporter)
    make_deterministic(None)
    timings = []
    for backbone in backbones:
        variants = [experiment_of(backbone, loss, size) for loss in (SOFTMAX, *losses)]
        peaks: list[float | None] = [None] * len(variants)
        if memory:
            with reporter.bar(f"{backbone}: memory", len(variants)) as bar:
                for number, variant in enumerate(variants):
                    try:
                        peaks[number] = peak_of_own_process(variant, batch, chosen)
                    except BenchError as error:
                        reporter.warn(f"{backbone} with {variant.loss.name}: {error}")
                    bar.to(number + 1)
        with (
            reporter.bar(f"{backbone}: time", steps) as bar,
            full_memory_told(f"{backbone}, {len(variants)} networks at once", "timing"),
        ):
            table = _times(variants, batch, chosen, steps, seed, bar.to)
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
        f"--batch {batch} --size {size} --steps {steps} --device {device}"
        + ("" if memory else " --no-memory"),
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
