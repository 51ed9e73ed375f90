"""Processes that share each task of a worker, as several GPUs share the batches of one training.

The worker leads, as the first process that ``torchrun`` starts does: see `system.orders`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from stt_bench.benchmark.system.machine import share_threads
from stt_bench.benchmark.system.orders import end_orders, watch
from stt_bench.benchmark.system.plugins import import_plugin
from stt_bench.benchmark.system.processes import join_by
from stt_bench.benchmark.system.signals import STOPPING, deaf_children, hear

Along = Callable[[], object]
"""Does what the process that leads orders, until it orders the end; pickle can take it along."""
_FAREWELL = 3.0  # seconds that a process has to end by itself
_HERE = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """What a process of a team, or one that works alone, is given.

    Attributes:
        among: how many processes share this machine's threads.
        gpus: as CUDA_VISIBLE_DEVICES; None: as they are.
        plugins: files to import.
    """

    among: int
    gpus: str | None
    plugins: Sequence[str]

    def take(self) -> None:
        """Let this process be at the place."""
        if self.gpus is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpus
        share_threads(self.among)
        for number, file in enumerate(self.plugins):
            import_plugin(Path(file), number)


@contextmanager
def leading(size: int, along: Along | None, place: Place, start: str) -> Iterator[None]:
    """Lead processes that are started here and work along until the block ends.

    Args:
        size: of the team, this process among them; with 1 there is nobody to lead.
        along: what the others do.
        place: of all of them.
        start: how they are started, as `multiprocessing` calls it.
    """
    if size == 1:
        yield
        return
    from torch.distributed import TCPStore

    context: Any = multiprocessing.get_context(start)
    others = []
    for rank in range(1, size):
        here, there = context.Pipe()
        process = context.Process(target=_work_along, args=(there, rank, size, along, place))
        with deaf_children():
            process.start()
        there.close()
        others.append((process, here))
    store = TCPStore(_HERE, 0, is_master=True, wait_for_workers=False)
    try:
        for _, connection in others:
            connection.send(store.port)
        join_by(store, 0, size)
        watch()
        yield
    finally:
        end_orders()
        for process, connection in others:
            process.join(_FAREWELL)
            process.kill()
            process.join()
            connection.close()


def _work_along(connection: Connection, rank: int, size: int, along: Along, place: Place) -> None:
    """Be number `rank` of a team; whoever leads is told to stop, and lets the others stop."""
    for kind in STOPPING:
        signal.signal(kind, signal.SIG_IGN)
    hear()
    try:
        port = connection.recv()
    except EOFError:
        return
    from torch.distributed import TCPStore

    place.take()
    join_by(TCPStore(_HERE, port), rank, size)
    watch()
    along()
