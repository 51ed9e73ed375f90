"""Files, folders and lines that are whole or absent, whatever is killed, full or without power.

Files are written beside, flushed to the disk, and then renamed; the folder that holds the new name
is flushed too. What a killed process left beside them is removed.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import io
import os
import platform
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.signals import is_running, pid_namespace

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Of an OSError: the disk is full, or the user's share of it, or files may not be that long."""
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)

_BLOCK = 1 << 16  # bytes
_FORGOTTEN = 7 * 24 * 3600  # seconds after which a writer on another machine has surely ended
_looked_at: set[Path] = set()  # folders, by this process in its present task


@cache
def _host() -> str:
    """Return what tells the machine, or container, that can ask for this process by its number."""
    return hashlib.sha256(f"{platform.node()} {pid_namespace()}".encode()).hexdigest()[:8]


def write_atomically(
    path: Path, write: Callable[[IO[bytes]], Any], *, durable: bool = True
) -> None:
    """Write a file through ``write(stream)`` so that a kill leaves the old file or the new one.

    So does a power cut, before this returns; after it, the new one is there. Several processes may
    write one file at once; the last one's stays. What killed ones left in its folder is removed.

    Args:
        path: the file.
        write: writes its content.
        durable: False: a power cut may lose it, or leave it empty, and writing it is quick.

    Raises:
        BenchError: the operating system refuses; of a full disk it says how much is needed.
    """
    asked = [0]
    with told_in_a_sentence(path, asked):
        make_folder(path.parent)
        look_at(path.parent)
        part = _beside(path)
        try:
            with _Counted(io.FileIO(part, "xb"), asked) as stream:
                write(stream)
                stream.flush()
                if durable:
                    os.fsync(stream.fileno())
            os.replace(part, path)
        finally:
            with suppress(OSError):
                part.unlink()
        if durable:
            sync_folder(path.parent)


def link_atomically(path: Path, there: Path) -> bool:
    """Make a path another name of the file `there`; tell whether the file system could."""
    part = _beside(path)
    try:
        os.link(there, part)
        os.replace(part, path)
        sync_folder(path.parent)
    except OSError:
        return False
    finally:
        with suppress(OSError):
            part.unlink()
    return True


def append_lines(
    path: Path, lines: Iterable[str], is_whole: Callable[[bytes], bool] = lambda _: False
) -> None:
    """Add lines to a file, all or none, and flush them to the disk; several processes may do so.

    A last line without an end was cut short and is removed, unless ``is_whole(line)``.

    Raises:
        BenchError: the operating system refuses.
    """
    with told_in_a_sentence(path):
        make_folder(path.parent)
        is_new = not path.exists()
        with path.open("ab+", buffering=0) as stream:
            with suppress(OSError):  # not every file system can; the end of the block lets go
                fcntl.flock(stream, fcntl.LOCK_EX)
            last = _last_line(stream)
            if last and not is_whole(last):
                stream.truncate(stream.tell() - len(last))
                last = b""
            whole = stream.seek(0, os.SEEK_END)
            content = ("\n" * bool(last) + "".join(f"{line}\n" for line in lines)).encode()
            try:
                while content:
                    content = content[stream.write(content) :]
                os.fsync(stream.fileno())
            except OSError:
                stream.truncate(whole)
                raise
        if is_new:
            sync_folder(path.parent)


