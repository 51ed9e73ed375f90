"""Several processes that work together, forked from the test's: everything is imported already."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stt_bench.benchmark.system import orders, processes

LONGEST = 300.0  # seconds until those that hang are killed


class Ended(int):
    """The exit code of a process that returned nothing; negative: the signal."""


def forked(
    count: int, folder: Path, work: Callable[[processes.Processes], Any], grace: float = 30.0
) -> list[Any]:
    """Return what `work` returns in each of some processes that have joined each other.

    Of a process that ended otherwise, an `Ended`; what each prints stands in `folder/N.txt`. Where
    all are to end because of one, a short `grace` ends the test sooner.
    """
    from torch import distributed

    folder.mkdir(parents=True, exist_ok=True)
    kept = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    # None calls the store before all are there: while its thread answers, it holds a lock of the C
    # library that the next process would be born with, held for ever.
    gate, opened = os.pipe()
    children = []
    for rank in range(count):
        child = os.fork()
        if child:
            children.append(child)
            continue
        code = 70
        try:
            os.close(opened)
            os.read(gate, 1)
            _quietly(folder / f"{rank}.txt")
            orders.GRACE = grace
            store = distributed.TCPStore("127.0.0.1", kept.port)
            result = work(processes.join_by(store, rank, count))
            (folder / f"{rank}.pickle").write_bytes(pickle.dumps(result))
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.close(opened)
    os.close(gate)
    ends = [_end(child, time.monotonic() + LONGEST) for child in children]
    results: list[Any] = []
    for rank, end in enumerate(ends):
        made = folder / f"{rank}.pickle"
        results.append(pickle.loads(made.read_bytes()) if made.exists() else Ended(end))
        told = (folder / f"{rank}.txt").read_text()
        assert made.exists() or end != 70, f"process {rank}: {told[-3000:]}"
    return results


def _quietly(path: Path) -> None:
    """Send what the process prints into a file."""
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.SIG_DFL)
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(opened, stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)


def _end(child: int, until: float) -> int:
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGALRM
