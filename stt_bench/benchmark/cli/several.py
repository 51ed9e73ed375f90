"""A command in several processes: the first runs it, and tells the others what to do along."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.launch import launched, torchrun

if TYPE_CHECKING:
    from stt_bench.benchmark.datasets import Split
    from stt_bench.benchmark.store.facts import TrainingFacts
    from stt_bench.benchmark.store.runs import Run


def among_several(command: Callable[[], object]) -> None:
    """Run a command in the first of the processes that ``torchrun`` started; follow in the others.

    Training and embedding are shared; all else the first does alone.

    Raises:
        BenchError: the processes do not reach each other.
    """
    from stt_bench.benchmark.system.orders import end_orders, watch
    from stt_bench.benchmark.system.processes import join

    present = join()
    watch()
    if not present.leads:
        _follow()
        return
    try:
        command()
    finally:
        end_orders()


def run_by_several(gpus: int, devices: set[str], *, jobs: int, on: str | None) -> int | None:
    """Run this process's command again in one process for each GPU, by ``torchrun``.

    With `jobs` each of them starts its own.

    Args:
        gpus: how many.
        devices: `train.device` of the rows that are run.
        jobs: how many of their runs go on at once, each with so many GPUs.
        on: where else they go on.

    Returns:
        Its exit code; None where one process is enough, or this is one of several.

    Raises:
        BenchError: as `check_gpus`.
    """
    check_gpus(gpus, devices, on=on)
    if gpus == 1 or jobs > 1:
        return None
    return torchrun(gpus, _without(sys.argv[1:], "--gpus"))


def check_gpus(gpus: int, devices: set[str], *, on: str | None) -> None:
    """Check that so many processes of this machine can share each batch.

    Raises:
        BenchError: there are fewer GPUs, or the runs are spread.
    """
    if on and gpus > 1:
        raise BenchError(
            "--on ray gives each training one process: for several at once with several GPUs each "
            "give --jobs and --gpus"
        )
    if gpus == 1:
        return
    if launched():
        raise BenchError("--gpus starts torchrun itself: leave it out under torchrun")
    if devices != {"cpu"}:
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if gpus > count:
            raise BenchError(
                f"--gpus {gpus}: PyTorch finds {count} CUDA GPU(s) here; lower it, or share the "
                "batches among processes on the CPU: --set train.device=cpu"
            )


def _without(arguments: Sequence[str], option: str) -> list[str]:
    """Return arguments without an option and its value."""
    kept, skip = [], False
    for one in arguments:
        if not skip and one != option and not one.startswith(f"{option}="):
            kept.append(one)
        skip = not skip and one == option
    return kept


def _follow() -> None:
    """Train and embed along, by the plugins that the command names."""
    from stt_bench.benchmark.system.plugins import import_plugin

    with suppress(BenchError):  # which the first process tells
        for number, file in enumerate(_plugins(sys.argv)):
            import_plugin(file, number)
    work_along()


def work_along() -> None:
    """Train and embed along with the process that leads, until it orders the end."""
    from stt_bench.benchmark.embedding.embed import embed_along
    from stt_bench.benchmark.suite.one import Data
    from stt_bench.benchmark.system.orders import follow
    from stt_bench.benchmark.system.progress import Silent
    from stt_bench.benchmark.training.train import train_along

    data = Data(Silent())

    def train(run: Run) -> None:
        train_along(run, data.of(run.experiment))

    def embed(run: Run, facts: TrainingFacts, split: Split) -> None:
        embed_along(run, facts, data.of(run.experiment), split)

    follow({"train": train, "embed": embed})


def _plugins(arguments: Sequence[str]) -> list[Path]:
    """Return the files of the options ``--plugin FILE`` and ``--plugin=FILE``."""
    named = zip(arguments, [*arguments[1:], ""], strict=True)
    files = [after if one == "--plugin" else one.partition("--plugin=")[2] for one, after in named]
    return [Path(file) for file in files if file]
