"""Commands in several processes: --gpus, and what torchrun is told."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from stt_bench.benchmark.cli import several
from stt_bench.benchmark.system import devices, launch
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.processes import Processes

TORCHRUN = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
TORCHRUN |= {"MASTER_ADDR": "here", "MASTER_PORT": "1"}


def test_gpus_starts_torchrun_with_the_same_command(
    stt_bench: Callable[..., Any], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[int, list[str]]] = []

    def torchrun(count: int, arguments: Sequence[str]) -> int:
        called.append((count, list(arguments)))
        return 3

    monkeypatch.setattr(several, "torchrun", torchrun)
    cpu = ("--rows", "hard", "--set", "train.device=cpu")
    assert stt_bench("run", tiny, "--gpus", 2, *cpu).returncode == 3
    assert called == [(2, ["run", str(tiny), *cpu])]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs to use")
def test_more_gpus_than_there_are_is_one_sentence(
    stt_bench: Callable[..., Any], tiny: Path
) -> None:
    done = stt_bench("run", tiny, "--gpus=2")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --gpus 2: PyTorch finds 0 CUDA GPU(s) here")
    assert "train.device=cpu" in done.stderr
    assert done.stderr.count("\n") == 1


def test_ray_and_torchrun_go_with_no_gpus(
    stt_bench: Callable[..., Any], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = stt_bench("run", tiny, "--gpus", 2, "--on", "ray")
    assert (done.returncode, "give --jobs and --gpus" in done.stderr) == (2, True)
    monkeypatch.setattr(several, "launched", lambda: True)
    done = stt_bench("run", tiny, "--jobs", 2)
    assert (done.returncode, "give --jobs and --gpus" in done.stderr) == (2, True)


def test_an_option_and_its_value_are_left_out() -> None:
    given = ["run", "t", "--gpus", "4", "--set", "a=--gpus", "--gpus=2", "-q"]
    assert several._without(given, "--gpus") == ["run", "t", "--set", "a=--gpus", "-q"]


def test_plugins_are_found_among_the_arguments() -> None:
    given = ["stt-bench", "--plugin", "a.py", "--plugin=b.py", "run", "t"]
    assert several._plugins(given) == [Path("a.py"), Path("b.py")]


def test_torchrun_is_known_by_its_variables() -> None:
    assert not launch.launched({})
    assert not launch.launched({"RANK": "0", "WORLD_SIZE": "2"})  # of another program
    assert not launch.launched(TORCHRUN | {"WORLD_SIZE": "1"})
    assert launch.launched(TORCHRUN)
    with pytest.raises(BenchError, match=r"RANK=2, WORLD_SIZE=2.*torchrun"):
        launch.launched(TORCHRUN | {"RANK": "2"})
    with pytest.raises(BenchError, match="WORLD_SIZE=two"):
        launch.launched(TORCHRUN | {"WORLD_SIZE": "two"})


def test_a_command_ends_as_the_first_process_that_said_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert launch._ended(3, {0: 2, 1: -signal.SIGTERM, 2: 2}) == 2
    assert launch._ended(2, {0: 130, 1: 130}) == 130
    assert capsys.readouterr().err == ""
    assert launch._ended(2, {0: 130, 1: -signal.SIGKILL}) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: process 1 of 2 (from 0) was ended by SIGKILL; the same command")
    assert told.count("\n") == 1


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "processes", lambda: Processes(3, 4, local=1))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.resolve_device("auto") == torch.device("cuda:1")
    assert devices.resolve_device("cuda") == torch.device("cuda:1")
    assert devices.resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(BenchError, match="each its own GPU"):
        devices.resolve_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(BenchError, match=r"process 3 of 4 \(from 0\) finds no GPU of its own"):
        devices.resolve_device("auto")
