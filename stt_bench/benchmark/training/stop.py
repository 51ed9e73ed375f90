"""Stopping a training: the first signal to stop is heeded after the step."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from stt_bench.benchmark.system.errors import BenchError, TrainingStopped
from stt_bench.benchmark.system.processes import processes
from stt_bench.benchmark.system.signals import heeded_by


@contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into a flag that is looked at after each step.

    A second one ends the process at once: the last checkpoint stays.

    Raises:
        TrainingStopped: the step or its checkpoint failed after the signal, as where a compiler got
            the signal too; to go on with the next run would pass the signal over.
    """
    event = threading.Event()
    with heeded_by(event.set):
        try:
            yield event
        except Exception as error:
            if not event.is_set() or isinstance(error, TrainingStopped) or processes().size > 1:
                raise
            known = isinstance(error, BenchError)
            told = str(error) if known else f"stopped within a step ({type(error).__name__})"
            raise TrainingStopped(told) from error
