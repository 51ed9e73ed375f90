"""What makes the same seed give the same bytes, at no cost that is not needed."""

from __future__ import annotations

import torch
import torch.utils.deterministic

from stt_bench.benchmark.system.machine import make_deterministic


def test_kernels_are_deterministic_and_new_memory_is_not_filled() -> None:
    make_deterministic(1)
    assert torch.get_deterministic_debug_mode() == 1  # warn
    assert not torch.utils.deterministic.fill_uninitialized_memory
