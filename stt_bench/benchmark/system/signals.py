"""What a process is told from outside, to stop, and whether one is there to be told."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C; what a scheduler sends before it kills; the end of a connection."""


class Stopped(BaseException):
    """The process is to stop now, by whatever signal it was told so.

    It is no KeyboardInterrupt, which the parser of the command line would end without a word.
    """

    def __init__(self, kind: int) -> None:
        """Keep the signal's name."""
        super().__init__(signal.Signals(kind).name)


def stop_by_signal() -> None:
    """Let the signals that ask for an end raise `Stopped` in the main thread.

    What is cleaned up at the end of a block then is. A signal that is ignored, as by ``nohup``,
    stays so.
    """
    if threading.current_thread() is threading.main_thread():
        for kind in STOPPING:
            if signal.getsignal(kind) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(kind, _stop)


def _stop(kind: int, _frame: FrameType | None) -> None:
    for one in STOPPING:
        if signal.getsignal(one) is _stop:
            signal.signal(one, signal.SIG_DFL)  # the next one ends the process at once
    raise Stopped(kind)


@contextmanager
def deaf_children() -> Iterator[None]:
    """Let processes that are started in the block be born deaf to the signals to stop.

    They are until `hear`: whatever a terminal sends while they import does not end them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        resource_tracker.ensure_running()  # whose start lets signals through again
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def hear() -> None:
    """Hear signals again; those that were sent before are nobody's, unless they are caught."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


@contextmanager
def heeded_by(*notes: Callable[[], Any]) -> Iterator[None]:
    """Call one after the other of ``notes`` at the signals to stop in the block.

    The signal after the last note does what it did before. In a thread that is not the main one
    nothing is changed.
    """
    before, left = _handlers(), [*notes]

    def heed(_kind: int, _frame: FrameType | None) -> None:
        note = left.pop(0) if left else None  # a signal may come while another is heeded here
        if not left:
            _restore(before)
        if note is not None:
            note()

    for kind in before:
        signal.signal(kind, heed)
    try:
        yield
    finally:
        _restore(before)


def _handlers() -> dict[int, Any]:
    """Return what each signal to stop does that is not ignored; nothing in another thread."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {kind: signal.getsignal(kind) for kind in STOPPING}
    return {kind: one for kind, one in found.items() if one not in (signal.SIG_IGN, None)}


def _restore(handlers: Mapping[int, Any]) -> None:
    for kind, handler in handlers.items():
        signal.signal(kind, handler)


@contextmanager
def heeded_at_once() -> Iterator[None]:
    """Let a signal to stop raise `Stopped` in the block, whoever else heeds it around that.

    In a thread that is not the main one nothing is changed.
    """
    before = _handlers()
    for kind in before:
        signal.signal(kind, _stop)
    try:
        yield
    finally:
        _restore(before)


@cache
def pid_namespace() -> str:
    """Return which processes' numbers are those of this one: two containers may both have a 1."""
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""  # not Linux


def is_running(pid: int) -> bool:
    """Tell whether a process of this machine lives, whoever it belongs to.

    Where the machine is a container, of that container: see `pid_namespace`.
    """
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # it is somebody else's
    return True
