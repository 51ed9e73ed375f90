"""Stopping a training: the first signal to stop is heeded after the step."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from stt_bench.benchmark.system.signals import heeded_by


@contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into a flag that is looked at after each step.

    A second one ends the process at once: the last checkpoint stays.
    """
    event = threading.Event()
    with heeded_by(event.set):
        yield event
