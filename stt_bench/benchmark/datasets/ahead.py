"""Tensors that are made ahead of their use, by threads or by processes; order and bytes stay."""

from __future__ import annotations

import mmap
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import Any, TypeVar

import numpy as np
import torch

from stt_bench.benchmark.datasets.threads import use_threads
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.signals import STOPPING

Made = TypeVar("Made")
_AHEAD = 2  # things that threads, or each process, make before they are asked for
_ALIGNED = 64  # bytes
_LOWER = "lower train.workers or the batch (sampler), or give the job more memory"
CAN_FORK = hasattr(os, "fork") and sys.platform != "darwin"


def taken_ahead(things: Iterator[Made]) -> Iterator[Made]:
    """Yield the things of an iterator in order; a thread takes the next while one is used.

    The first is taken by the caller's thread: processes that make them are forked from there.
    """
    pool = ThreadPoolExecutor(1)
    end: Any = object()
    try:
        coming = next(things, end)
        while coming is not end:
            following = pool.submit(next, things, end)
            yield coming
            coming = following.result()
    finally:
        pool.shutdown(cancel_futures=True)


def by_threads(make: Callable[[int], Made], numbers: Sequence[int]) -> Iterator[Made]:
    """Yield `make` of each number in order; two are made while another is used."""
    waiting: deque[Future[Made]] = deque()
    pool = ThreadPoolExecutor(_AHEAD)
    try:
        for number in numbers:
            waiting.append(pool.submit(make, number))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def by_processes(
    make: Callable[[int], list[torch.Tensor]], numbers: Sequence[int], count: int
) -> Iterator[list[torch.Tensor]]:
    """Yield `make` of each number in order, made by `count` processes in turn.

    The first is made here, before there are any: all are as large. The processes are copies of
    this one (they are forked) and hand their tensors over in memory that they share with it, which
    has no name: it counts as this job's memory and takes nothing of /dev/shm, however small that
    is.

    Raises:
        BenchError: as `make` does; or a process ended, or there is no memory for what they share.
    """
    if not numbers:
        return
    first = make(numbers[0])
    size = sum(_space(one) for one in first)
    team: list[_Maker] = []
    try:
        for number in range(min(count, len(numbers) - 1)):
            team.append(_Maker(make, numbers[1 + number :: count], size, team))
        yield first
        for place in range(len(numbers) - 1):
            yield team[place % count].next()
    finally:
        for maker in team:
            maker.stop()


def _space(tensor: torch.Tensor) -> int:
    return -(-tensor.nbytes // _ALIGNED) * _ALIGNED


class _Maker:
    """A process that makes some of the tensors, and the memory in which it hands them over."""

    def __init__(
        self,
        make: Callable[[int], list[torch.Tensor]],
        numbers: Sequence[int],
        size: int,
        others: Sequence[_Maker],
    ) -> None:
        self._size, self._taken = size, 0
        try:
            self._memory = mmap.mmap(-1, max(1, _AHEAD * size))
            ours, theirs = Pipe()
            self._pid: int | None = os.fork()
        except OSError as error:
            raise BenchError(
                f"no further process can be started to read images ({error.strerror}): {_LOWER}"
            ) from error
        self._pipe = ours
        if self._pid == 0:
            # The end of the parent closes its ends of the pipes, if no child holds them open.
            for pipe in (ours, *(other._pipe for other in others)):
                pipe.close()
            self._work(make, numbers, theirs)
        theirs.close()
        for _ in range(_AHEAD):
            self._ask()

    def next(self) -> list[torch.Tensor]:
        """Return the tensors of the next number; this process's own, whatever follows."""
        try:
            told = self._pipe.recv()
        except (EOFError, OSError):
            raise BenchError(self._end()) from None
        if isinstance(told, BenchError):
            raise told
        if isinstance(told, str):
            raise RuntimeError(f"in a process that reads images:\n{told}")
        made, at = [], self._taken % _AHEAD * self._size
        for dtype, shape in told:
            tensor = torch.empty(shape, dtype=dtype)
            _view(self._memory, tensor, at, copy_in=False)
            made.append(tensor)
            at += _space(tensor)
        self._taken += 1
        with suppress(OSError):  # it may have come to its end
            self._ask()
        return made

    def stop(self) -> None:
        """End the process."""
        self._pipe.close()
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)

    def _ask(self) -> None:
        self._pipe.send_bytes(b"+")

    def _end(self) -> str:
        """Return what became of a process that is silent."""
        assert self._pid is not None
        _, status = os.waitpid(self._pid, 0)
        self._pid = None
        code = os.waitstatus_to_exitcode(status)
        told = f"was killed (signal {-code})" if code < 0 else f"ended with status {code}"
        return (
            f"a process that reads images {told}; the same command goes on; where memory ran out, "
            f"{_LOWER}"
        )

    def _work(
        self, make: Callable[[int], list[torch.Tensor]], numbers: Sequence[int], pipe: Connection
    ) -> None:
        """Make one after the other where there is room for it; never return."""
        try:
            for kind in STOPPING:  # a terminal or a scheduler sends them to all; the parent heeds
                signal.signal(kind, signal.SIG_IGN)
            torch.set_num_threads(1)
            use_threads(1)
            for place, number in enumerate(numbers):
                pipe.recv_bytes()
                pipe.send(self._made(make, number, place % _AHEAD * self._size))
            pipe.recv_bytes()
        except (EOFError, OSError):
            pass  # the parent is gone, or wants no more
        finally:
            os._exit(0)

    def _made(self, make: Callable[[int], list[torch.Tensor]], number: int, at: int) -> Any:
        try:
            made = make(number)
        except BenchError as error:
            return BenchError(str(error))
        except MemoryError:
            return BenchError(f"a process that reads images has no memory left; {_LOWER}")
        except Exception:
            return traceback.format_exc()
        for tensor in made:
            _view(self._memory, tensor, at, copy_in=True)
            at += _space(tensor)
        return [(tensor.dtype, tuple(tensor.shape)) for tensor in made]


def _view(memory: mmap.mmap, tensor: torch.Tensor, at: int, *, copy_in: bool) -> None:
    """Copy a tensor's bytes into the memory from a place on, or out of it."""
    own = tensor.contiguous().view(-1).view(torch.uint8).numpy()
    shared = np.frombuffer(memory, np.uint8, own.size, at)
    if copy_in:
        shared[:] = own
    else:
        own[:] = shared
