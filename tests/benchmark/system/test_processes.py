"""Processes that train together: their parts, what they exchange, and how an error ends them."""

from __future__ import annotations

import os
import signal
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import Ended, forked

from stt_bench.benchmark.system.errors import BenchError, TrainingStopped
from stt_bench.benchmark.system.orders import end_orders, follow, ordered, watch
from stt_bench.benchmark.system.processes import Processes, processes


def test_parts_are_in_order_and_differ_by_one_at_most() -> None:
    for size in (1, 2, 3, 7):
        for count in (0, 1, 2, 8, 9, 32):
            parts = [list(range(count))[Processes(rank, size).share(count)] for rank in range(size)]
            assert list(chain.from_iterable(parts)) == list(range(count))
            lengths = [len(part) for part in parts]
            assert max(lengths) - min(lengths) <= 1
            assert lengths == sorted(lengths, reverse=True)
            assert [Processes(0, size).share(count, r) for r in range(size)] == [
                Processes(r, size).share(count) for r in range(size)
            ]


def test_one_process_exchanges_nothing() -> None:
    alone = processes()
    assert (alone.size, alone.leads, alone.any(True), alone.any(False)) == (1, True, True, False)
    assert alone.shared({"a": 1}) == {"a": 1}
    with alone.first(), ordered("nothing"):
        alone.alike([])
    end_orders()


def _exchanged(present: Processes) -> dict[str, Any]:
    rank = present.rank
    tensor = torch.full((2,), float(rank))
    present.alike([tensor])
    state = present.shared({"w": torch.arange(3), "n": 1.5, "l": [1]} if rank == 0 else None)
    whole = np.arange(14, dtype=np.float32).reshape(7, 2)
    parts = [present.share(7, other) for other in range(present.size)]
    array = np.zeros_like(whole)
    array[parts[rank]] = whole[parts[rank]]
    present.merge(array, parts)
    return {
        "any": [present.any(rank == 1), present.any(False), present.any(True)],
        "alike": tensor.tolist(),
        "state": (state["w"].tolist(), state["n"], state["l"]),
        "merged": array.tolist() == whole.tolist(),
        "exchanges": present.exchanges,
    }


def test_what_processes_exchange(tmp_path: Path) -> None:
    found = forked(3, tmp_path, _exchanged)
    for rank, one in enumerate(found):
        assert one["any"] == [True, False, True]
        assert one["alike"] == [0.0, 0.0]
        assert one["state"] == ([0, 1, 2], 1.5, [1])
        assert one["merged"] == (rank == 0)
        assert one["exchanges"] == 6


def _led(present: Processes) -> list[Any]:
    """The first process tells the others to fail in several ways; all go on after each."""
    watch()
    done: list[Any] = []

    def count(number: int) -> None:
        done.append((number, present.any(False)))

    def late() -> None:
        with present.first():
            done.append("first" if present.leads else "after")

    def fail(word: str) -> None:
        present.any(True)
        raise (TrainingStopped if word == "stop" else BenchError)(word)

    def fail_before() -> None:
        with present.first():
            raise BenchError("read")

    known = {"count": count, "late": late, "fail": fail, "fail_before": fail_before}
    if not present.leads:
        follow(known)
        return done
    for name, *arguments in (
        ("count", 1),
        ("fail", "all"),
        ("late",),
        ("fail_before",),
        ("fail", "stop"),
        ("count", 2),
    ):
        try:
            with ordered(name, *arguments):
                known[name](*arguments)
        except (BenchError, TrainingStopped) as error:
            done.append(str(error))
    end_orders()
    return done


def test_what_all_meet_ends_that_alone(tmp_path: Path) -> None:
    leader, follower = forked(2, tmp_path, _led)
    assert leader == [(1, False), "all", "first", "read", "stop", (2, False)]
    assert follower == [(1, False), "after", (2, False)]


def _one_fails(present: Processes, who: int, how: str) -> None:
    watch()

    def work() -> None:
        present.any(False)
        if present.rank == who:
            if how == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            raise BenchError("image x.jpg is broken")
        present.any(False)

    if present.leads:
        with ordered("work"):
            work()
    else:
        follow({"work": work})


@pytest.mark.parametrize(("who", "size"), [(0, 2), (2, 3)])
def test_what_one_meets_ends_all_with_its_sentence(tmp_path: Path, who: int, size: int) -> None:
    ends = forked(size, tmp_path, lambda present: _one_fails(present, who, "raises"), 0.3)
    assert ends == [Ended(2)] * size
    told = [(tmp_path / f"{rank}.txt").read_text() for rank in range(size)]
    assert "".join(told) == "error: image x.jpg is broken\n"


def test_a_process_that_dies_ends_all_with_a_sentence(tmp_path: Path) -> None:
    ends = forked(3, tmp_path, lambda present: _one_fails(present, 1, "dies"), 0.3)
    assert ends == [Ended(1), Ended(-signal.SIGKILL), Ended(1)]
    told = "".join((tmp_path / f"{rank}.txt").read_text() for rank in range(3))
    assert told.startswith("error: process 1 of 3 (from 0) has ended or does not answer")
    assert "checkpoint" in told
    assert told.count("\n") == 1
