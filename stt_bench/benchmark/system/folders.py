"""Whether what an option gives as a folder is one, or can be made, before hours of work."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from stt_bench.benchmark.system.atomic import NO_ROOM, folder_beside, told_in_a_sentence
from stt_bench.benchmark.system.errors import BenchError


def check_folder(folder: Path, option: str) -> None:
    """Refuse what an option gives as a folder where a file is, or stands in the way.

    Raises:
        BenchError: it is no folder and cannot become one.
    """
    there = _there(folder)
    if not there.is_dir():
        what = "a file" if there.exists() else "a link to nothing"
        raise BenchError(
            f"{option} {folder}: {'it' if there == folder else there} is {what}, and a folder is "
            f"needed: choose another {option}"
        )


def check_writable(folder: Path, option: str, *, tries: bool = True) -> None:
    """Refuse a folder in which, or in what is there of the way to it, nothing can be written.

    Args:
        folder: need not exist.
        option: what gives it.
        tries: write there, and leave nothing; else only ask, and root is told yes of any place.

    Raises:
        BenchError: it is no folder, or nothing can be written.
    """
    check_folder(folder, option)
    there = _there(folder)
    try:
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if tries:
            with folder_beside(there / "stt-bench"):
                pass
    except OSError as error:
        if error.errno in NO_ROOM:
            with told_in_a_sentence(folder):
                raise
        where = "it" if there == folder else there
        raise BenchError(
            f"{option} {folder}: nothing can be written in {where} ({error.strerror or error}): "
            f"choose another {option}"
        ) from None


def _there(folder: Path) -> Path:
    """Return what is there of the way to a folder, or of what it should be."""
    way = (folder, *folder.parents)
    return next((one for one in way if os.path.lexists(one)), way[-1])
