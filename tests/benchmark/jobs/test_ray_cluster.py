"""Tasks on Ray: what travels, what is said where Ray is missing; and two tasks on a real one."""

from __future__ import annotations

import _thread
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from command_line import Command

from stt_bench.benchmark.jobs import ray_cluster, ray_task
from stt_bench.benchmark.jobs.carried import Stamps, changed, pack, unpack
from stt_bench.benchmark.jobs.ray_cluster import Ray
from stt_bench.benchmark.jobs.reports import Shown
from stt_bench.benchmark.jobs.work import Later, Lost, Task
from stt_bench.benchmark.system import machine
from stt_bench.benchmark.system.errors import BenchError, TrainingStopped
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.system.resources import SHARE
from stt_bench.benchmark.system.signals import STOPPING, stop_by_signal


def test_the_files_of_a_task_come_back_and_no_others(tmp_path: Path) -> None:
    run, ledger = tmp_path / "runs" / "seed-0", tmp_path / "ledger.jsonl"
    (run / "embeddings").mkdir(parents=True)
    (run / "embeddings" / "a.npy").write_bytes(b"\0\1")
    (run / "run.json").write_text("{}")
    ledger.write_text("one\ntwo\n")
    paths = (run, tmp_path / "not-there.json", ledger)
    files = pack(paths)
    assert files == {
        str(run / "embeddings" / "a.npy"): b"\0\1",
        str(run / "run.json"): b"{}",
        str(ledger): b"one\ntwo\n",
    }
    for file in files:
        Path(file).unlink()
    ledger.write_text("two\nthree\n")  # as other tasks have left it
    unpack({**files, str(tmp_path / "elsewhere"): b"x"}, paths)
    assert pack((run,)) == pack(paths[:2])
    assert (run / "embeddings" / "a.npy").read_bytes() == b"\0\1"
    assert ledger.read_text() == "two\nthree\none\n"
    assert not (tmp_path / "elsewhere").exists()


def test_without_ray_the_way_to_it_is_told(
    tiny: Path, stt_bench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, said = stt_bench("run", tiny, "--on", "ray")
    assert (code, said.count("\n")) == (2, 1)
    assert "pip install 'softmax-triplet-bench[ray]'" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--on", "ray", "--jobs", "2"], "give --jobs or --on ray"),
        (["--gpus-per-run", "0.5"], "--gpus-per-run goes with --on ray"),
        (["--cpus-per-run", "2"], "--cpus-per-run goes with --on ray"),
    ],
)
def test_options_that_do_not_go_together(
    tiny: Path, stt_bench: Command, options: list[str], said: str
) -> None:
    code, _, told = stt_bench("run", tiny, *options)
    assert (code, told.count("\n"), said in told) == (2, 1, True)


def actor(**methods: Any) -> Any:
    return SimpleNamespace(**{name: SimpleNamespace(remote=one) for name, one in methods.items()})


