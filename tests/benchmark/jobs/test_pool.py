"""Tasks side by side in processes: results, deaths, stopping, and what is shown of them."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from stt_bench.benchmark.features.store import open_store
from stt_bench.benchmark.jobs import pool
from stt_bench.benchmark.jobs.pool import Pool
from stt_bench.benchmark.jobs.work import Here, Lost, Task, shard_of
from stt_bench.benchmark.system.atomic import write_atomically
from stt_bench.benchmark.system.contents import once
from stt_bench.benchmark.system.errors import TrainingStopped
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.system.signals import heeded_by

QUIET = Reporter(quiet=True)


@pytest.fixture(autouse=True)
def _fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "START", "fork")  # everything is imported already


class Squares:
    """Squares numbers, tells its process, and dies as often as a file says."""

    def __init__(self, folder: Path, reporter: Reporter) -> None:
        self.folder, self.reporter = folder, reporter

    def do(self, content: Any) -> Any:
        kind, number = content
        with self.reporter.bar(f"number {number}", 4, stage=True) as bar:
            bar.to(4, "done")
        if kind == "dies":
            with (self.folder / "tries").open("a") as tries:
                tries.write("x")
            if len((self.folder / "tries").read_text()) <= number:
                os.kill(os.getpid(), signal.SIGKILL)
        if kind == "waits":
            (self.folder / f"waits-{number}").touch()
            time.sleep(60)
        if kind == "trains":
            stop = threading.Event()
            with heeded_by(stop.set):
                (self.folder / f"trains-{number}").touch()
                stop.wait(60)
                (self.folder / f"checkpoint-{number}").touch()
                raise TrainingStopped(f"number {number} stopped at step 3")
        if kind == "stops":
            wait_for(self.folder, "lasts-*", 1)
            raise TrainingStopped(f"number {number} stopped by itself")
        if kind == "lasts":
            stop = threading.Event()
            with heeded_by(stop.set):
                (self.folder / f"lasts-{number}").touch()
                stop.wait(60)
                (self.folder / "told").touch()
                wait_for(self.folder, "signalled", 1)
                time.sleep(1)
                (self.folder / f"checkpoint-{number}").touch()
                raise TrainingStopped(f"number {number} stopped at step 3")
        self.reporter.say(f"{number} is squared")
        return number**2, os.getpid()


def tasks(*contents: tuple[str, int]) -> list[Task]:
    return [Task(f"number {number}", (kind, number)) for kind, number in contents]


def work(
    jobs: int, folder: Path, todo: list[Task], reporter: Reporter = QUIET
) -> list[tuple[Task, Any]]:
    return [*Pool(jobs).run(partial(Squares, folder), todo, reporter)]


def test_every_task_is_done_once_as_it_would_be_here(tmp_path: Path) -> None:
    todo = tasks(*(("squares", number) for number in range(7)))
    begun: list[str] = []
    make = partial(Squares, tmp_path)
    found = [*Pool(3).run(make, todo, QUIET, lambda task: begun.append(task.name))]
    here = [*Here().run(make, todo, QUIET)]
    assert sorted((t.name, r[0]) for t, r in found) == [(t.name, r[0]) for t, r in here]
    assert begun == [task.name for task in todo]
    assert 1 <= len({result[1] for _, result in found} - {os.getpid()}) <= 3


def test_a_process_that_dies_costs_a_try_and_no_other_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    todo = tasks(("dies", 2), ("squares", 7), ("squares", 8))
    found = {
        task.name: result[0]
        for task, result in Pool(2).run(partial(Squares, tmp_path), todo, QUIET)
    }
    assert found == {"number 2": 4, "number 7": 49, "number 8": 64}
    assert (tmp_path / "tries").read_text() == "xxx"
    told = capsys.readouterr().err
    assert told.count("number 2: its process was killed by SIGKILL: it goes on from its last") == 2


def keep_file(folder: Path, meet: Callable[[], None]) -> None:
    meet()
    write_atomically(folder / "file", lambda stream: stream.write(b"whole"))


def keep_entry(_: Path, meet: Callable[[], None]) -> None:
    once("entries", "key", meet)


def keep_rows(_: Path, meet: Callable[[], None]) -> None:
    store = open_store({"network": "own"})
    if store.missing([b"x" * 32], QUIET):
        meet()
        store.add([b"x" * 32], np.ones((1, 2), np.float32))


class Keepers:
    """Two that keep the same: number 0 is killed while it writes, after number 1 has written."""

    def __init__(self, folder: Path, keep: Callable[..., None], _: Reporter) -> None:
        self.folder, self.keep = folder, keep

    def do(self, content: Any) -> Any:
        self.keep(self.folder, partial(self.meet, content[1]))

    def meet(self, number: int) -> None:
        if number:
            wait_for(self.folder, "begun", 1)
        elif not (self.folder / "begun").exists():
            (self.folder / "begun").touch()
            wait_for(self.folder, "free", 1)
            os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("keep", [keep_file, keep_entry, keep_rows])
def test_what_a_dead_process_left_half_written_is_removed_where_another_takes_its_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: Callable[..., None]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done = []
    todo = tasks(("keeps", 0), ("keeps", 1))
    for task, _ in Pool(2).run(partial(Keepers, tmp_path, keep), todo, QUIET):
        done.append(task.name)
        (tmp_path / "free").touch()
    assert done == ["number 1", "number 0"]
    assert not [*tmp_path.rglob("*.part")]


def test_after_a_few_deaths_a_task_is_given_up(tmp_path: Path) -> None:
    todo = tasks(("dies", 99), ("squares", 7))
    found = {
        task.name: result for task, result in Pool(2).run(partial(Squares, tmp_path), todo, QUIET)
    }
    assert isinstance(found["number 99"], Lost)
    assert found["number 99"].told.startswith("its process was killed by SIGKILL, 4 times")
    assert found["number 7"][0] == 49


def test_what_is_stopped_before_it_trains_is_named(tmp_path: Path) -> None:
    def send() -> None:
        wait_for(tmp_path, "waits-*")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=send, daemon=True).start()
    with pytest.raises(TrainingStopped, match=r"number . stopped, and 1 more"):
        work(2, tmp_path, tasks(("waits", 0), ("waits", 1)))


def wait_for(folder: Path, pattern: str, count: int = 2) -> None:
    """Wait until so many workers have left such a file; fail where they never do."""
    limit = time.monotonic() + 60
    while len([*folder.glob(pattern)]) < count and time.monotonic() < limit:
        time.sleep(0.01)
    assert len([*folder.glob(pattern)]) == count


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_with_their_checkpoints(tmp_path: Path, kind: int) -> None:
    todo = tasks(("trains", 0), ("trains", 1), ("squares", 2))

    def send() -> None:
        wait_for(tmp_path, "trains-*")
        os.kill(os.getpid(), kind)

    threading.Thread(target=send, daemon=True).start()
    with pytest.raises(TrainingStopped, match=r"number . stopped at step 3, and 1 more"):
        work(2, tmp_path, todo)
    assert sorted(one.name for one in tmp_path.glob("checkpoint-*")) == [
        "checkpoint-0",
        "checkpoint-1",
    ]


def test_what_has_begun_nothing_yet_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def imports(*_: Any) -> None:
        (tmp_path / f"imports-{os.getpid()}").touch()
        time.sleep(600)

    monkeypatch.setattr(pool, "_serve", imports)

    def send() -> None:
        wait_for(tmp_path, "imports-*")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=send, daemon=True).start()
    with pytest.raises(TrainingStopped, match=r"^stopped$"):
        work(2, tmp_path, tasks(("squares", 0), ("squares", 1)))


SLOW = """
import os, time
from pathlib import Path
from stt_bench.benchmark.jobs.pool import Pool
from stt_bench.benchmark.jobs.work import Task
from stt_bench.benchmark.system.errors import TrainingStopped
from stt_bench.benchmark.system.progress import Reporter