def _last_line(stream: io.FileIO) -> bytes:
    """Return what follows the last end of a line; the stream is at the file's end then."""
    left, last = stream.seek(0, os.SEEK_END), b""
    while left and b"\n" not in last:
        size = min(left, _BLOCK)
        stream.seek(left - size)
        last = stream.read(size) + last
        left -= size
    stream.seek(0, os.SEEK_END)
    return last.rpartition(b"\n")[2]


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside a path, to be filled and renamed; it is gone after the block.

    What a killed process left of such a folder is removed.
    """
    make_folder(path.parent)
    remove_leftovers(path.parent, path.name)
    beside = _beside(path)
    beside.mkdir()
    try:
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def discard_folder(folder: Path) -> None:
    """Remove a folder, at once also for a process that is killed in the middle.

    What such a one has left is removed by `remove_leftovers`.
    """
    aside = _beside(folder)
    folder.rename(aside)
    shutil.rmtree(aside)


def remove_unlinked(folder: Path, kept: Path | None = None) -> None:
    """Remove the files of a folder that have no other name any more; not the one that is kept."""
    for file in folder.glob("[!.]*"):  # the others are being written
        with suppress(OSError):
            if file != kept and file.stat().st_nlink == 1:
                file.unlink()


class _Counted(io.BufferedWriter):
    """Counts the bytes that it is asked to write, also those for which there is no room."""

    def __init__(self, raw: io.FileIO, asked: list[int]) -> None:
        super().__init__(raw)
        self._asked = asked

    def write(self, content: Any) -> int:
        self._asked[0] += memoryview(content).nbytes
        return super().write(content)


@contextmanager
def told_in_a_sentence(path: Path, asked: list[int] | None = None) -> Iterator[None]:
    """Turn what the operating system refuses while a file is written into a `BenchError`.

    Args:
        path: the file.
        asked: how many bytes it takes at least, as the block has found.
    """
    try:
        yield
    except OSError as error:
        told = f"{path}: cannot be written ({error.strerror or error})"
        raise BenchError(told + _how_to_fix(error, path, sum(asked or ()))) from None


def _how_to_fix(error: OSError, path: Path, needed: int) -> str:
    """Return what helps where there is no room."""
    goes_on = "then the same command goes on from here"
    if error.errno == errno.EFBIG:
        return f": raise the limit of file sizes (`ulimit -f unlimited`), {goes_on}"
    if error.errno in NOT_ALLOWED:
        return ": make its folder writable, or choose another"
    if error.errno not in NO_ROOM:
        return ""
    folder = next((one for one in path.absolute().parents if one.is_dir()), Path("/"))
    takes = f"it takes {_told(needed)} or more, and " if needed else ""
    room = f"{takes}the disk of {folder} has {_told(free_bytes(folder))} free"
    if error.errno == errno.EDQUOT:
        room = f"{takes}your quota on the disk of {folder} is used up"
    return f": {room}: make room there, {goes_on}"


def free_bytes(folder: Path) -> int:
    """Return how much a user may still write to the disk of a folder; 0 where none can say."""
    with suppress(OSError):
        return shutil.disk_usage(folder).free
    return 0


def check_room(path: Path, size: int) -> None:
    """Check that a file of so many bytes has room.

    Raises:
        BenchError: it has not.
    """
    if 0 < free_bytes(path.parent) < size:
        with told_in_a_sentence(path, [size]):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _told(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB" if size >= 2**20 else f"{-(-size // 1024)} KiB"


def _beside(path: Path) -> Path:
    """Return a name that nobody else has, of which it can be told who writes there."""
    return path.with_name(f".{path.name}.{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part")


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what writers that are no more left unfinished in a folder: of a name, or of any.

    A writer on another machine cannot be asked; what it left is removed after a week.
    """
    start = "*" if name is None else glob.escape(name)
    for part in folder.glob(f".{start}.{'[0-9a-f]' * 8}-*-{'[0-9a-f]' * 8}.part"):
        host, pid, _ = part.name.removesuffix(".part").rpartition(".")[2].split("-")
        if _is_left(part, host, pid):
            if part.is_dir() and not part.is_symlink():
                shutil.rmtree(part, ignore_errors=True)
            else:
                with suppress(OSError):
                    part.unlink()


def look_at(folder: Path) -> None:
    """Remove what writers that are no more left in a folder, once until `look_again`.

    Whoever reads what several processes may write there looks, too: where another one wrote it
    after all, nobody writes there again.
    """
    if folder not in _looked_at:
        _looked_at.add(folder)
        remove_leftovers(folder)


def look_again() -> None:
    """Look at every folder once more: where a task begins, it may be that of a killed process."""
    _looked_at.clear()


def _is_left(part: Path, host: str, pid: str) -> bool:
    if host == _host():
        return pid.isdecimal() and not is_running(int(pid))
    with suppress(OSError):
        return part.stat().st_mtime < time.time() - _FORGOTTEN
    return False


def make_folder(folder: Path) -> None:
    """Make a folder, with those above it, whose names survive a power cut.

    Raises:
        BenchError: a file is in the way.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError:
        raise BenchError(_in_the_way(folder)) from None
    sync_folder(folder.parent)


def check_way(folder: Path) -> None:
    """Check, and make nothing, that a folder is there or that no file is in its way.

    Raises:
        BenchError: a file is in the way, in the words of `make_folder`.
    """
    there = next((one for one in (folder, *folder.parents) if os.path.lexists(one)), None)
    if there is not None and not there.is_dir():
        raise BenchError(_in_the_way(there))


def _in_the_way(file: Path) -> str:
    return f"{file} is a file where a folder is needed: move it away, or choose another folder"


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    with suppress(OSError):  # not every file system can
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