class FakeRay:
    """What is used of Ray, in this process: tasks are done one by one, each in a thread,
    and while one works nothing that it says is taken, unless it asks.
    """

    class exceptions:  # noqa: N801  (as in Ray)
        class RayError(Exception): ...

        class RayTaskError(RayError): ...

        class TaskCancelledError(RayError): ...

    def __init__(self, cpus: float = 4.0) -> None:
        self.cpus, self.options = cpus, {}
        self.done: dict[int, Any] = {}
        self.asking: set[str] = set()
        self.sent: list[Any] = []

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4.0, "GPU": 2.0}

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": "x"}, {"NodeID": "here", "Resources": {"CPU": self.cpus, "GPU": 2.0}}]

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: "here")

    def put(self, value: Any) -> Any:
        self.sent.append(value)
        return value

    def remote(self, function: Any = None, **options: Any) -> Any:
        if function is None:
            return lambda cls: SimpleNamespace(remote=lambda: self.actor(cls()))
        self.options |= options

        def submit(*arguments: Any) -> int:
            self.done[len(self.done)] = partial(function, *arguments)
            return len(self.done) - 1

        return SimpleNamespace(
            options=lambda **more: (self.options.update(more), SimpleNamespace(remote=submit))[1]
        )

    def actor(self, made: Any) -> Any:
        self.board = made

        def put(name: str, message: Any) -> None:
            if message[0] == "asks":
                self.asking.add(name)
            made.put(name, message)

        def answer(one: Any, *what: Any) -> None:
            made.answer(one, *what)
            self.asking.discard(one[0])

        return actor(
            put=put,
            answer=answer,
            take=made.take,
            answered=made.answered,
            stop=made.stop,
            stops=made.stops,
        )

    def wait(self, left: list[int], timeout: float) -> tuple[list[int], list[int]]:
        if callable(task := self.done[left[0]]):
            self.done[left[0]] = None
            Thread(target=self.work, args=(task, left[0]), daemon=True).start()
        while not self.asking and self.done[left[0]] is None:
            time.sleep(0.001)
        ended = int(self.done[left[0]] is not None)
        return left[:ended], left[ended:]

    def work(self, task: Any, number: int) -> None:
        try:
            self.done[number] = task()
        except ZeroDivisionError:  # stands for a process that dies
            self.done[number] = self.exceptions.RayError("the worker died\nand more")
        except BaseException as error:
            self.done[number] = self.exceptions.RayTaskError(str(error))

    def get(self, reference: Any) -> Any:
        if type(reference) is not int:
            return reference
        found = self.done[reference]
        if isinstance(found, Exception):
            raise found
        return found

    def cancel(self, reference: int, *, force: bool) -> None:
        if callable(self.done[reference]):
            self.done[reference] = self.exceptions.TaskCancelledError()

    def kill(self, _actor: Any) -> None:
        pass


class Halves:
    """Halves a number, leaves a file, dies at 0 and stops at 7."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter

    def do(self, content: Any) -> Any:
        folder, number = content
        with self.reporter.bar(f"number {number}", 2, stage=True) as bar:
            bar.to(2)
        if number == 7:
            raise TrainingStopped("number 7 stopped at step 3")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "half").write_text(f"{1 / number}")
        return 1 / number


@pytest.fixture(autouse=True)
def _own_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a task takes of the machine is not for the tests that follow."""
    monkeypatch.setenv(SHARE, "1")
    monkeypatch.setattr(machine, "_DEFAULT_THREADS", 1)


def halves(
    folder: Path,
    numbers: list[int],
    monkeypatch: pytest.MonkeyPatch,
    fake: FakeRay,
    **options: Any,
) -> list[tuple[int, Any]]:
    monkeypatch.setitem(sys.modules, "ray", fake)  # type: ignore[arg-type]
    paths = [folder / f"{number}" for number in numbers]
    content = zip(paths, numbers, strict=True)
    tasks = [Task(f"{one[1]}", one, (one[0],)) for one in content]
    found = Ray(cpus=2, gpus=0.5).run(Halves, tasks, Reporter(), **options)
    return [(task.content[1], result) for task, result in found]


def test_tasks_their_results_and_what_they_say_by_the_part_of_ray_that_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeRay()
    found = dict(halves(tmp_path, [4, 0, 2], monkeypatch, fake))
    assert (found[4], found[2]) == (0.25, 0.5)
    assert found[0] == Lost("Ray lost it 4 times (RayError: the worker died)")
    assert fake.options == {"num_cpus": 2, "num_gpus": 0.5, "max_retries": 0}
    told = capsys.readouterr().err
    assert told.count("goes on from its last checkpoint (try ") == 3
    assert told.count("number 4: 2/2, took") == told.count("number 2: 2/2, took") == 1
    assert sorted(one.name for one in tmp_path.iterdir()) == ["0", "2", "4"]  # no mark stays


