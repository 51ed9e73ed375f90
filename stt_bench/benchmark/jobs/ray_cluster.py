"""Tasks on the machines of a Ray cluster, or in Ray's processes of this one.

Ray starts each task where its CPUs and GPUs are free. One whose process or machine died is tried
again, there or elsewhere, from its checkpoint. Where its machine does not see the folder of the
runs, a task that begins asks this process, which holds what it works on for it; its files travel to
it then, and back through Ray, those that change while it works every now and then. Ray's dashboard
and its reports of usage are off.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from stt_bench.benchmark.jobs.carried import Files, pack, unpack
from stt_bench.benchmark.jobs.ray_task import Board, Call, Halted, do
from stt_bench.benchmark.jobs.reports import Shown
from stt_bench.benchmark.jobs.work import RETRIES, Hold, Later, Lost, Maker, Task, always, unheld
from stt_bench.benchmark.system.errors import BenchError, TrainingStopped
from stt_bench.benchmark.system.plugins import loaded_plugins
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.system.signals import heeded_by

_LOOKS = 0.5  # seconds between two looks at what the tasks say
_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0"}


def import_ray() -> Any:
    """Return the package.

    Raises:
        BenchError: it is not installed.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise BenchError("--on ray needs Ray: pip install 'softmax-triplet-bench[ray]'") from None
    return ray


