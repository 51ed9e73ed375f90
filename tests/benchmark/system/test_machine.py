"""What makes the same seed give the same bytes, at no cost that is not needed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch
import torch.utils.deterministic

from stt_bench.benchmark.system.machine import make_deterministic


def test_kernels_are_deterministic_and_new_memory_is_not_filled() -> None:
    make_deterministic(1)
    assert torch.get_deterministic_debug_mode() == 1  # warn
    assert not torch.utils.deterministic.fill_uninitialized_memory


FAULTS = """
import resource, torch
from stt_bench.benchmark.system.machine import make_deterministic

make_deterministic(1)

def step():
    blocks = [torch.ones(size) for size in (2**20, 2**22, 2**24)]  # 4, 16 and 64 MiB
    return sum(block[0] for block in blocks)

step()
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**variables: str) -> int:
    """Return how often five steps asked the system for a page of memory; they use 21,504 each."""
    environment = {k: v for k, v in os.environ.items() if "MALLOC" not in k and "GLIBC" not in k}
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(
        command, env=environment | variables, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="keeps memory by a switch of glibc's")
def test_freed_memory_is_kept_for_the_next_step_unless_the_user_says_otherwise() -> None:
    assert faults() < 1000
    assert faults(MALLOC_ARENA_MAX="8") > 5 * 16_000