def test_a_run_has_a_part_of_one_gpu_or_whole_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", FakeRay())  # type: ignore[arg-type]
    assert Ray(gpus=2).jobs == 1
    with pytest.raises(BenchError, match=r"--gpus-per-run 1\.5: .* one GPU with others, or has"):
        Ray(gpus=1.5)


def test_one_task_that_is_stopped_stops_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TrainingStopped, match="number 7 stopped at step 3"):
        halves(tmp_path, [4, 7, 2], monkeypatch, FakeRay())
    assert [one.name for one in tmp_path.iterdir()] == ["4"]


@pytest.fixture
def _own_handlers() -> Iterator[None]:
    """Begin as the command line does, and leave the handlers as they were."""
    before = {kind: signal.getsignal(kind) for kind in STOPPING}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    stop_by_signal()
    yield
    for kind, handler in before.items():
        signal.signal(kind, handler)


class Interrupted:
    """Is interrupted at its work as Ray does it."""

    def __init__(self, _: Reporter) -> None: ...

    def do(self, _: object) -> str:
        _thread.interrupt_main()
        time.sleep(0)  # where Python looks for signals
        return "to the end"


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.usefixtures("_own_handlers")
def test_a_task_is_interrupted_where_its_process_ignores_that_until_then(
    monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    """As Ray's do for a command that a script leaves in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    monkeypatch.setitem(sys.modules, "ray", FakeRay())  # type: ignore[arg-type]
    said: list[Any] = []
    board = actor(put=lambda *one: said.append(one), stops=lambda: early)
    call = ray_task.Call(Interrupted, [], os.getcwd(), board, {"CPU": 1})
    result, files = ray_task.do(call, Task("it", None), 1, None)
    assert isinstance(result, ray_task.Halted)
    assert (result.told, files) == ("it stopped", {})
    assert said == ([] if early else [("it", ("begun",))])


class Stubborn(FakeRay):
    """Its task heeds nothing, and a signal comes with each look at it."""

    def __init__(self) -> None:
        super().__init__()
        self.cancelled: list[bool] = []

    def wait(self, left: list[int], timeout: float) -> tuple[list[int], list[int]]:
        if True in self.cancelled:
            return left, []
        signal.raise_signal(signal.SIGTERM)
        return [], left

    def cancel(self, reference: int, *, force: bool) -> None:
        self.cancelled.append(force)
        if force:
            self.done[reference] = self.exceptions.RayError("it was killed")


@pytest.mark.usefixtures("_own_handlers")
def test_a_second_signal_waits_for_no_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = Stubborn()
    with pytest.raises(TrainingStopped):
        halves(tmp_path, [4], monkeypatch, fake)
    assert fake.cancelled[:2] == [False, True]
    assert fake.board.stops()
    assert capsys.readouterr().err.count("a second signal ends all at once") == 1


def test_tasks_that_are_no_longer_wanted_do_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def wanted(task: Task) -> bool:
        return task.name != "2" or not done

    found = halves(
        tmp_path,
        [4, 2, 1],
        monkeypatch,
        FakeRay(),
        wanted=wanted,
        begun=lambda task: done.append(task.name),
    )
    assert [number for number, _ in found] == [4, 1]


def test_files_travel_where_the_folder_of_the_runs_is_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    come: list[Any] = []
    monkeypatch.setattr(ray_cluster._Marks, "of", lambda *_: tmp_path / "not-seen")
    for module in (ray_task, ray_cluster):
        monkeypatch.setattr(module, "unpack", lambda files, paths: come.append((files, paths)))
    halves(tmp_path, [4], monkeypatch, FakeRay())
    (sent, _), (back, paths) = come
    assert sent == {}  # nothing was there yet
    assert back == {str(tmp_path / "4" / "half"): b"0.25"}
    assert paths == (tmp_path / "4",)


@pytest.mark.parametrize(
    ("cpus", "options", "share", "threads"),
    [
        (16, {"cpus": 2, "gpus": 1}, 8, 2),  # two CPUs each
        (16, {"gpus": 0.5}, 4, 4),  # a node has room for four of them
        (16, {"gpus": 0}, 16, 1),
        (4, {"cpus": 2, "gpus": 0}, 8, 2),  # Ray has a quarter of the machine
        (64, {"cpus": 4, "gpus": 0}, 16, 1),  # and here more than there is
        (4, {"cpus": 3, "gpus": 0}, 4, 4),
    ],
)
def test_a_task_keeps_to_its_part_of_the_machine(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    cpus: int,
    options: dict[str, float],
    share: int,
    threads: int,
) -> None:
    fake = FakeRay(cpus)
    monkeypatch.setitem(sys.modules, "ray", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(ray_task, "usable_cores", lambda _: 16)

    class Shares:
        def __init__(self, _: Reporter) -> None: ...

        def do(self, _: object) -> tuple[str, int]:
            return os.environ[SHARE], torch.get_num_threads()

    tasks = [Task(name, None, (tmp_path / name,)) for name in "ab"]  # one process may do many
    found = [result for _, result in Ray(**options).run(Shares, tasks, Reporter(quiet=True))]
    assert found == [(str(share), threads)] * 2


def test_a_task_on_a_machine_that_does_not_see_its_folder_is_held_here_while_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done already, or is another's, does not travel; what another has at first waits."""
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / "weights").write_bytes(b"many")
    monkeypatch.setattr(ray_cluster._Marks, "of", lambda *_: tmp_path / "not-seen")
    fake, held, asked = FakeRay(), list[str](), list[str]()
    halve = Halves.do

    def watched(self: Halves, content: Any) -> Any:
        assert held == [str(content[1])]
        return halve(self, content)

    def hold(task: Task, until: ExitStack) -> Any:
        asked.append(task.name)
        held.append(task.name)
        until.callback(held.remove, task.name)
        return {"4": "done", "1": Later() if asked.count("1") == 1 else None}.get(task.name)

    monkeypatch.setattr(Halves, "do", watched)
    assert halves(tmp_path, [4, 2, 1], monkeypatch, fake, hold=hold) == [
        (4, "done"),
        (2, 0.5),
        (1, 1.0),
    ]
    assert (asked, held) == (["4", "2", "1", "1"], [])
    assert fake.sent == [{}, {}]


