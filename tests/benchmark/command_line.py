"""The command line called in this process: importing torch again for each would take minutes."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from stt_bench.benchmark.cli.main import main

ROOT = Path(__file__).parents[2]

_KILLER = """
import os, signal
from stt_bench.benchmark.training import loop

write = loop.write_checkpoint

def write_checkpoint(path, state):
    write(path, state)
    if path.parent.parent.name == "{row}":
        os.kill(os.getpid(), signal.SIGKILL)

loop.write_checkpoint = write_checkpoint
"""


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture
def stt_bench(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: object) -> Done:
        capfd.readouterr()
        command = arguments[2] if arguments[:1] == ("--plugin",) else arguments[0]
        if command == "train" and "--results" not in arguments:  # its start is noted there
            arguments = (*arguments, "--results", tmp_path / "results")
        monkeypatch.setattr(sys, "argv", ["stt-bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        return Done(int(end.value.code or 0), out, err)

    return call


def exit_code_of(*arguments: object) -> int | None:
    """Return the exit code of a command in a process forked from this one; negative: the signal."""

    def call() -> None:
        sys.argv = ["stt-bench", *map(str, arguments)]
        main()

    child = multiprocessing.get_context("fork").Process(target=call)
    child.start()
    child.join()
    return child.exitcode


@contextmanager
def disk_with(size: int) -> Iterator[None]:
    """Let the operating system refuse to write a file longer than some bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def killed_after_a_checkpoint(folder: Path, row: str) -> list[str]:
    """Return options of a command that kills itself after it writes a row's first checkpoint.

    However quick or busy the machine is, it is always at the same step.
    """
    plugin = folder / "killer.py"
    plugin.write_text(_KILLER.format(row=row))
    return ["--plugin", str(plugin)]
