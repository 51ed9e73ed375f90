"""What files hold, told by reading them once; a file that has not changed is not read again.

What was learnt of a content is kept in the user's cache folder with the file's size, inode and
times of change (mtime, and ctime, which no program can set back). The cache decides only whether a
file is read again, never what is told of it; without a cache, all files are read each time.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from stt_bench.benchmark.system.atomic import look_at, write_atomically
from stt_bench.benchmark.system.blocks import by_blocks
from stt_bench.benchmark.system.errors import BenchError

_THREADS = min(8, os.cpu_count() or 1)
_SETTLED = 2_000_000_000  # ns; a file changed since then may change again at the same time stamp

Stamp = list[int]
"""Size, inode, mtime and ctime (ns) of a file: equal ones mean the same content."""


def stamp_of(file: str | Path) -> Stamp:
    """Return the stamp of a file.

    Raises:
        OSError: there is none, or it is a pipe or a device, which would be waited for.
    """
    found = os.stat(file)
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise OSError(errno.EINVAL, "it is no file but a pipe or a device", str(file))
    return [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]


def learn(
    what: str,
    place: str | Path,
    names: Sequence[str],
    *,
    stamp: Callable[[str], Stamp],
    tell: Callable[[str], Any],
    progress: Callable[[int, int], None] | None = None,
    threads: int = _THREADS,
) -> list[Any]:
    """Return what `tell` says of each name, from the cache where its stamp is unchanged.

    Args:
        what: name of what `tell` tells; another one where that changes.
        place: folder or archive that the names belong to; there is one cache file for each.
        names: what is asked for.
        stamp: the present stamp of a name.
        tell: reads a name's content; returns what JSON can hold, a function of the content alone.
        progress: called now and then with how many are done, and how many there are.
        threads: how many read at once.

    Returns:
        For each name what is told, or the OSError or ValueError that stood in the way.
    """
    cache = _file_of(what, place)
    kept = _read(cache)
    learnt: dict[str, tuple[Stamp, Any]] = {}
    now = time.time_ns()

    def told(name: str) -> Any:
        try:
            before = stamp(name)
            known = kept.get(name)
            if known is not None and known[0] == before:
                return known[1]
            found = tell(name)
            if stamp(name) == before and max(before[2:]) < now - _SETTLED:
                learnt[name] = (before, found)
            return found
        except (OSError, ValueError) as error:
            return error

    found: list[Any] = []
    try:
        with by_blocks(told, names, threads) as blocks:
            for some in blocks:
                found += some
                if progress is not None:
                    progress(len(found), len(names))
    finally:  # stopped, it goes on from here
        if learnt:
            _write(cache, {**kept, **learnt})
    return found


def once(what: str, key: str, find: Callable[[], Any]) -> Any:
    """Return what `find` returns for contents of the hash `key`; the cache keeps it.

    Args:
        what: name of what `find` finds; another one where that changes.
        key: a hash of all that the result depends on.
        find: returns what JSON can hold.
    """
    cache = _file_of(what, f"/{key}")
    kept = _read(cache)
    if key not in kept:
        kept = {key: find()}
        _write(cache, kept)
    return kept[key]


def _file_of(what: str, place: str | Path) -> Path | None:
    """Return the cache file of a place, or None where the user has no home."""
    folder = cache_folder(what)
    name = hashlib.sha256(os.fsencode(os.path.abspath(place))).hexdigest()[:16]
    return None if folder is None else folder / f"{name}.json"


def cache_folder(what: str) -> Path | None:
    """Return where caches of a kind lie, or None where the user has no home."""
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(home) / "stt-bench" / what


def _read(cache: Path | None) -> dict[str, Any]:
    """Return the cache's entries; none where it is absent or not as it was written."""
    if cache is not None:
        look_at(cache.parent)
    with suppress(OSError, ValueError):
        digest, _, text = cache.read_bytes().partition(b"\n") if cache is not None else (b"",) * 3
        if hashlib.sha256(text).hexdigest().encode() == digest:
            entries: dict[str, Any] = json.loads(text)
            return entries
    return {}


def _write(cache: Path | None, entries: dict[str, Any]) -> None:
    text = json.dumps(entries, separators=(",", ":")).encode()
    head = hashlib.sha256(text).hexdigest().encode() + b"\n"
    with suppress(BenchError, OSError):  # a cache that cannot be written is done without
        if cache is not None:
            write_atomically(cache, lambda stream: stream.write(head + text))
