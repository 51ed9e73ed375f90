"""A task in a process of Ray: what it says there, and the files that travel with it."""

from __future__ import annotations

import itertools
import math
import os
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stt_bench.benchmark.jobs.carried import LEDGER, Files, Stamps, changed, pack, unpack
from stt_bench.benchmark.jobs.reports import Message, SendingReporter
from stt_bench.benchmark.jobs.work import Maker, Task
from stt_bench.benchmark.system.atomic import look_again
from stt_bench.benchmark.system.errors import TrainingStopped
from stt_bench.benchmark.system.freed_memory import give_back_freed_memory
from stt_bench.benchmark.system.machine import share_threads
from stt_bench.benchmark.system.plugins import import_plugin, loaded_plugins
from stt_bench.benchmark.system.resources import usable_cores
from stt_bench.benchmark.system.signals import Stopped

SENT_EVERY = 30.0
"""Seconds between two looks for files that a task has changed, where they must travel."""
_LOOKS = 0.2  # seconds between two looks for the answer of the first process
_numbers = itertools.count()

Try = tuple[str, int]
"""A task's name, and which try it is."""


class Board:
    """Where the tasks leave what they say until the first process takes it, and that its answers.

    An answer is what becomes of the task, and, where that is None, its files as `ray.put` left
    them, in a list.
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._said: deque[tuple[str, Message]] = deque()
        self._answers: dict[Try, tuple[Any, list[Any]]] = {}
        self._stops = False

    def put(self, name: str, message: Message) -> None:
        """Leave a message of a task."""
        self._said.append((name, message))

    def take(self) -> list[tuple[str, Message]]:
        """Return all that was left since."""
        said = [*self._said]
        self._said.clear()
        return said

    def answer(self, one: Try, what: Any, files: list[Any]) -> None:
        """Answer a task that asks whether it may begin."""
        self._answers[one] = what, files

    def answered(self, one: Try) -> tuple[Any, list[Any]] | None:
        """Return the answer, once; None where there is none yet."""
        return self._answers.pop(one, None)

    def stop(self) -> None:
        """Note that all are to stop."""
        self._stops = True

    def stops(self) -> bool:
        """Tell whether all are to stop."""
        return self._stops


class Halted:
    """In place of a result: the task was told to stop."""

    def __init__(self, told: str) -> None:
        """Keep what the task says of it."""
        self.told = told


@dataclass(frozen=True)
class Call:
    """What all tasks of a call are given.

    Attributes:
        make: makes what does them.
        plugins: files to import.
        folder: that they work in.
        board: where they leave what they say.
        share: of a machine's resources, by Ray's names, those that say how many tasks share it.
    """

    make: Maker
    plugins: Sequence[str]
    folder: str
    board: Any
    share: Mapping[str, float]


def do(call: Call, task: Task, number: int, mark: Path | None) -> tuple[Any, Files]:
    """Do a task in a process of Ray; return what comes of it, and its files if they must travel.

    Args:
        call: that the task is part of.
        task: whose files lie on the first process's machine.
        number: of the try.
        mark: a file there; where it is not seen, the first process is asked for the task's files.
    """

    def send(message: Message) -> None:
        call.board.put.remote(task.name, message)

    try:
        if _told_to_stop(call.board):
            return Halted(f"{task.name} stopped"), {}
        send(("begun",))
        _enter(call.folder)
        _keep_to(call.share)
        look_again()
        apart = mark is not None and not mark.exists()
        if apart:
            send(("asks", number))
            result, files = _answer(call.board, (task.name, number))
            if result is not None:
                return result, {}
            # What an earlier try has left on this machine is as new, or newer.
            unpack(files, [one for one in task.files if one.name == LEDGER or not one.exists()])
            del files
        if not loaded_plugins():
            for file in call.plugins:
                import_plugin(Path(file), next(_numbers))
        try:
            with _sending(task.files[0], send) if apart else nullcontext():
                result = call.make(SendingReporter(send)).do(task.content)
        except TrainingStopped as stopped:
            result = Halted(str(stopped))
        return result, pack(task.files) if apart else {}
    except (KeyboardInterrupt, Stopped):
        return Halted(f"{task.name} stopped"), {}
    finally:
        give_back_freed_memory()


def _told_to_stop(board: Any) -> bool:
    """Let Ray interrupt this process from now on; tell whether it was to stop before that.

    Ray interrupts by SIGINT, which its processes ignore where the shell that started them does, as
    for a command that a script leaves in the background.
    """
    import ray

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
    stops: bool = ray.get(board.stops.remote())
    return stops


def _answer(board: Any, one: Try) -> tuple[Any, Files]:
    """Wait until the first process has answered; return what it says, and the files."""
    import ray

    while (answer := ray.get(board.answered.remote(one))) is None:
        time.sleep(_LOOKS)
    result, references = answer
    return result, ray.get(references[0]) if references else {}


def _keep_to(share: Mapping[str, float]) -> None:
    """Take this task's part of the machine's cores and memory, and no more.

    The part is by how many tasks the machine has room for as Ray counts its resources; where Ray
    was given some of its cores, it is of those.
    """
    import ray

    here = ray.get_runtime_context().get_node_id()
    (there,) = [node["Resources"] for node in ray.nodes() if node["NodeID"] == here]
    room = max(1, int(min(there.get(kind, 0) // number for kind, number in share.items())))
    cores = usable_cores({})
    share_threads(math.ceil(room * max(1.0, cores / there["CPU"])), cores=cores)


@contextmanager
def _sending(folder: Path, send: Callable[[Message], None]) -> Iterator[None]:
    """Send what changes in a folder while the block runs, so that another machine can go on."""
    over, known = threading.Event(), Stamps()

    def look() -> None:
        while not over.wait(SENT_EVERY):
            if files := changed(folder, known):
                send(("files", files))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _enter(folder: str) -> None:
    """Work in a folder of the same name as the first process; where none can be, in another."""
    try:
        os.makedirs(folder, exist_ok=True)
        os.chdir(folder)
    except OSError:
        os.chdir(tempfile.gettempdir())
