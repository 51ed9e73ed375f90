"""The processes that work on one training together, as ``torchrun`` starts them: one for each GPU.

The first process, of rank 0, leads: it alone writes, and tells the others what to do; see `orders`.
Without ``torchrun`` there is one process, and all here costs nothing.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stt_bench.benchmark.system.errors import BenchError

if TYPE_CHECKING:
    from torch.distributed import Store

LONGEST_WAIT = timedelta(minutes=30)
"""How long a process waits for the others in one exchange before all end."""
_LOOKS_AGAIN = 0.02  # seconds, at what another process has to say


class Processes:
    """This process's place among those that work together, and what they exchange.

    Every process must come to the same exchanges in the same order.
    """

    def __init__(
        self, rank: int = 0, size: int = 1, store: Store | None = None, local: int = 0
    ) -> None:
        """Take the place of process `rank` (from 0) of `size`; a store is shared by several.

        `local` is the number of the process on this machine.
        """
        self.rank, self.size, self.local = rank, size, local
        self._store = store
        self.exchanges = 0
        """How many exchanges this process has come to since the last order."""
        self.order = 0

    @property
    def leads(self) -> bool:
        """Tell whether this is the first process, which writes."""
        return self.rank == 0

    @property
    def store(self) -> Store:
        """Return the key-value store that all share."""
        assert self._store is not None
        return self._store

    def share(self, count: int, rank: int | None = None) -> slice:
        """Return a process's part of `count` things in order; the first parts are the larger."""
        rank = self.rank if rank is None else rank
        each, more = divmod(count, self.size)
        start = rank * each + min(rank, more)
        return slice(start, start + each + (rank < more))

    def any(self, flag: bool) -> bool:
        """Tell whether a flag is set in any of the processes."""
        if self.size == 1:
            return flag
        from torch import distributed

        self.exchanges += 1
        found = torch.tensor(int(flag))
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return bool(found)

    def shared(self, state: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Return the first process's mapping of tensors and numbers; on the CPU for the others."""
        if self.size == 1:
            assert state is not None
            return state
        from torch import distributed

        self.exchanges += 1
        content: list[Any] = [None]
        if self.leads:
            stream = io.BytesIO()
            torch.save(state, stream)
            content = [stream.getvalue()]
        distributed.broadcast_object_list(content, device=torch.device("cpu"))
        if self.leads:
            assert state is not None
            return state
        found: Mapping[str, Any] = torch.load(
            io.BytesIO(content[0]), map_location="cpu", weights_only=True
        )
        return found

    def alike(self, tensors: Sequence[torch.Tensor]) -> None:
        """Give all processes the first one's tensors; each is a model's, and changed in place."""
        if self.size == 1:
            return
        from torch import distributed

        self.exchanges += 1
        for tensor in tensors:
            distributed.broadcast(tensor.detach(), src=0)

    def merge(self, array: np.ndarray | None, parts: Sequence[slice]) -> None:
        """Complete the first process's (N, D) array by the rows that the others have made.

        Args:
            array: in which each process has made the rows of its part; None where there are none.
            parts: those of all processes in the order of their numbers; they may be empty.
        """
        if self.size == 1:
            return
        from torch import distributed

        self.exchanges += 1
        if array is None:
            return
        rows = torch.from_numpy(array)
        if not self.leads:
            if len(rows[parts[self.rank]]):
                distributed.send(rows[parts[self.rank]], dst=0)
            return
        for rank, part in enumerate(parts[1:], start=1):
            if len(rows[part]):
                distributed.recv(rows[part], src=rank)

    @contextmanager
    def first(self) -> Iterator[None]:
        """Let the first process go through a block before the others do.

        They then find what it has left on disk, such as features of frozen layers.
        """
        if self.size == 1:
            yield
            return
        self.exchanges += 1
        key = f"first/{self.order}/{self.exchanges}"
        if not self.leads:
            self.wait(key, unless=f"failed/{self.order}")
        yield
        if self.leads:
            self.store.set(key, "")

    def wait(self, key: str, unless: str | None = None) -> bytes:
        """Return what another process says under a key, however long that takes.

        Raises:
            OthersFailedError: one says something under `unless`.
        """
        while not self.store.check([key]):
            if unless is not None and self.store.check([unless]):
                raise OthersFailedError("the first process met an error")
            time.sleep(_LOOKS_AGAIN)
        found: bytes = self.store.get(key)
        return found


class OthersFailedError(BenchError):
    """The first process met an error, which it tells."""


_present = Processes()


def processes() -> Processes:
    """Return this process's place among those that work together."""
    return _present


def join() -> Processes:
    """Join the processes that ``torchrun`` started; each comes here once, at its beginning.

    Raises:
        BenchError: they cannot be reached.
    """
    from torch import distributed

    try:
        store, rank, size = next(distributed.rendezvous("env://", timeout=LONGEST_WAIT))
        return join_by(store, rank, size)
    except (RuntimeError, ValueError, OSError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        told = str(error).strip().splitlines()[0]
        raise BenchError(
            f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']} does not reach the others "
            f"at {where} ({told})"
        ) from None


def join_by(store: Store, rank: int, size: int) -> Processes:
    """Join the processes that share a store, as number `rank` of `size`."""
    global _present
    from torch import distributed

    cuda, local = torch.cuda.is_available(), int(os.environ.get("LOCAL_RANK", rank))
    if cuda and local < torch.cuda.device_count():
        torch.cuda.set_device(local)
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        store=distributed.PrefixStore("collectives", store),
        rank=rank,
        world_size=size,
        timeout=LONGEST_WAIT,
    )
    _present = Processes(rank, size, distributed.PrefixStore("orders", store), local)
    return _present


def leave() -> None:
    """Leave the others; this process works alone from now on."""
    global _present
    from torch import distributed

    _present = Processes()
    if distributed.is_initialized():
        distributed.destroy_process_group()
