"""Batches that are made ahead: in order, byte for byte; what goes wrong is one sentence."""

import errno
import os
import signal
import threading
import time

import pytest
import torch

from stt_bench.benchmark.datasets import ahead
from stt_bench.benchmark.datasets.ahead import by_processes, by_threads, taken_ahead
from stt_bench.benchmark.system.errors import BenchError

pytestmark = pytest.mark.skipif(not ahead.CAN_FORK, reason="processes are forked on Linux only")


def make(number: int) -> list[torch.Tensor]:
    """Return tensors of odd sizes, and the process that made them."""
    images = torch.arange(105, dtype=torch.uint8).reshape(5, 3, 7) + number
    return [images, torch.tensor([number, os.getpid()]), torch.full((3,), number / 3)]


def same(found, number: int) -> bool:
    images, (told, _), weights = found
    expected = make(number)
    return torch.equal(images, expected[0]) and told == number and torch.equal(weights, expected[2])


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("numbers", [range(0), range(4, 5), range(3, 6), range(3, 12)])
def test_processes_make_the_same_in_the_same_order(count, numbers):
    found = list(by_processes(make, numbers, count))
    assert len(found) == len(numbers)
    assert all(same(one, number) for one, number in zip(found, numbers, strict=True))
    makers = {int(one[1][1]) for one in found}
    assert len(makers) == min(len(numbers), 1 + min(count, max(0, len(numbers) - 1)))


def test_threads_make_the_same_in_the_same_order():
    def late(number: int) -> list[torch.Tensor]:
        time.sleep(0.002 * (number % 3))
        return make(number)

    assert all(same(one, n) for n, one in enumerate(by_threads(late, range(12))))


def test_one_thread_takes_the_next_from_an_iterator():
    threads = []

    def things():
        for number in range(5):
            threads.append(threading.current_thread())
            yield number

    found = taken_ahead(things())
    assert next(found) == 0
    assert list(found) == [1, 2, 3, 4]
    assert threads[0] is threading.main_thread()
    assert len(set(threads[1:]) - {threading.main_thread()}) == 1
    assert list(taken_ahead(iter([]))) == []


def test_what_is_taken_ahead_ends_with_its_use_and_its_errors_are_met():
    def fails(number):
        if number == 2:
            raise BenchError("image 7 is broken")
        return make(number)

    batches = taken_ahead(by_processes(make, range(100), 2))
    next(batches)
    makers = {int(next(batches)[1][1]) for _ in range(2)}
    batches.close()
    del batches
    for maker in makers:
        with pytest.raises(ProcessLookupError):
            os.kill(maker, 0)
    assert not [t for t in threading.enumerate() if t.name.startswith("ThreadPool")]
    batches = taken_ahead(map(fails, range(5)))
    assert same(next(batches), 0)
    assert same(next(batches), 1)
    with pytest.raises(BenchError, match="image 7"):
        next(batches)


def test_processes_are_forked_before_the_first_is_used():
    made = by_processes(make, range(9), 2)
    forked = []
    with pytest.MonkeyPatch.context() as patch:
        fork = os.fork
        patch.setattr(os, "fork", lambda: forked.append(1) or fork())
        next(made)
    assert len(forked) == 2
    made.close()


def test_what_was_handed_over_is_not_written_over():
    made = by_processes(make, range(12), 2)
    first = [next(made) for _ in range(3)]
    list(made)
    assert all(same(one, number) for number, one in enumerate(first))


def test_no_more_is_made_than_is_soon_used():
    made: list[int] = []
    batches = by_threads(lambda number: made.append(number) or number, range(100))
    assert [next(batches), next(batches)] == [0, 1]
    batches.close()
    assert len(made) <= 2 + ahead._AHEAD
    assert not [t for t in threading.enumerate() if t.name.startswith("ThreadPool")]


def test_processes_end_with_their_use():
    batches = by_processes(make, range(100), 2)
    next(batches)
    makers = {int(next(batches)[1][1]) for _ in range(2)}
    assert os.getpid() not in makers
    batches.close()
    for maker in makers:
        with pytest.raises(ProcessLookupError):
            os.kill(maker, 0)


@pytest.mark.parametrize("by", [by_threads, lambda *args: by_processes(*args, 2)])
def test_a_users_mistake_stays_one_sentence(by):
    def fails(number: int) -> list[torch.Tensor]:
        if number == 3:
            raise BenchError("3.jpg cannot be read")
        return make(number)

    batches = by(fails, range(9))
    assert all(same(next(batches), number) for number in range(3))
    with pytest.raises(BenchError, match=r"^3.jpg cannot be read$"):
        next(batches)


def test_a_bug_says_where_it_is():
    def fails(number: int) -> list[torch.Tensor]:
        return make(number) if number == 0 else make(1 // 0)

    with pytest.raises(RuntimeError, match=r"(?s)in a process that reads images:.*in fails"):
        list(by_processes(fails, range(3), 1))


def test_a_killed_process_is_one_sentence():
    def dies(number: int) -> list[torch.Tensor]:
        if number == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return make(number)

    batches = by_processes(dies, range(9), 2)
    assert all(same(next(batches), number) for number in range(4))
    with pytest.raises(BenchError, match=r"was killed \(signal 9\).*lower train.workers") as told:
        next(batches)
    assert "\n" not in str(told.value)


def test_no_memory_left_in_a_process_is_one_sentence():
    def fills(number: int) -> list[torch.Tensor]:
        if number:
            raise MemoryError
        return make(number)

    with pytest.raises(BenchError, match=r"no memory left; lower train.workers"):
        list(by_processes(fills, range(3), 1))


@pytest.mark.parametrize("what", ["mmap.mmap", "os.fork"])
def test_where_no_process_can_be_started(monkeypatch, what):
    def refuse(*_):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    batches = by_processes(make, range(9), 2)
    monkeypatch.setattr(what, refuse)
    with pytest.raises(BenchError, match=r"Cannot allocate memory\): lower train.workers"):
        next(batches)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_signals_to_all_processes_are_the_trainers_affair(kind):
    batches = by_processes(make, range(20), 1)
    next(batches)
    maker = int(next(batches)[1][1])
    os.kill(maker, kind)
    assert all(same(one, number) for number, one in enumerate(batches, start=2))


def test_a_trainer_that_is_killed_leaves_no_process():
    """Its end closes the pipes, also those that later processes have a copy of."""
    reading, writing = os.pipe()
    trainer = os.fork()
    if trainer == 0:
        batches = by_processes(make, range(100), 3)
        makers = [int(next(batches)[1][1]) for _ in range(4)][1:]
        os.write(writing, " ".join(map(str, makers)).encode())
        signal.pause()
    makers = [int(one) for one in os.read(reading, 99).split()]
    os.kill(trainer, signal.SIGKILL)
    os.waitpid(trainer, 0)
    os.close(reading)
    os.close(writing)
    until = time.monotonic() + 20
    while left := [maker for maker in makers if _lives(maker)]:
        assert time.monotonic() < until, left
        time.sleep(0.01)


def _lives(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
