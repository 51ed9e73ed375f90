"""A step finds the memory that the last one freed; between two runs it is the system's again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="memory is kept by a switch of glibc's"
)


FAULTS = """
import ctypes, resource, torch
from stt_bench.benchmark.system.machine import make_deterministic

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # without huge pages, which are one fault each
make_deterministic(1)

def step():
    blocks = [torch.ones(size) for size in (2**20, 2**22, 2**24)]  # 4, 16 and 64 MiB
    return sum(block[0] for block in blocks)

for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def printed(program: str, *arguments: object, **variables: str) -> list[int]:
    """Return the numbers that a program prints in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if "MALLOC" not in k and "GLIBC" not in k}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(
        command, env=environment | variables, capture_output=True, text=True, check=True
    )
    return [int(word) for word in done.stdout.split()]


def test_freed_memory_is_kept_for_the_next_step_unless_the_user_says_otherwise() -> None:
    """Ten steps use 84 MiB each, by which a kept heap may grow once or twice."""
    (kept,), (not_kept,) = printed(FAULTS), printed(FAULTS, MALLOC_ARENA_MAX="8")
    assert 3 * kept < not_kept


LOADED = """
import torch
from pathlib import Path
from stt_bench.benchmark.system.machine import make_deterministic
from stt_bench.benchmark.system.resources import free_memory

def resident():
    (row,) = [r for r in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in r]
    return int(row.split()[1]) // 1024

make_deterministic(1)
start = resident()
images, later = torch.ones(2**26), torch.ones(2**20)  # 256 MiB, below what stays
del images
kept = resident() - start
free_memory()
print(kept, resident() - start)
"""


def test_what_is_kept_is_given_back_before_free_memory_is_asked_for() -> None:
    kept, after = printed(LOADED)
    assert kept > 200
    assert after < 50


RUNS = """
import sys
from pathlib import Path
from stt_bench.benchmark.store.runs import run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.suite.one import ToRun, Worker
from stt_bench.benchmark.system.progress import Reporter

def resident():
    (row,) = [r for r in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in r]
    return int(row.split()[1]) // 1024

root = Path(sys.argv[1])
table = load_table(str(root / "memory.yaml"))
for row in ("small", "large", "small_again"):
    run = run_of(table, row, 0, root / "runs")
    ending = Worker(root / "results", Reporter(quiet=True)).do(ToRun(run))
    assert ending.kind == "done", ending
    print(round(run.facts().peak_memory_mib), resident())
"""

TABLE = """
title: Memory
description: The second run takes some 300 MiB more than the others.
seeds: [0]
data: {name: digits, task: retrieval}
input: {size: 16, channels: 1, mean: [0.3], std: [0.37]}
model: {backbone: small_cnn, embedding_dim: 8}
sampler: {name: uniform, batch_size: 8}
train: {steps: 1, log_every: 1, threads: 1, workers: 0, device: cpu}
evaluation: {ks: [1], clustering: false, batch_size: 100}
rows:
  small: {label: Softmax, loss: softmax}
  large: {label: Large, loss: softmax, input: {size: 64}, sampler: {batch_size: 500}}
  small_again: {label: Again, loss: softmax}
"""


@pytest.fixture(scope="module")
def three_runs(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """Return the peak of a small, a large and a small run, and what was resident after each."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "memory.yaml").write_text(TABLE)
    return printed(RUNS, folder)


def test_the_peak_of_a_run_has_nothing_in_it_that_earlier_ones_freed(three_runs: list[int]) -> None:
    small, large, again = three_runs[::2]
    assert large > small + 150
    assert again < small + 75


def test_a_worker_that_waits_holds_nothing_of_its_last_run(three_runs: list[int]) -> None:
    small, large, _ = three_runs[1::2]
    assert large < small + 75
