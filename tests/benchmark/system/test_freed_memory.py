"""A step finds the memory that the last one freed, and what nobody uses counts as free."""

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


def printed(program: str, **variables: str) -> list[int]:
    """Return the numbers that a program prints in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if "MALLOC" not in k and "GLIBC" not in k}
    command = [sys.executable, "-c", program]
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
