"""One process at a time works on a thing; the lock goes with the process, however that ends.

On one machine that is the operating system's lock on a file beside the thing. On a shared folder
of a cluster the lease counts, too: see `leases`.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from stt_bench.benchmark.store.leases import Holder, Lease
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.system.atomic import (
    NO_ROOM,
    NOT_ALLOWED,
    make_folder,
    remove_leftovers,
    told_in_a_sentence,
)
from stt_bench.benchmark.system.errors import BenchError, TrainingStopped
from stt_bench.benchmark.system.resources import open_files

_LOOKS_AGAIN = 0.2  # seconds, at what another process holds
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # of a shared folder


class InUseError(BenchError):
    """Another process works on it; `who` says which, in brackets, where that is known."""

    def __init__(self, path: Path, who: Holder | None, what: str = "is in use by") -> None:
        """Make the sentence."""
        told = who.told() if who else ""
        self.who = f" ({told})" if told else ""
        super().__init__(
            f"{path} {what} another stt-bench{self.who}: wait for its end, or stop it first"
        )


def lock_file(path: Path) -> Path:
    """Return the file whose lock is that of what lies, or will lie, at a path."""
    return path.with_name(f".{path.name}.lock")


def locked_in(folder: Path) -> list[Path]:
    """Return the paths below a folder that some process holds or has held."""
    files = sorted(folder.rglob(".*.lock"))
    return [file.with_name(file.name.removeprefix(".").removesuffix(".lock")) for file in files]


def held(run: Run, *, wait: bool = False) -> AbstractContextManager[None]:
    """Keep other processes from training, embedding or discarding a run; as `locked`."""
    return locked(run.folder, wait=wait)


@contextmanager
def all_locked(paths: Iterable[Path]) -> Iterator[None]:
    """Keep other processes from several things at once; as `locked`.

    Raises:
        InUseError: another process holds one of them.
        BenchError: they are more than files may be open.
    """
    several = list(paths)
    with open_files(len(several)), ExitStack() as locks:
        for path in several:
            locks.enter_context(locked(path))
        yield


@contextmanager
def locked(
    path: Path, *, wait: bool = False, stop: threading.Event | None = None
) -> Iterator[None]:
    """Keep other processes from what lies, or will lie, at a path.

    A process that was killed holds it no more: on its own machine from that moment on, on others
    after `leases.DEAD` seconds. What it had not finished beside the path is removed.

    Args:
        path: of a file or a folder, whether it exists or not.
        wait: until the other process is done with it.
        stop: ends the waiting when it is set.

    Raises:
        InUseError: another process holds it, or took it over while this one slept.
        TrainingStopped: ``stop`` was set.
    """
    file = lock_file(path)
    lock, lease = FileLock(file), Lease(path)
    try:
        make_folder(file.parent)
        while (other := _taken(lock, lease)) is not None:
            if not wait:
                raise InUseError(path, other)
            if stop is not None and stop.is_set():
                raise TrainingStopped("the search stopped")
            time.sleep(_LOOKS_AGAIN)
    except OSError as error:
        if error.errno in (*NO_ROOM, *NOT_ALLOWED):
            with told_in_a_sentence(file):
                raise
        raise BenchError(f"{file}: cannot be locked ({error.strerror or error})") from None
    try:
        remove_leftovers(path.parent, path.name)
        yield
    except BaseException:
        if lease.lost is not None:
            raise InUseError(path, lease.lost, "was taken over by") from None
        raise
    finally:
        lease.release()
        lock.release()


def _taken(lock: FileLock, lease: Lease) -> Holder | None:
    """Take lock and lease, or return who has one of them."""
    alone = True
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return lease.holder() or Holder()
    except NotImplementedError:
        alone = False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        alone = False
    try:
        other = lease.take(alone=alone)
    except BaseException:
        lock.release()
        raise
    if other is not None:
        lock.release()
    return other
