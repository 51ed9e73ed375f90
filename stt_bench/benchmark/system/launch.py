"""Starting several processes that work together, and knowing that one is among such."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.resources import usable_cores

_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_BAD_INPUT, _STOPPED = 2, 130
_LAST_WORDS = "STT_BENCH_LAST_WORDS"


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


def say_last(code: int, text: str) -> None:
    """Tell why this process ends, with which exit code.

    Where `torchrun` here started it, that tells it: it knows how the others ended, too.
    """
    if (folder := os.environ.get(_LAST_WORDS)) is None:
        print(text, file=sys.stderr, flush=True)
        return
    with suppress(OSError), Path(folder, str(code)).open("x", encoding="utf-8") as file:
        file.write(text)  # who comes first has met it first


def torchrun(count: int, arguments: Sequence[str]) -> int:
    """Run ``stt-bench ARGUMENTS`` in so many processes of this machine; return its exit code.

    It is ``torchrun --standalone --nproc-per-node COUNT -m stt_bench``; in place of the report that
    torchrun prints of a process that failed, one sentence says why the command ends.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    threads = max(1, usable_cores() // count)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    logging.disable(logging.CRITICAL)
    options = ["--standalone", f"--nproc-per-node={count}", "-m", "stt_bench"]
    with tempfile.TemporaryDirectory() as folder:
        os.environ[_LAST_WORDS] = folder
        try:
            run.run(run.parse_args([*options, *arguments]))
            return 0
        except SignalException as stop:
            name = signal.Signals(stop.sigval).name
            told = f"stopped by {name}: what is finished is kept; the same command goes on"
            code, told = _STOPPED, _said(folder).get(_STOPPED, told)
        except ChildFailedError as error:
            codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
            code, told = _ended(count, dict(sorted(codes.items())), _said(folder))
        finally:
            del os.environ[_LAST_WORDS]
    print(told, file=sys.stderr)
    return code


def _said(folder: str) -> dict[int, str]:
    """Return what the processes have said at their end, by exit code."""
    return {int(file.name): file.read_text(encoding="utf-8") for file in Path(folder).iterdir()}


def _ended(count: int, codes: Mapping[int, int], said: Mapping[int, str]) -> tuple[int, str]:
    """Return the exit code of a command whose processes ended with these codes, and why it ended.

    Whoever met a mistake knows why. One that a signal ended (a code below 0) could not say so
    itself; the others get SIGTERM for it, and miss it.

    Args:
        count: of the processes.
        codes: of those that failed, by number.
        said: what they have said, by code.
    """
    if _BAD_INPUT in codes.values() and _BAD_INPUT in said:
        return _BAD_INPUT, said[_BAD_INPUT]
    onwards = "the same command goes on from the last checkpoint"
    for rank, code in codes.items():
        if code < 0 and -code != signal.SIGTERM:
            how = f"was ended by {signal.Signals(-code).name}"
            return 1, f"error: process {rank} of {count} (from 0) {how}; {onwards}"
    code = max(*codes.values(), 1)
    return code, said.get(code, f"error: a process ended with exit code {code}; {onwards}")