class Maker:
    def __init__(self, reporter): pass
    def do(self, content): return content

if __name__ == "slow":
    last = list(Path().glob("begun-*"))  # by the first process
    Path(f"begun-{os.getpid()}").touch()
    while last and not Path("signalled").exists():
        time.sleep(0.01)
if __name__ == "__main__":
    import slow
    try:
        print([*Pool(2).run(slow.Maker, [Task("a", 1), Task("b", 2)], Reporter(quiet=True))])
    except TrainingStopped as stopped:
        print("told:", stopped)
"""


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_while_workers_import_is_the_first_process_s(
    tmp_path: Path, kind: int
) -> None:
    """As Ctrl-C in a terminal: two processes have begun to import the module, the server last."""
    (tmp_path / "slow.py").write_text(SLOW)
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    with subprocess.Popen(
        [sys.executable, "slow.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as first:
        wait_for(tmp_path, "begun-*")
        os.killpg(first.pid, kind)
        (tmp_path / "signalled").touch()
        said, _ = first.communicate(timeout=60)
    assert said.startswith("told:")
    assert len(said.splitlines()) == 1
    assert first.returncode == 0


def test_the_first_signal_kills_nobody_where_a_task_has_stopped_by_itself(tmp_path: Path) -> None:
    def send() -> None:
        wait_for(tmp_path, "told", 1)
        os.kill(os.getpid(), signal.SIGTERM)
        (tmp_path / "signalled").touch()

    threading.Thread(target=send, daemon=True).start()
    with pytest.raises(TrainingStopped, match=r"number 0 stopped by itself, and 1 more"):
        work(2, tmp_path, tasks(("stops", 0), ("lasts", 1)))
    assert (tmp_path / "checkpoint-1").exists()


def test_workers_stop_by_themselves_where_the_first_process_is_killed(tmp_path: Path) -> None:
    first = os.fork()
    if not first:
        work(2, tmp_path, tasks(("trains", 0), ("trains", 1)))
        os._exit(0)
    wait_for(tmp_path, "trains-*")
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    wait_for(tmp_path, "checkpoint-*")


def test_lines_of_all_workers_without_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work(2, tmp_path, tasks(("squares", 3), ("squares", 5)), Reporter())
    told = capsys.readouterr().err.splitlines()
    for number in (3, 5):
        lines = [line for line in told if str(number) in line.split(", took")[0]]
        assert lines[0] == f"number {number}: starts"
        assert lines[1].startswith(f"number {number}: 4/4, done, took ")
        assert lines[2] == f"{number} is squared"
    assert len(told) == 6


def test_one_display_shows_all_workers_on_a_terminal(tmp_path: Path) -> None:
    reporter, screen = Reporter(), io.StringIO()
    reporter.console = Console(file=screen, force_terminal=True, width=100, highlight=False)
    with reporter.display() as display:
        assert display is not None
        with reporter.bar("first", 10) as one, reporter.bar("second", 20):
            one.to(3)
            assert [task.description for task in display.tasks] == ["first", "second"]
            reporter.warn("told above them")
        assert not display.tasks  # as the display goes on
    assert "warning: told above them" in screen.getvalue()


def test_shards_cover_everything_once() -> None:
    things = list(range(11))
    shards = [shard_of(things, (number, 4)) for number in range(1, 5)]
    assert shards[1] == [1, 5, 9]
    assert sorted(thing for shard in shards for thing in shard) == things


def test_gpus_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def shared(jobs: int, count: int, given: str | None = None) -> list[str | None]:
        monkeypatch.setattr("torch.cuda.device_count", lambda: count)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if given is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        return [Pool(jobs).gpus_of(place) for place in range(jobs)]

    assert shared(2, 0) == shared(2, 1) == [None, None]
    assert shared(2, 4) == ["0,2", "1,3"]
    assert shared(3, 2) == ["0", "1", "0"]
    assert shared(2, 2, "GPU-a,GPU-b") == ["GPU-a", "GPU-b"]
    assert Pool(2, spread_gpus=False).gpus_of(0) is None
    monkeypatch.setattr("torch.cuda.device_count", lambda: 6)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    teams = Pool(4, team=2)
    assert [teams.gpus_of(place) for place in range(4)] == ["0,1", "2,3", "4,5", "0,1"]


def test_a_process_that_waits_gives_back_the_memory_that_it_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[str] = []
    monkeypatch.setattr(pool, "give_back_freed_memory", lambda: given.append("back"))
    here, there = multiprocessing.Pipe()
    there.send("at once")
    assert (pool._next(here), given) == ("at once", [])
    monkeypatch.setattr(pool, "_AT_ONCE", 0.01)
    threading.Timer(0.5, there.send, ["later"]).start()
    assert (pool._next(here), given) == ("later", ["back"])
