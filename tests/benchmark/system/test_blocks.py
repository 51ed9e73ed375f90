"""Work in threads, block by block."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stt_bench.benchmark.system import blocks
from stt_bench.benchmark.system.blocks import by_blocks


@pytest.mark.parametrize("threads", [1, 3])
def test_all_is_done_in_order(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 4)
    with by_blocks(lambda one: one * one, range(10), threads) as made:
        assert list(made) == [[0, 1, 4, 9], [16, 25, 36, 49], [64, 81]]
    with by_blocks(abs, [], threads) as made:
        assert not list(made)


def test_stopped_it_ends_what_is_in_hand_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 4)
    done: list[int] = []
    begun, leaving = threading.Event(), threading.Event()
    leave = ThreadPoolExecutor.__exit__

    def leaves(self: Any, *error: Any) -> Any:
        leaving.set()
        return leave(self, *error)

    def work(one: int) -> None:
        if one == 5:
            begun.set()
            assert leaving.wait(60)
        done.append(one)

    monkeypatch.setattr(ThreadPoolExecutor, "__exit__", leaves)
    with by_blocks(work, range(100), 1) as some:
        assert next(some) == [None] * 4
        assert begun.wait(60)
    assert done == [0, 1, 2, 3, 4, 5]
