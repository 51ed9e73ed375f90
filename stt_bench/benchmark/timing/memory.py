"""Peak memory of two training steps, measured in a process of its own.

What the caller has imported and allocated would be counted otherwise.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.models import check_backbone
from stt_bench.benchmark.system.devices import resolve_device
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.machine import (
    make_deterministic,
    peak_memory_mib,
    restart_peak_memory,
)
from stt_bench.benchmark.system.plugins import import_plugin, loaded_plugins
from stt_bench.benchmark.timing.stopwatch import Stopwatch


def peak_of_own_process(experiment: Experiment, batch: int, device: torch.device) -> float:
    """Return the MiB that two training steps need alone.

    Raises:
        BenchError: the process failed; with the last thing it said.
    """
    order = {
        "experiment": experiment.model_dump(),
        "batch": batch,
        "device": str(device),
        "plugins": loaded_plugins(),
    }
    done = subprocess.run(
        # -P: modules are found where this process finds them, and not in the current folder,
        # which may hold a random.py of somebody.
        [sys.executable, "-P", "-m", __name__],
        input=json.dumps(order),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        start_new_session=True,  # Ctrl-C is for this process, which ends the other
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    said = done.stdout.split()
    if done.returncode or not said:
        told = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
        raise BenchError(f"the process that measures memory failed: {told[-1]}")
    return float(said[-1])


def _print_peak() -> None:
    order = json.load(sys.stdin)
    for number, file in enumerate(order["plugins"]):
        import_plugin(Path(file), number)
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
