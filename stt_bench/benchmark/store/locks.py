"""One process at a time works on a run; the lock goes with the process, however that ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.system.errors import BenchError


class RunInUseError(BenchError):
    """Another process works on the run."""


@contextmanager
def held(run: Run, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes from training, embedding or discarding a run.

    The lock is the operating system's, on a file beside the run's folder: a process that was
    killed holds it no more, though the file stays.

    Args:
        run: is locked, whether its folder exists or not.
        wait: until the other process is done with it.

    Raises:
        RunInUseError: another process holds the run.
    """
    file = run.folder.with_name(f".{run.folder.name}.lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file, timeout=-1 if wait else 0)
        lock.acquire()
    except Timeout:
        raise RunInUseError(
            f"{run.folder} is in use by another stt-bench: wait for its end, or stop it first"
        ) from None
    except OSError as error:
        raise BenchError(f"{file}: cannot be locked ({error.strerror or error})") from None
    try:
        yield
    finally:
        lock.release()
