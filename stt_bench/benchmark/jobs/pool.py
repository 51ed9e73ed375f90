"""Tasks side by side in processes of this machine.

A worker is started from a server that has imported everything and uses no GPU, so it starts quickly
and safely, and stays for the tasks that follow. One that dies costs its own task's steps since the
last checkpoint: another takes its place and goes on from there. The workers heed this process
alone, whatever a terminal or a scheduler sends to them; where this process dies, they stop by
themselves, with checkpoints.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from stt_bench.benchmark.jobs.reports import Message, SendingReporter, Shown
from stt_bench.benchmark.jobs.team import Along, Place, leading
from stt_bench.benchmark.jobs.work import RETRIES, Hold, Lost, Maker, Task, always, unheld
from stt_bench.benchmark.system.atomic import look_again
from stt_bench.benchmark.system.errors import TrainingStopped
from stt_bench.benchmark.system.freed_memory import give_back_freed_memory
from stt_bench.benchmark.system.plugins import loaded_plugins
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.system.signals import (
    STOPPING,
    Stopped,
    deaf_children,
    hear,
    heeded_by,
    stop_by_signal,
)
from stt_bench.benchmark.system.sockets import make_room_for_sockets

START = "forkserver"
_LOOKS = 0.2  # seconds between two looks for the user's wish to stop
_AT_ONCE = 2.0  # seconds


class Pool:
    """Does up to `jobs` tasks at once, each in a process of its own."""

    is_here = True

    def __init__(
        self, jobs: int, *, spread_gpus: bool = True, team: int = 1, along: Along | None = None
    ) -> None:
        """Start nothing yet.

        Args:
            jobs: processes, >= 1; each takes its part of the CPU threads.
            spread_gpus: give each process its own GPU, or part of one, where there are some.
            team: processes that share each task, each with its own GPU.
            along: what the others of a team do; its first process does the tasks.
        """
        self.jobs, self.spread_gpus, self.team, self.along = jobs, spread_gpus, team, along

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
        make_room_for_sockets()
        stop, at_once = threading.Event(), threading.Event()
        with reporter.display(), heeded_by(stop.set, at_once.set):
            crew = _Crew(self, make, reporter)
            try:
                yield from crew.work(deque(tasks), begun, wanted, stop, at_once)
            finally:
                crew.end()

    def gpus_of(self, place: int) -> str | None:
        """Return the GPUs of the process at a place as CUDA_VISIBLE_DEVICES; None: as they are."""
        if not self.spread_gpus:
            return None
        import torch

        count = torch.cuda.device_count()
        if count < 2:
            return None
        given = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = given.split(",") if given else [str(number) for number in range(count)]
        if self.team > 1:
            own = [names[(place * self.team + one) % count] for one in range(self.team)]
        else:
            own = names[place % count :: self.jobs] if self.jobs < count else [names[place % count]]
        return ",".join(own)


class _Member:
    """A process that works, as this one knows it."""

    def __init__(self, pool: Pool, place: int, make: Maker, reporter: Reporter) -> None:
        self.place, self.shown = place, Shown(reporter)
        self.task: Task | None = None
        self.is_ready = self.is_told = False
        context: Any = multiprocessing.get_context(START)
        if START == "forkserver":
            function = make.func if isinstance(make, functools.partial) else make
            context.set_forkserver_preload([function.__module__])
        self.connection, other = context.Pipe()
        plugins = [] if START == "fork" else loaded_plugins()
        given = Place(pool.jobs * pool.team, pool.gpus_of(place), plugins)
        arguments = (other, make, given, pool.team, pool.along)
        self.process = context.Process(target=_serve, args=arguments, name=f"job {place + 1}")
        with deaf_children():
            self.process.start()
        other.close()

    def give(self, task: Task) -> None:
        self.task = task
        with suppress(OSError):  # it died: that is seen where its end is read
            self.connection.send(task.content)

    def dismiss(self) -> None:
        """Let it end: there is no more to do."""
        with suppress(OSError):
            self.connection.send(None)

    def stop(self) -> None:
        """Let it stop, once; one that has begun nothing yet ends at once."""
        if not self.is_told:
            self.is_told = True
            self.send(signal.SIGINT if self.is_ready else signal.SIGKILL)

    def send(self, kind: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.process.pid or 0, kind)

    def end(self) -> str:
        """Wait for its end; return how it died."""
        self.shown.close()
        self.connection.close()
        self.process.join()
        code = self.process.exitcode or 0
        self.process.close()
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return "was killed" if code in (0, 255) else f"ended with exit code {code}"


class _Crew:
    """The processes of one call."""

    def __init__(self, pool: Pool, make: Maker, reporter: Reporter) -> None:
        self.pool, self.make, self.reporter = pool, make, reporter
        self.members: dict[Connection, _Member] = {}
        self.tries: dict[str, int] = {}  # by the task's name
        self.stopped: list[str] = []

    def work(
        self,
        todo: deque[Task],
        begun: Callable[[Task], None],
        wanted: Callable[[Task], bool],
        stop: threading.Event,
        at_once: threading.Event,
    ) -> Iterator[tuple[Task, Any]]:
        while not (stop.is_set() or self.stopped):
            todo = deque(task for task in todo if wanted(task))
            self._give(todo, begun)
            if not self._at_work():
                return
            yield from self._hear(todo)
        self.reporter.say(
            "stops: what trains writes its checkpoint; a second signal ends all at once"
        )
        while at_work := self._at_work():
            for member in at_work:
                member.send(signal.SIGKILL) if at_once.is_set() else member.stop()
            yield from self._hear(None)
        more = f", and {len(self.stopped) - 1} more" if len(self.stopped) > 1 else ""
        raise TrainingStopped(f"{self.stopped[0]}{more}" if self.stopped else "stopped")

    def _at_work(self) -> list[_Member]:
        return [member for member in self.members.values() if member.task is not None]

    def end(self) -> None:
        """Let go of all: those that wait end by themselves, those that work are stopped."""
        for member in self.members.values():
            if member.task is None:
                member.dismiss()
            else:
                member.send(signal.SIGKILL)  # this process fails itself
        for member in self.members.values():
            member.end()

    def _give(self, todo: deque[Task], begun: Callable[[Task], None]) -> None:
        """Give every process that is free a task, and start those that lack."""
        free = [member for member in self.members.values() if member.task is None]
        while todo and (free or len(self.members) < self.pool.jobs):
            if free:
                member = free.pop()
            else:
                taken = {member.place for member in self.members.values()}
                place = next(place for place in range(self.pool.jobs) if place not in taken)
                member = _Member(self.pool, place, self.make, self.reporter)
                self.members[member.connection] = member
            task = todo.popleft()
            begun(task)
            member.give(task)

    def _hear(self, todo: deque[Task] | None) -> Iterator[tuple[Task, Any]]:
        """Show what the processes say and yield their results; put the task of a dead one back."""
        for one in wait([*self.members], timeout=_LOOKS):
            assert isinstance(one, Connection)
            member = self.members[one]
            try:
                message = one.recv()
            except (EOFError, OSError):
                yield from self._bury(member, todo)
                continue
            kind, task = message[0], member.task
            if kind == "ready":
                member.is_ready = True
            elif kind == "result":
                assert task is not None
                member.task = None
                yield task, message[1]
            elif kind == "stopped":
                member.task = None
                self.stopped.append(message[1] or (f"{task.name} stopped" if task else "stopped"))
            else:
                member.shown.show(message)

    def _bury(self, member: _Member, todo: deque[Task] | None) -> Iterator[tuple[Task, Any]]:
        del self.members[member.connection]
        how, task = member.end(), member.task
        if task is None or todo is None:
            return
        tries = self.tries[task.name] = self.tries.get(task.name, 0) + 1
        if tries <= RETRIES:
            self.reporter.warn(
                f"{task.name}: its process {how}: it goes on from its last checkpoint "
                f"(try {tries + 1} of {RETRIES + 1})"
            )
            todo.appendleft(task)
            return
        yield (
            task,
            Lost(f"its process {how}, {tries} times; where memory is short, use fewer --jobs"),
        )


def _serve(
    connection: Connection, make: Maker, place: Place, team: int, along: Along | None
) -> None:
    """Do what comes through a connection until nothing does, or this is told to stop."""
    with suppress(OSError):
        os.setsid()  # Ctrl-C in a terminal is for the first process, which tells this one
    for kind in STOPPING:
        signal.signal(kind, signal.SIG_IGN)
    hear()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    guard = threading.Lock()

    def send(message: Message) -> None:
        with guard:
            connection.send(message)

    try:
        stop_by_signal()
        send(("ready",))
        threading.Thread(target=_stop_when_alone, daemon=True).start()
        place.take()
        with leading(team, along, place, START):
            worker = make(SendingReporter(send))
            while (content := _next(connection)) is not None:
                look_again()
                send(("result", worker.do(content)))
    except EOFError:
        return
    except (Stopped, TrainingStopped, KeyboardInterrupt) as stopped:
        told = "" if isinstance(stopped, (Stopped, KeyboardInterrupt)) else str(stopped)
        with suppress(OSError):
            send(("stopped", told))
    except OSError:
        return  # nobody listens any more


def _next(connection: Connection) -> Any:
    """Wait for what is next; memory that was kept for it is given back unless it comes at once."""
    if not connection.poll(_AT_ONCE):
        give_back_freed_memory()
    return connection.recv()


def _stop_when_alone() -> None:
    """Stop this process as a user would where the one that started it is no more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGINT)
