"""What is to do, who does it, and how it is spread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stt_bench.benchmark.system.progress import Reporter

RETRIES = 3
"""How often a task is tried again whose process died."""


@dataclass(frozen=True)
class Task:
    """A part of the work that knows of no other.

    Attributes:
        name: What is told of it.
        content: Plain data, which pickle can take to another process.
        files: Files and folders that it reads and writes: they travel with it to machines that do
            not see them. The first is a folder that is its alone.
    """

    name: str
    content: Any
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Lost:
    """In place of a task's result: its process died again and again."""

    told: str


class Worker(Protocol):
    """Does tasks one after the other, in one process."""

    def do(self, content: Any) -> Any:
        """Do a task, and return what plain data come of it.

        Raises:
            TrainingStopped: it was told to stop.
        """
        ...


Maker = Callable[[Reporter], Worker]
"""Makes a worker in the process that it works in; pickle can take it there."""


class Later:
    """In place of a task's result: what it works on is another's, for whose end it waits."""


Hold = Callable[[Task, ExitStack], Any]
"""Keeps others from what a task works on until the stack is closed; returns None if the task is
to go on, what comes of it where it is not, or `Later`."""


def unheld(_task: Task, _until: ExitStack) -> None:
    """Keep nobody from what a task works on."""


def always(_: Task) -> bool:
    """Tell that a task is wanted: all are."""
    return True


class Executor(Protocol):
    """Does tasks, one after the other or many at once."""

    jobs: int
    """How many tasks are done at once; 1 where that is not known."""
    is_here: bool
    """Whether they are done on this machine, with its devices."""

    def run(
        self,
        make: Maker,
        tasks: Sequence[Task],
        reporter: Reporter,
        begun: Callable[[Task], None] = lambda _: None,
        wanted: Callable[[Task], bool] = always,
        hold: Hold = unheld,
    ) -> Iterator[tuple[Task, Any]]:
        """Yield each task with its result, or `Lost`, as it ends.

        Args:
            make: makes what does them.
            tasks: in the order in which they begin.
            reporter: shows the progress of all.
            begun: is called with each task when it begins, here.
            wanted: is asked before a task begins; one that no longer is wanted is left out.
            hold: is asked, here, when a task begins on a machine that does not see its files.

        Raises:
            TrainingStopped: the user stopped it; what had begun has written its checkpoints.
        """
        ...


class Here:
    """Does the tasks one after the other, in this process."""

    jobs = 1
    is_here = True

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
        worker = make(reporter)
        for task in tasks:
            if wanted(task):
                begun(task)
                yield task, worker.do(task.content)


def shard_of(things: Sequence[Any], shard: tuple[int, int]) -> list[Any]:
    """Return every n-th thing from the i-th on, for shard (i, n), i from 1."""
    return list(things[shard[0] - 1 :: shard[1]])
