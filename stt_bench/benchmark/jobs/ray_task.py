"""A task in a process of Ray: what it says there, and the files that travel with it."""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from stt_bench.benchmark.jobs.carried import LEDGER, Files, Stamps, changed, pack, unpack
from stt_bench.benchmark.jobs.reports import Message, SendingReporter
from stt_bench.benchmark.jobs.work import Maker, Task
from stt_bench.benchmark.system.errors import TrainingStopped
from stt_bench.benchmark.system.plugins import import_plugin, loaded_plugins

SENT_EVERY = 30.0
"""Seconds between two looks for files that a task has changed, where they must travel."""
_numbers = itertools.count()


class Board:
    """Where the tasks leave what they say until the first process takes it."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._said: deque[tuple[str, Message]] = deque()

    def put(self, name: str, message: Message) -> None:
        """Leave a message of a task."""
        self._said.append((name, message))

    def take(self) -> list[tuple[str, Message]]:
        """Return all that was left since."""
        said = [*self._said]
        self._said.clear()
        return said


class Halted:
    """In place of a result: the task was told to stop."""

    def __init__(self, told: str) -> None:
        """Keep what the task says of it."""
        self.told = told


def do(
    make: Maker,
    task: Task,
    plugins: Sequence[str],
    folder: str,
    mark: Path | None,
    board: Any,
    sent: Files,
) -> tuple[Any, Files]:
    """Do a task in a process of Ray; return what comes of it, and its files if they must travel."""

    def send(message: Message) -> None:
        board.put.remote(task.name, message)

    try:
        send(("begun",))
        _enter(folder)
        apart = mark is not None and not mark.exists()
        if apart:  # what an earlier try has left on this machine is as new, or newer
            unpack(sent, [one for one in task.files if one.name == LEDGER or not one.exists()])
        if not loaded_plugins():
            for file in plugins:
                import_plugin(Path(file), next(_numbers))
        try:
            with _sending(task.files[0], send) if apart else nullcontext():
                result = make(SendingReporter(send)).do(task.content)
        except TrainingStopped as stopped:
            result = Halted(str(stopped))
        return result, pack(task.files) if apart else {}
    except KeyboardInterrupt:
        return Halted(f"{task.name} stopped"), {}


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