def test_what_died_is_held_until_its_last_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster._Marks, "of", lambda *_: tmp_path / "not-seen")
    told: list[str] = []

    def hold(_: Task, until: ExitStack) -> None:
        told.append("taken")
        until.callback(told.append, "left")

    ((_, lost),) = halves(tmp_path, [0], monkeypatch, FakeRay(), hold=hold)
    assert isinstance(lost, Lost)
    assert told == ["taken", "left"]


class Moves:
    """Leaves a checkpoint on a machine that dies once it was sent; goes on from it on another."""

    def __init__(self, fake: FakeRay, _: Reporter) -> None:
        self.fake = fake

    def do(self, folder: Path) -> str:
        file = folder / "checkpoint.pt"
        if file.exists():
            told = file.read_text()
            file.unlink()
            (folder / "model").touch()
            return told
        folder.mkdir()
        file.write_text("step 5")
        until = time.monotonic() + 60
        while not any(
            message[0] == "files" and b"step 5" in message[1].values()
            for _, message in [*self.fake.board._said]
        ):
            assert time.monotonic() < until
            time.sleep(0.001)
        shutil.rmtree(folder)
        raise ZeroDivisionError


def test_a_task_goes_on_from_its_checkpoint_on_another_machine_without_a_shared_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster._Marks, "of", lambda *_: tmp_path / "not-seen")
    monkeypatch.setattr(ray_task, "SENT_EVERY", 0.001)
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)  # type: ignore[arg-type]
    folder = tmp_path / "runs" / "seed-0"
    tasks = [Task("it", folder, (folder,))]
    ((_, found),) = Ray().run(partial(Moves, fake), tasks, Reporter(quiet=True))
    assert found == "step 5"
    assert fake.sent == [{}, {str(folder / "checkpoint.pt"): b"step 5"}]
    assert [one.name for one in folder.iterdir()] == ["model"]


