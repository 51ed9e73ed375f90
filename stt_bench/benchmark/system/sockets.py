"""Room for the names of the sockets by which processes of this machine start each other."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from multiprocessing import util
from pathlib import Path

from stt_bench.benchmark.system.errors import BenchError

LONGEST = 64  # bytes of a folder: a socket's name has 107, of which up to 40 follow
SHORT = ("/tmp", "/var/tmp", "/dev/shm")


def make_room_for_sockets(others: Sequence[str] = SHORT) -> None:
    """Let multiprocessing keep its sockets elsewhere, where the temporary folder's name is long.

    Raises:
        BenchError: there is no other folder for them.
    """
    given = tempfile.gettempdir()
    if _fits(given):
        return
    short = next((one for one in others if _fits(one) and os.access(one, os.W_OK | os.X_OK)), None)
    if short is None:
        raise BenchError(
            f"the folder for temporary files, {Path(given)}, has too long a name for the sockets "
            f"of processes: set TMPDIR to one of at most {LONGEST} bytes"
        )
    before, tempfile.tempdir = tempfile.tempdir, short
    try:
        util.get_temp_dir()  # which stays what it is from then on
    finally:
        tempfile.tempdir = before


def _fits(folder: str) -> bool:
    return len(os.fsencode(folder)) <= LONGEST
