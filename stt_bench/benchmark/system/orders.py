"""One process leads and the others follow: what it tells them to do, and how an error ends it.

An error that all meet at the same place, as a loss that is no longer finite, ends what they do
together and nothing else: the first process goes on with what it does next. One that a single
process meets, as a full GPU, would let the others wait for ever: all end, with its sentence. So do
the others where the first is stopped at once.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from stt_bench.benchmark.system.errors import BenchError, TrainingStopped
from stt_bench.benchmark.system.freed_memory import give_back_freed_memory
from stt_bench.benchmark.system.launch import say_last
from stt_bench.benchmark.system.processes import Processes, leave, processes
from stt_bench.benchmark.system.signals import Stopped
from stt_bench.benchmark.system.text import one_line

FAILED, BAD_INPUT, STOPPED = 1, 2, 130
GRACE = 20.0
"""Seconds in which all processes must have met an error that one has met."""
_FAREWELL = 3.0  # seconds that a process waits at its end until the others know of it
_LOOKS = 0.2  # seconds between two looks for an error of the others


@contextmanager
def ordered(name: str, *arguments: Any) -> Iterator[None]:
    """Let the other processes do, beside the block, what `name` stands for in their `follow`.

    Args:
        name: of a function that comes to the same exchanges as the block.
        arguments: of that function.
    """
    present = processes()
    if present.size == 1:
        yield
        return
    present.exchanges = 0
    present.order += 1
    order = base64.b64encode(pickle.dumps((name, arguments))).decode()
    present.store.set(f"order/{present.order}", order)
    try:
        yield
    except TrainingStopped:  # in which all have agreed
        raise
    except (Stopped, KeyboardInterrupt):  # the others may wait for what is not to come
        present.store.set("stopped", "")
        raise
    except Exception as error:
        _meet(present, error)
        raise
    present.store.set(_key(present), json.dumps(_place(present, None)))


def follow(known: Mapping[str, Callable[..., Any]]) -> None:
    """Do what the first process orders, until it orders the end.

    Args:
        known: what each name stands for.
    """
    present = processes()
    while True:
        order = present.wait(f"order/{present.order + 1}")
        if not order:
            present.store.add("left", 1)
            return leave()
        present.exchanges = 0
        present.order += 1
        name, arguments = pickle.loads(base64.b64decode(order))
        try:
            known[name](*arguments)
            present.store.set(_key(present), json.dumps(_place(present, None)))
        except TrainingStopped:
            continue
        except Exception as error:
            _meet(present, error)
        finally:
            give_back_freed_memory()  # to others, for as long as this waits


def end_orders() -> None:
    """Tell the other processes that there is nothing more to do, and leave them."""
    present = processes()
    if present.size > 1:
        present.store.set(f"order/{present.order + 1}", "")
        _wait_for(present, "left", present.size - 1, _FAREWELL)  # the store may end with this one
        leave()


def _meet(present: Processes, error: Exception) -> None:
    """Return once all processes have ended the order at this place; else end all of them."""
    if os.environ.get("STT_BENCH_DEBUG"):
        traceback.print_exception(error)
    sentence = _sentence(error)
    keys = [_key(present, rank) for rank in range(present.size)]
    present.store.set(keys[present.rank], json.dumps(_place(present, sentence)))
    if present.leads:
        present.store.set(f"failed/{present.order}", "")
    until = time.monotonic() + GRACE
    while time.monotonic() < until:
        if present.store.check(keys):
            places = {json.loads(present.store.get(key))["place"] for key in keys}
            if len(places) == 1:
                return
            break
        time.sleep(0.02)
    silent = [str(rank) for rank, key in enumerate(keys) if not present.store.check([key])]
    code = BAD_INPUT
    if not isinstance(error, BenchError) and _is_of_the_connection(error):
        sentence = (
            f"process {', '.join(silent) or '?'} of {present.size} (from 0) has ended or does not "
            "answer; the same command goes on from the last checkpoint"
        )
        code = FAILED
    present.store.set("fatal", json.dumps([code, sentence]))
    time.sleep(GRACE + 1)  # the watcher ends this process
    os._exit(code)


def _key(present: Processes, rank: int | None = None) -> str:
    return f"ended/{present.order}/{present.rank if rank is None else rank}"


def _place(present: Processes, sentence: str | None) -> dict[str, Any]:
    return {"place": present.exchanges, "sentence": sentence}


def watch() -> threading.Thread:
    """Start the thread that ends this process when another met an error that not all met.

    It does, too, when the first process is stopped within an order.
    """
    thread = threading.Thread(target=_watch, args=(processes(),), daemon=True)
    thread.start()
    return thread


def _watch(present: Processes) -> None:
    while processes() is present:
        try:
            if not present.leads and present.store.check(["stopped"]):
                present.store.add("left", 1)
                os._exit(STOPPED)
            if present.store.check(["fatal"]):
                code, sentence = json.loads(present.store.get("fatal"))
                if present.store.add("told", 1) == 1:
                    say_last(code, f"error: {one_line(sentence)}")
                present.store.add("ended", 1)
                _wait_for(present, "ended", present.size, _FAREWELL)  # all know it before one ends
                os._exit(code)
        except (RuntimeError, ValueError, OSError):  # the first process is gone, and the store
            if processes() is present:
                os._exit(FAILED)
            return
        time.sleep(_LOOKS)


def _wait_for(present: Processes, key: str, count: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    while present.store.add(key, 0) < count and time.monotonic() < until:
        time.sleep(0.05)


def _is_of_the_connection(error: Exception) -> bool:
    words = ("gloo", "nccl", "connection", "peer", "timed out")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


def _sentence(error: Exception) -> str:
    if isinstance(error, BenchError):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
