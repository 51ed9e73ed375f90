"""Signals that ask for an end: at once, or after what is under way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from stt_bench.benchmark.system.signals import STOPPING, Stopped, heeded_by, stop_by_signal


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Begin as a process does, and leave the handlers as they were."""
    before = {kind: signal.getsignal(kind) for kind in STOPPING}
    for kind in STOPPING:
        default = signal.default_int_handler if kind == signal.SIGINT else signal.SIG_DFL
        signal.signal(kind, default)
    yield
    for kind, handler in before.items():
        signal.signal(kind, handler)


@pytest.mark.parametrize("kind", STOPPING)
def test_a_signal_unwinds_the_stack_and_the_next_one_does_not_wait(kind: signal.Signals) -> None:
    stop_by_signal()
    with pytest.raises(Stopped, match=kind.name):
        signal.raise_signal(kind)
    assert signal.getsignal(kind) is signal.SIG_DFL


def test_a_signal_that_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # by nohup
    noted: list[int] = []
    stop_by_signal()
    with heeded_by(lambda: noted.append(1)):
        signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGHUP)
    assert not noted


@pytest.mark.parametrize("kind", STOPPING)
def test_the_first_signal_is_noted_and_the_second_ends(kind: signal.Signals) -> None:
    stop_by_signal()
    noted: list[int] = []
    with heeded_by(lambda: noted.append(1)):
        signal.raise_signal(kind)
        assert noted == [1]
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGTERM)
    assert noted == [1]


@pytest.mark.parametrize("kind", STOPPING)
def test_of_two_notes_each_signal_calls_one_and_the_third_ends(kind: signal.Signals) -> None:
    stop_by_signal()
    noted: list[int] = []
    with heeded_by(lambda: noted.append(1), lambda: noted.append(2)):
        signal.raise_signal(kind)
        assert noted == [1]
        signal.raise_signal(signal.SIGTERM)
        assert noted == [1, 2]
        with pytest.raises(Stopped):
            signal.raise_signal(kind)
    assert noted == [1, 2]


def test_a_signal_that_comes_while_one_is_heeded_takes_the_next_note() -> None:
    stop_by_signal()
    noted: list[str] = []

    def first() -> None:
        noted.append("first")
        signal.raise_signal(signal.SIGHUP)

    with heeded_by(first, lambda: noted.append("second")):
        handler = signal.getsignal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert callable(handler)
        handler(signal.SIGTERM, None)  # as one that was on its way
    assert noted == ["first", "second"]


def test_a_thread_changes_no_handler() -> None:
    found: list[object] = []

    def work() -> None:
        stop_by_signal()
        with heeded_by(lambda: None):
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]