def test_a_machine_that_knows_the_ledger_gets_the_other_files_of_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, ledger = tmp_path / "seed-0", tmp_path / "ledger.jsonl"
    ledger.write_text("one\n")
    task = Task("it", 0, (run, ledger))
    sent = {str(run / "checkpoint.pt"): b"step 5", str(ledger): b"one\ntwo\n"}
    board = actor(put=lambda *_: None, stops=lambda: False, answered=lambda *_: (None, [sent]))
    monkeypatch.setitem(sys.modules, "ray", FakeRay())  # type: ignore[arg-type]
    monkeypatch.setattr(ray_task, "_LOOKS", 0.001)

    class Reads:
        def __init__(self, _: Reporter) -> None: ...

        def do(self, _: object) -> bytes:
            return (run / "checkpoint.pt").read_bytes()

    call = ray_task.Call(Reads, [], os.getcwd(), board, {"CPU": 1})
    found, _ = ray_task.do(call, task, 1, tmp_path / "not-seen")
    assert found == b"step 5"
    assert ledger.read_text() == "one\ntwo\n"


def test_what_changed_in_a_folder_is_read_once(tmp_path: Path) -> None:
    known = Stamps()
    assert changed(tmp_path / "not-there", known) == {}
    for name in ("metrics.jsonl", "checkpoint.pt", ".checkpoint.pt.1-2.part"):
        (tmp_path / name).write_text(name)
    (tmp_path / "tensorboard").mkdir()
    assert [Path(one).name for one in changed(tmp_path, known)] == [
        "checkpoint.pt",
        "metrics.jsonl",
    ]
    (tmp_path / "metrics.jsonl").write_text("longer than before")
    assert changed(tmp_path, known) == {str(tmp_path / "metrics.jsonl"): b"longer than before"}


def test_what_is_said_after_the_end_of_a_task_opens_nothing() -> None:
    shown = Shown(Reporter(quiet=True))
    shown.show(("bar", 0, "x", 10, 0, False, False))
    shown.close()
    for message in (
        ("to", 0, 5, None, None),
        ("end", 0, True),
        ("bar", 1, "y", 1, 0, False, False),
    ):
        shown.show(message)
    assert not shown._bars


class Worker:
    """Doubles a number, leaves a file, or is killed once."""

    def __init__(self, folder: Path, reporter: Reporter) -> None:
        self.folder, self.reporter = folder, reporter

    def do(self, content: Any) -> Any:
        file = self.folder / f"{content}"
        if content == 1 and not file.exists():
            file.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if content == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * content


@pytest.mark.ray
@pytest.mark.skipif(
    os.environ.get("STT_BENCH_RAY") != "1", reason="starts Ray: STT_BENCH_RAY=1 pytest -m ray"
)
def test_a_task_on_ray_is_tried_again_where_its_process_dies(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="needs the extra [ray]")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        cluster = Ray(cpus=0.5)
        with pytest.raises(BenchError, match=r"--gpus-per-run 900: the Ray cluster has 0 GPUs"):
            Ray(gpus=900)
        tasks = [Task(f"number {number}", number, (tmp_path / "x" / "y",)) for number in range(3)]
        make = partial(Worker, tmp_path)
        found = {task.content: result for task, result in cluster.run(make, tasks, Reporter())}
    finally:
        ray.shutdown()
    assert (found[0], found[1]) == (0, 2)
    assert isinstance(found[2], Lost)
    assert not [*(tmp_path / "x").iterdir()]
