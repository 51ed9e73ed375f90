"""A table in several processes, and in shards: what comes of it is what one process makes."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from command_line import Command

from stt_bench.benchmark.cli.several import work_along
from stt_bench.benchmark.jobs import pool
from stt_bench.benchmark.jobs.pool import Pool
from stt_bench.benchmark.jobs.work import Later, Task
from stt_bench.benchmark.store import leases
from stt_bench.benchmark.store.facts import TrainingFacts
from stt_bench.benchmark.store.leases import Lease
from stt_bench.benchmark.store.run_states import state_of
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import Outcome, load_table, one, run_table
from stt_bench.benchmark.suite.one import Ending, ToRun, Worker
from stt_bench.benchmark.system import orders
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.processes import processes
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training import loop

SMALL = ["evaluation.clustering=false", "evaluation.ks=[1]", "train.steps=6"]
TIMES = {"seconds", "images_per_second", "peak_memory_mib"}


@pytest.fixture(autouse=True)
def _fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "START", "fork")  # everything is imported already


def run(tiny: Path, folder: Path, seeds: Sequence[int] = (0, 1), **options: Any) -> Outcome:
    return run_table(
        load_table(str(tiny), SMALL),
        rows=["softmax", "hard"],
        seeds=seeds,
        runs=folder / "runs",
        results=folder / "results",
        force=False,
        **{"reporter": Reporter(quiet=True), **options},
    )


def records(folder: Path) -> dict[str, Any]:
    """Return what the records say, but for times and how many runs were begun before them."""
    found = {}
    for path in sorted(folder.glob("results/records/**/seed-*.json")):
        record = json.loads(path.read_text())
        record["training"] = {k: v for k, v in record["training"].items() if k not in TIMES}
        del record["effort"], record["checksum"]
        found[str(path.relative_to(folder))] = record
    return found


def kill_once(monkeypatch: pytest.MonkeyPatch, run: str, marker: Path) -> None:
    """Let the process of a run be killed after its first checkpoint; the first time."""
    write = loop.write_checkpoint

    def write_and_die(path: Path, state: Any) -> None:
        write(path, state)
        if str(path.parent).endswith(run) and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(loop, "write_checkpoint", write_and_die)


def test_two_processes_make_the_bytes_of_one_though_one_of_them_is_killed(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = run(tiny, tmp_path / "alone", [0])
    kill_once(monkeypatch, "hard/seed-0", tmp_path / "killed")
    both = run(tiny, tmp_path / "both", [0], executor=Pool(2))
    assert (tmp_path / "killed").exists()
    assert (
        "tiny/hard/seed-0: its process was killed by SIGKILL: it goes on" in capsys.readouterr().err
    )
    assert sorted(both.done) == sorted(alone.done)
    assert not both.failed
    assert len(records(tmp_path / "alone")) == 2
    assert records(tmp_path / "both") == records(tmp_path / "alone")
    steps = [
        [json.loads(line)["step"] for line in file.read_text().splitlines()]
        for file in sorted(tmp_path.glob("*/runs/tiny/hard/seed-0/metrics.jsonl"))
    ]
    assert steps[0] == steps[1] == [1, 4, 6]
    assert len(run(tiny, tmp_path / "both", [0], executor=Pool(2)).skipped) == 2


def test_two_processes_share_each_of_two_runs_though_one_of_them_is_killed(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    take_step, marker = loop.take_step, tmp_path / "killed"

    def take_and_die(learner: Any, experiment: Any, seed: int, step: int, *more: Any) -> Any:
        dies = processes().rank == 1 and step == 5 and "hard" in experiment.loss.name
        if dies and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return take_step(learner, experiment, seed, step, *more)

    monkeypatch.setattr(orders, "GRACE", 0.1)
    monkeypatch.setattr(loop, "take_step", take_and_die)
    both = run(tiny, tmp_path, [0], executor=Pool(2, team=2, along=work_along))
    assert (sorted(both.done), both.failed) == (["tiny/hard/seed-0", "tiny/softmax/seed-0"], {})
    assert marker.exists()
    told = capfd.readouterr().err
    assert "process 1 of 2 (from 0) has ended or does not answer" in told
    assert "tiny/hard/seed-0: its process ended with exit code 1: it goes on" in told
    for record in records(tmp_path).values():
        assert record["training"]["processes"] == 2


def test_a_run_whose_process_dies_each_time_fails_and_the_others_are_done(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = one.train

    def die(run: Run, *arguments: Any, **named: Any) -> TrainingFacts:
        if run.row == "hard":
            os.kill(os.getpid(), signal.SIGKILL)
        return train(run, *arguments, **named)

    monkeypatch.setattr(one, "train", die)
    outcome = run(tiny, tmp_path, [0], executor=Pool(2))
    assert outcome.done == ["tiny/softmax/seed-0"]
    told = outcome.failed["tiny/hard/seed-0"]
    assert told.startswith("its process was killed by SIGKILL, 4 times")
    there = run_of(load_table(str(tiny)), "hard", 0, tmp_path / "runs")
    assert there.told_failure() == told


def test_a_run_of_other_settings_is_refused_and_has_not_failed(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = run_of(load_table(str(tiny)), "hard", 0, tmp_path / "runs")  # of other steps
    theirs.folder.mkdir(parents=True)
    theirs.save()
    theirs.checkpoint.write_bytes(b"")

    def refuse(own: Run, *_: Any, **__: Any) -> TrainingFacts:
        own.save()
        raise BenchError(f"{own.name}: no training here")

    monkeypatch.setattr(one, "train", refuse)
    outcome = run(tiny, tmp_path, [0], reporter=Reporter())
    assert "another 'train.steps'" in outcome.failed["tiny/hard/seed-0"]
    assert theirs.told_failure() is None
    ours = run_of(load_table(str(tiny)), "softmax", 0, tmp_path / "runs")
    assert ours.told_failure() == "tiny/softmax/seed-0: no training here"
    assert "warning: tiny/softmax/seed-0 failed: no training here\n" in capsys.readouterr().err


def test_a_run_that_another_process_still_trains_is_left(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class TwoAtOnce:
        jobs = 2

        def run(self, make: Any, tasks: Any, reporter: Any, begun: Any, **_options: Any) -> Any:
            for task in tasks:
                begun(task)
            for task in tasks:
                yield task, Ending("done", task.name, 8.0)

    run(tiny, tmp_path, [0], executor=TwoAtOnce(), reporter=Reporter())
    told = capsys.readouterr().err
    assert "[1/2] tiny/softmax/seed-0  8.0 s; 1 run left, about 4.0 s\n" in told
    assert "[2/2] tiny/hard/seed-0  8.0 s; no run left\n" in told


def test_shards_run_everything_once(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> TrainingFacts:
        raise BenchError("no training here")

    monkeypatch.setattr(one, "train", refuse)
    tried = [[*run(tiny, tmp_path, shard=(number, 3)).failed] for number in (1, 2, 3)]
    assert tried == [
        ["tiny/softmax/seed-0", "tiny/hard/seed-1"],
        ["tiny/softmax/seed-1"],
        ["tiny/hard/seed-0"],
    ]


def test_a_part_without_runs_says_so(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run(tiny, tmp_path, shard=(5, 5), reporter=Reporter())
    assert outcome == Outcome()
    assert capsys.readouterr().err == "tiny: part 5 of 5 has none of its 4 runs\n"


def test_a_run_that_is_taken_over_while_another_waits_for_it_is_tried_again(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[bool] = []

    def busy_twice(_: Worker, content: ToRun) -> Ending:
        tried.append(content.wait)
        return Ending("busy" if len(tried) < 3 else "skipped")

    monkeypatch.setattr(Worker, "do", busy_twice)
    assert run(tiny, tmp_path, [0], shard=(1, 2)).skipped == ["tiny/softmax/seed-0"]
    assert tried == [False, True, True]


def test_jobs_and_shards_on_the_command_line(
    tiny: Path, tmp_path: Path, stt_bench: Command
) -> None:
    places = ("--runs", tmp_path / "runs", "--results", tmp_path / "results")
    rows = ("--rows", "softmax,hard,center", "--set", "evaluation.clustering=false")
    planned = stt_bench("run", tiny, *rows, *places, "--shard", "2/3", "--dry-run")
    assert "hard, seed 0: starts" in planned.stdout
    assert "softmax" not in planned.stdout
    done = stt_bench("run", tiny, *rows, *places, "--shard", "2/3", "--jobs", "2")
    assert (done.returncode, "[1/1] tiny/hard/seed-0  R@1" in done.stderr) == (0, True)
    assert "tiny/hard/seed-0: train: 12/12, loss" in done.stderr
    code, _, said = stt_bench("run", tiny, "--shard", "4/3")
    assert (code, "--shard '4/3': write it as 2/8" in said) == (2, True)


class Elsewhere:
    """Stands for a cluster whose machines see no folder of this one; does no task there."""

    jobs = 1

    def __init__(self, during: Callable[[Task], None] = lambda _: None) -> None:
        self.during, self.answers = during, list[Any]()

    def run(self, make: Any, tasks: Any, reporter: Any, begun: Any, hold: Any) -> Iterator[Any]:
        for task in tasks:
            with ExitStack() as until:
                answer = hold(task, until)
                self.answers.append(answer)
                begun(task)
                self.during(task)
            if not isinstance(answer, Later):
                yield task, answer or Ending("failed", "it was only looked at")


def test_a_run_on_a_machine_without_the_folder_is_held_and_looked_up_here(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = []

    def look(task: Task) -> None:
        of = task.content.run
        states.append(state_of(of.table, of.row, of.seed, tmp_path / "runs", tmp_path / "results"))

    run(tiny, tmp_path, seeds=[0])
    (tmp_path / "results/records/tiny/hard/seed-0.json").unlink()
    shutil.rmtree(tmp_path / "runs" / "tiny" / "hard")
    first = Elsewhere(look)
    outcome = run(tiny, tmp_path, seeds=[0], executor=first)
    assert first.answers == [Ending("skipped"), None]
    assert (outcome.skipped, [*outcome.failed]) == (["tiny/softmax/seed-0"], ["tiny/hard/seed-0"])
    assert [one.state for one in states] == ["evaluating", "training"]
    assert f"pid {os.getpid()} on " in str(states[1].told)

    def finish(task: Task) -> None:
        if task.content.run.row == "hard":
            other.release()

    other = Lease(tmp_path / "runs" / "tiny" / "hard" / "seed-0")
    with monkeypatch.context() as patch:  # as another machine that shares the folder has it
        patch.setattr(leases, "_machine", lambda: "another")
        assert other.take(alone=False) is None
    second = Elsewhere(finish)
    run(tiny, tmp_path, seeds=[0], executor=second)
    assert [getattr(one, "kind", one) for one in second.answers] == ["skipped", "busy", None]