class Ray:
    """Does tasks on the cluster that this machine is part of; without one, on this machine."""

    is_here = False

    def __init__(self, *, cpus: float | None = None, gpus: float | None = None) -> None:
        """Connect.

        Args:
            cpus: of a task, > 0; 1 by default.
            gpus: of a task, may be a part of one; by default 1 where the cluster has GPUs.

        Raises:
            BenchError: Ray is not installed, or the cluster cannot hold one task.
        """
        self._ray = ray = import_ray()
        if not ray.is_initialized():
            self._start()
        there = ray.cluster_resources()
        self.cpus = 1.0 if cpus is None else cpus
        self.gpus = gpus if gpus is not None else float(there.get("GPU", 0) >= 1)
        wanted = {"CPU": self.cpus, "GPU": self.gpus}
        for kind, number in wanted.items():
            if number > there.get(kind, 0):
                raise BenchError(
                    f"--{kind.lower()}s-per-run {number:g}: the Ray cluster has "
                    f"{there.get(kind, 0):g} {kind}s in all"
                )
        if self.gpus > 1 and self.gpus % 1:
            raise BenchError(
                f"--gpus-per-run {self.gpus:g}: a run shares one GPU with others, or has whole ones"
            )
        # Who says how many CPUs a run has gets these; else all that a machine has room for share it
        self.share = {"CPU": cpus} if cpus else {kind: n for kind, n in wanted.items() if n}
        self.jobs = int(min(there.get(kind, 0) // n for kind, n in wanted.items() if n))

    def _start(self) -> None:
        """Connect to a cluster, or start one of this machine; a busy one may need a second try."""
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        for tries_left in (2, 1, 0):
            try:
                try:
                    self._ray.init(address="auto", **quiet)
                except ConnectionError:
                    self._ray.init(include_dashboard=False, **quiet)
                return
            except Exception as error:  # of several kinds
                self._ray.shutdown()
                if not tries_left:
                    told = " ".join(str(error).split())[:300]
                    raise BenchError(f"--on ray: Ray does not start or answer ({told})") from None

    def run(
        self,
        make: Maker,
        tasks: Sequence[Task],
        reporter: Reporter,
        begun: Callable[[Task], None] = lambda _: None,
        wanted: Callable[[Task], bool] = always,
        hold: Hold = unheld,
    ) -> Iterator[tuple[Task, Any]]:
        """See `Executor`."""
        stop, at_once = threading.Event(), threading.Event()
        with reporter.display(), heeded_by(stop.set, at_once.set), _Marks(tasks) as marks:
            call = _Call(self, make, tasks, reporter, marks, hold)
            try:
                yield from call.results(begun, wanted, stop, at_once)
            finally:
                call.end()


class _Marks:
    """Files that tell a task whether it sees the folders of this machine."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._name = f".shared-{uuid.uuid4().hex}"
        self._folders = {top for task in tasks if (top := _top(task)) is not None}

    def of(self, task: Task) -> Path | None:
        top = _top(task)
        return None if top is None else top / self._name

    def __enter__(self) -> _Marks:
        for folder in self._folders:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / self._name).touch()
        return self

    def __exit__(self, *_: object) -> None:
        for folder in self._folders:
            (folder / self._name).unlink(missing_ok=True)


def _top(task: Task) -> Path | None:
    """Return the folder that a task's files lie in, side by side with others'."""
    return task.files[0].parent if task.files else None


class _Call:
    """What this process knows of the tasks of one call."""

    def __init__(
        self,
        cluster: Ray,
        make: Maker,
        tasks: Sequence[Task],
        reporter: Reporter,
        marks: _Marks,
        hold: Hold,
    ) -> None:
        self.ray, self.reporter, self.marks, self.hold = cluster._ray, reporter, marks, hold
        self.board = self.ray.remote(num_cpus=0)(Board).remote()
        self.do = self.ray.remote(do).options(  # Ray's own retries would not be told
            num_cpus=cluster.cpus, num_gpus=cluster.gpus, max_retries=0
        )
        self.call = Call(make, loaded_plugins(), os.getcwd(), self.board, cluster.share)
        self.tasks: dict[Any, Task] = {}
        self.tries: dict[str, int] = {}
        self.shown: dict[str, Shown] = {}
        self.came: dict[str, set[str]] = {}  # files of the tasks at work, by the tasks' names
        self.held: dict[str, ExitStack] = {}  # what these work on, where they see no folder of ours
        self.asking: dict[str, Task] = {}
        for task in tasks:
            self._submit(task)

    def _submit(self, task: Task) -> Any:
        """Give a task to Ray; return Ray's reference."""
        number = self.tries[task.name] = self.tries.get(task.name, 0) + 1
        self.asking.pop(task.name, None)
        reference = self.do.remote(self.call, task, number, self.marks.of(task))
        self.tasks[reference] = task
        self.came.setdefault(task.name, set())
        return reference

    def _answer(self) -> None:
        """Tell the tasks that ask what becomes of them; send those that go on their files."""
        for task in [*self.asking.values()]:
            result = None
            if task.name not in self.held:  # by an earlier try
                with ExitStack() as until:
                    result = self.hold(task, until)
                    if result is None:
                        self.held[task.name] = until.pop_all()
            if not isinstance(result, Later):
                del self.asking[task.name]
                files = [] if result is not None else [self.ray.put(pack(task.files))]
                self.board.answer.remote((task.name, self.tries[task.name]), result, files)

    def results(
        self,
        begun: Callable[[Task], None],
        wanted: Callable[[Task], bool],
        stop: threading.Event,
        at_once: threading.Event,
    ) -> Iterator[tuple[Task, Any]]:
        left, names = [*self.tasks], {task.name: task for task in self.tasks.values()}
        stopped: list[str] = []
        told_to_stop = False
        while left:
            if (stop.is_set() or stopped) and not told_to_stop:
                told_to_stop = True
                self.reporter.say(
                    "stops: what trains writes its checkpoint; a second signal ends all at once"
                )
                with suppress(self.ray.exceptions.RayError):
                    self.ray.get(self.board.stop.remote())  # before: who begins now is not missed
                for reference in left:
                    self.ray.cancel(reference, force=False)
            if at_once.is_set():
                for reference in left:
                    self.ray.cancel(reference, force=True)
            for reference in [one for one in left if not wanted(self.tasks[one])]:
                if self.tasks[reference].name not in self.shown:  # it has not begun
                    left.remove(reference)
                    self.ray.cancel(reference, force=False)
            if not left:
                break
            ended, left = self.ray.wait(left, timeout=_LOOKS)
            self._show(names, begun)
            self._answer()
            for reference in ended:
                task = self.tasks[reference]
                self._close(task)
                try:
                    result, files = self.ray.get(reference)
                except self.ray.exceptions.TaskCancelledError:
                    continue
                except self.ray.exceptions.RayTaskError as error:
                    self._let_go(task)
                    yield task, Lost(f"it failed on Ray {_told(error)}")
                    continue
                except self.ray.exceptions.RayError as error:
                    if told_to_stop:
                        continue
                    if (tries := self.tries[task.name]) > RETRIES:
                        self._let_go(task)
                        yield task, Lost(f"Ray lost it {tries} times {_told(error)}")
                        continue
                    self.reporter.warn(
                        f"{task.name}: its process or its machine died: it goes on from its last "
                        f"checkpoint (try {tries + 1} of {RETRIES + 1})"
                    )
                    left.append(self._submit(task))
                    continue
                self._unpack(task, files)
                self._let_go(task)
                if isinstance(result, Halted):
                    stopped.append(result.told)
                else:
                    yield task, result
        if told_to_stop or stopped:
            more = f", and {len(stopped) - 1} more" if len(stopped) > 1 else ""
            raise TrainingStopped(f"{stopped[0]}{more}" if stopped else "stopped")

    def _show(self, names: dict[str, Task], begun: Callable[[Task], None]) -> None:
        """Show what the tasks have said since."""
        with suppress(self.ray.exceptions.RayError):
            for name, message in self.ray.get(self.board.take.remote()):
                if message[0] == "begun":
                    if name not in self.shown:
                        begun(names[name])
                    self._close(names[name])
                    self.shown[name] = Shown(self.reporter)
                elif message[0] == "asks":
                    if message[1] == self.tries[name]:
                        self.asking[name] = names[name]
                elif message[0] == "files":
                    if name in self.came:
                        self.came[name] |= message[1].keys()
                        unpack(message[1], names[name].files)
                elif name in self.shown:
                    self.shown[name].show(message)

    def _unpack(self, task: Task, files: Files) -> None:
        """Write the files of a task that has ended; of those that came before, no other stays."""
        came = self.came.pop(task.name)
        unpack(files, task.files)
        if files:  # else it saw the folder of this machine
            for name in came - files.keys():
                Path(name).unlink(missing_ok=True)

    def _let_go(self, task: Task) -> None:
        """Let others have what a task works on, since it has ended."""
        self.asking.pop(task.name, None)
        self.held.pop(task.name, ExitStack()).close()

    def _close(self, task: Task) -> None:
        if task.name in self.shown:
            self.shown[task.name].close()

    def end(self) -> None:
        for reference in self.tasks:
            with suppress(Exception):
                self.ray.cancel(reference, force=True)
        for task in self.tasks.values():
            self._let_go(task)
        with suppress(Exception):
            self.ray.kill(self.board)


def _told(error: Exception) -> str:
    kind = type(error).__name__
    first = next(iter(str(error).strip().splitlines()), "")
    return f"({kind}: {first[:300]})"
