"""Commands in several processes: --gpus, and what torchrun is told."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from forked import forked
from torch.distributed import run as distributed_run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from stt_bench.benchmark.cli import several, spread
from stt_bench.benchmark.cli.main import app
from stt_bench.benchmark.cli.spread import executor_of
from stt_bench.benchmark.jobs import pool
from stt_bench.benchmark.suite import load_table, one
from stt_bench.benchmark.system import devices, launch
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.orders import end_orders
from stt_bench.benchmark.system.processes import Processes
from stt_bench.benchmark.system.resources import SHARE
from stt_bench.benchmark.tuning import tune as tuning

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
    monkeypatch.setattr(spread, "launched", lambda: True)
    monkeypatch.chdir(tiny.parent)  # where it would write if it were not refused
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


KILLED = (
    "error: process 1 of 2 (from 0) was ended by SIGKILL; the same command goes on from the last "
    "checkpoint"
)
MISSED = "error: process 1 of 2 (from 0) has ended or does not answer; the same command goes on"


@pytest.mark.parametrize(
    ("codes", "said", "code", "told"),
    [
        ({0: 2, 1: -signal.SIGTERM}, {2: "error: a mistake"}, 2, "error: a mistake"),
        ({0: 2, 1: -signal.SIGKILL}, {2: "error: a mistake"}, 2, "error: a mistake"),
        ({0: 130, 1: 130}, {130: "stopped by SIGTERM"}, 130, "stopped by SIGTERM"),
        ({0: 130, 1: -signal.SIGKILL}, {130: "stopped by SIGTERM"}, 1, KILLED),
        ({0: 1, 1: -signal.SIGKILL}, {130: "stopped by SIGTERM", 1: MISSED}, 1, KILLED),
        ({0: 1}, {1: MISSED}, 1, MISSED),
    ],
)
def test_a_command_tells_once_why_it_ends(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    codes: dict[int, int],
    said: dict[int, str],
    code: int,
    told: str,
) -> None:
    def run(_: object) -> None:
        for rank, text in said.items():
            launch.say_last(rank, text)
            launch.say_last(rank, "and another process")
        failures = {rank: SimpleNamespace(exitcode=one) for rank, one in codes.items()}
        raise ChildFailedError("stt-bench", failures)  # type: ignore[arg-type]

    monkeypatch.setattr(ChildFailedError, "format_msg", lambda _: "")
    monkeypatch.setattr(distributed_run, "run", run)
    monkeypatch.setattr(launch.logging, "disable", lambda _: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert launch.torchrun(2, ["run", "tiny"]) == code
    assert capsys.readouterr().err == f"{told}\n"
    launch.say_last(1, "one alone tells it itself")
    assert capsys.readouterr().err == "one alone tells it itself\n"


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


TABLE = """\
title: Tuned
data: {name: digits, task: retrieval}
input: {size: 12, channels: 1, mean: [0.3], std: [0.37]}
model: {backbone: small_cnn, embedding_dim: 4}
sampler: {name: pxk, p: 2, k: 3}
train: {steps: 4, threads: 1, log_every: 5}
evaluation: {ks: [1], clustering: false}
tuning: {studies: 1, trials: 1, folds: 2, every: 2, patience: 2}
rows:
  softmax: {loss: softmax}
"""


def test_what_two_processes_leave_is_written_once_whatever_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("table.yaml").write_text(TABLE)
    one = "runs/table/softmax/seed-0"
    commands = ["tune table.yaml", "run table.yaml --seeds 0"]
    commands += [f"embed {one} --force", f"eval {one}", "report"]

    def work(present: Processes) -> list[str]:
        written: list[str] = []

        def note(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                written.extend(one for one in [str(arguments[0])] if not one.startswith("/proc/"))

        if not present.leads:
            sys.addaudithook(note)
            several.work_along()
            return written
        try:
            for command in commands:
                assert not app(command.split(), standalone_mode=False), command
        finally:
            end_orders()
        return []

    assert forked(2, tmp_path / "told", work) == [[], []]
    ledger = Path("results/records/table/ledger.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in ledger] == ["start", "reading", "reading"]
    assert len(Path("results/tuning/table/softmax.jsonl").read_text().splitlines()) == 2
    facts = json.loads(Path(one, "training.json").read_text())
    assert facts["processes"] == 2
    assert Path("results/table.md").exists()


@pytest.mark.parametrize(("jobs", "on"), [(2, None), (1, "ray")])
def test_jobs_of_a_table_are_not_started_in_each_process_of_torchrun(
    monkeypatch: pytest.MonkeyPatch, jobs: int, on: str | None
) -> None:
    monkeypatch.setattr(spread, "launched", lambda: True)
    with pytest.raises(BenchError, match="leave torchrun out"):
        executor_of(load_table("digits_retrieval"), 9, jobs, on, None, None)


@pytest.mark.parametrize(
    ("more", "among"),
    [
        (("--rows", "hard"), 1),
        (("--rows", "hard,softmax"), 2),
        (("--seeds", "0,1,2", "--shard", "1/6"), 2),
        (("--seeds", "0,1,2"), 4),
    ],
)
def test_no_more_jobs_share_the_machine_than_there_are_runs(
    stt_bench: Callable[..., Any],
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: tuple[str, ...],
    among: int,
) -> None:
    def tell(*_: Any) -> one.Ending:
        return one.Ending("failed", f"shared among {os.environ[SHARE]}")

    monkeypatch.setattr(pool, "START", "fork")  # everything is imported already
    monkeypatch.setattr(one.Worker, "do", tell)
    where = ("--runs", tmp_path / "runs", "--results", tmp_path / "results")
    told = stt_bench("run", tiny, "--jobs", 4, *more, *where).stderr
    assert f"failed: shared among {among}\n" in told


@pytest.mark.parametrize(
    ("more", "among"), [((), 4), (("--shard", "2/3"), 2), (("--trials", 1), 3)]
)
def test_no_more_jobs_share_the_machine_than_there_are_trials(
    stt_bench: Callable[..., Any],
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: tuple[Any, ...],
    among: int,
) -> None:
    """Two trials of each of two studies, and the row's own settings."""
    given: list[Any] = []
    monkeypatch.setattr(tuning, "tune", lambda *_, **named: given.append(named["executor"]))
    text = "tuning: {studies: 2, trials: 2, folds: 2, every: 1, patience: 1}\n"
    tiny.write_text(tiny.read_text() + text)
    assert stt_bench("tune", tiny, "--rows", "hard", "--jobs", 4, *more).returncode == 0
    assert [executor.jobs for executor in given] == [among]
