"""Starting several processes that work together, and knowing that one is among such."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.resources import usable_cores

_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_STOPPED = 130


def launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether ``torchrun``, or what sets the same variables, started more than this one.

    Raises:
        BenchError: the variables make no sense.
    """
    if not all(name in environment for name in _NAMES):
        return False
    try:
        rank, size, local = (int(environment[name]) for name in _NAMES[:3])
    except ValueError:
        rank, size, local = -1, 0, 0
    if not (0 <= rank < size and local >= 0):
        told = ", ".join(f"{name}={environment[name]}" for name in _NAMES[:3])
        raise BenchError(f"the environment says {told}: start several processes with torchrun")
    return size > 1


def is_first(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether this process is alone or the first of several, which speaks for all."""
    return environment.get("RANK", "0") == "0" or not launched(environment)


def torchrun(count: int, arguments: Sequence[str]) -> int:
    """Run ``stt-bench ARGUMENTS`` in so many processes of this machine; return its exit code.

    It is ``torchrun --standalone --nproc-per-node COUNT -m stt_bench``, without the report that
    torchrun prints of a process that failed: that has said itself why.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    threads = max(1, usable_cores() // count)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    logging.disable(logging.CRITICAL)
    options = ["--standalone", f"--nproc-per-node={count}", "-m", "stt_bench"]
    try:
        run.run(run.parse_args([*options, *arguments]))
    except SignalException:
        return _STOPPED
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        return _ended(count, dict(sorted(codes.items())))
    return 0


def _ended(count: int, codes: Mapping[int, int]) -> int:
    """Return the exit code of a command whose processes ended with these codes, by number.

    One that a signal ended (a code below 0) could not say so itself; SIGTERM the others get for it.
    """
    if told := [code for code in codes.values() if code in (1, 2)]:
        return told[0]
    killed = {rank: -code for rank, code in codes.items() if code < 0 and -code != signal.SIGTERM}
    for rank, number in killed.items():
        print(
            f"error: process {rank} of {count} (from 0) was ended by "
            f"{signal.Signals(number).name}; the same command goes on from the last checkpoint",
            file=sys.stderr,
        )
        return 1
    return max(*codes.values(), 1)
