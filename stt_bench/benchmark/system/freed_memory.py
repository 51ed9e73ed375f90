"""Memory that this process has freed: kept for the next step, or given back to the system."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


@cache
def keep_freed_memory() -> None:
    """Let glibc keep what this process frees, up to 2 GiB and more: a step asks for as much again.

    Otherwise it goes back to the system, which fills it with zeros whenever it is asked for anew;
    on a CPU that is a tenth of a step and more (`tests/perf/kept_memory.py`). Who sets glibc's own
    variables has said otherwise; other C libraries have no such switch.
    """
    set_by_user = (name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if sys.platform != "linux" or any(set_by_user):
        return
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_MMAP_MAX, 0)  # large blocks, too


def give_back_freed_memory() -> None:
    """Give back what is kept and not in use, so that the system counts it as free."""
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)
