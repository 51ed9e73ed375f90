"""What of the machine is this process's: processor cores, memory and open files."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.freed_memory import give_back_freed_memory

SHARE = "STT_BENCH_JOBS"
"""The variable that says how many runs work on this machine at once."""
_OTHER_FILES = 256  # that a process has open besides, at most
_UNKNOWN = 4 << 30  # bytes, where the system tells nothing
_MEMORY = {  # of each version of control groups: limit, what is used, and of that by files
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


@contextmanager
def open_files(number: int) -> Iterator[None]:
    """Let this process have so many more files open within; the soft limit is raised for it.

    Raises:
        BenchError: the system allows fewer.
    """
    wanted = number + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        yield
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        raise BenchError(
            f"{number:,} things at once need {wanted:,} open files, and {hard:,} are allowed here: "
            "name fewer at once (--rows, --seeds), or raise the hard limit (`ulimit -Hn`)"
        ) from None
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def usable_cores(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """Return how many cores this process may keep busy, 1 or more.

    They are those that it may run on, at most the container's quota, divided among the processes
    that share the machine (``torchrun``'s LOCAL_WORLD_SIZE, and STT_BENCH_JOBS).
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        cores = os.cpu_count() or 1
    return max(1, int(min([cores, *_quotas(root)])) // _sharing(environment))


def free_memory(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """Return how many bytes of memory are this process's to fill.

    They are what the machine has left and its container may still take, divided among the processes
    that share the machine. What this process has freed and kept is given back first.
    """
    give_back_freed_memory()
    return min([_left(root), *_allowed(root)]) // _sharing(environment)


def _sharing(environment: Mapping[str, str]) -> int:
    count = 1
    for name in ("LOCAL_WORLD_SIZE", SHARE):
        with suppress(ValueError):
            count *= max(1, int(environment.get(name, "")))
    return count


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control group and of those that hold it.

    Without a controller those of version 2, else those of version 1.
    """
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, own = line.split(":", 2)
            if controller in controllers.split(","):
                start = root / "sys/fs/cgroup" / controller
                for inner in (PurePosixPath(own), *PurePosixPath(own).parents):
                    yield start / str(inner).lstrip("/")


def _quotas(root: Path) -> Iterator[float]:
    """Yield the limits of cores."""
    for group in _groups(root, ""):
        with suppress(OSError, ValueError):
            quota, period = (group / "cpu.max").read_text().split()
            yield int(quota) / int(period)
    for group in _groups(root, "cpu"):
        with suppress(OSError, ValueError):
            limit = int((group / "cpu.cfs_quota_us").read_text())
            if limit > 0:
                yield limit / int((group / "cpu.cfs_period_us").read_text())


def _allowed(root: Path) -> Iterator[int]:
    """Yield how many bytes may still be taken; what files keep in memory can go."""
    for controller, (limit, used, files) in _MEMORY.items():
        for group in _groups(root, controller):
            with suppress(OSError, ValueError):
                room = int((group / limit).read_text()) - int((group / used).read_text())
                for line in (group / "memory.stat").read_text().splitlines():
                    if line.startswith(f"{files} "):
                        room += int(line.split()[1])
                yield max(0, room)


def _left(root: Path) -> int:
    """Return what the machine has left in bytes."""
    with suppress(OSError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return _UNKNOWN
