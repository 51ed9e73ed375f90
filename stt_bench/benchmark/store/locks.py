"""One process at a time works on a thing; the lock goes with the process, however that ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.system.atomic import make_folder
from stt_bench.benchmark.system.errors import BenchError, TrainingStopped

_LOOKS_AGAIN = 0.2  # seconds, at what another process holds


class InUseError(BenchError):
    """Another process works on it."""


def held(run: Run, *, wait: bool = False) -> AbstractContextManager[None]:
    """Keep other processes from training, embedding or discarding a run; as `locked`."""
    return locked(run.folder, wait=wait)


@contextmanager
def locked(
    path: Path, *, wait: bool = False, stop: threading.Event | None = None
) -> Iterator[None]:
    """Keep other processes from what lies, or will lie, at a path.

    The lock is the operating system's, on a file beside the path: a process that was killed holds
    it no more, though the file stays.

    Args:
        path: of a file or a folder, whether it exists or not.
        wait: until the other process is done with it.
        stop: ends the waiting when it is set.

    Raises:
        InUseError: another process holds it.
        TrainingStopped: ``stop`` was set.
    """
    file = path.with_name(f".{path.name}.lock")
    try:
        make_folder(file.parent)
        lock = FileLock(file, timeout=_LOOKS_AGAIN if wait else 0)
        while not lock.is_locked:
            try:
                lock.acquire()
            except Timeout:
                if not wait:
                    raise InUseError(
                        f"{path} is in use by another stt-bench: wait for its end, or stop it first"
                    ) from None
                if stop is not None and stop.is_set():
                    raise TrainingStopped("the search stopped") from None
    except OSError as error:
        raise BenchError(f"{file}: cannot be locked ({error.strerror or error})") from None
    try:
        yield
    finally:
        lock.release()
