"""The network's part of a training step, compiled by torch.compile; plain where that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

BACKEND = "inductor"

Forward = Callable[[Tensor], tuple[Tensor, Tensor]]


def compiled(forward: Forward, device: torch.device, warn: Callable[[str], None]) -> Forward:
    """Return what computes the same, compiled at its first call.

    It gives the plain one, and says why, where a function of one line cannot be compiled: no C++
    compiler, or no Triton.
    """
    try:
        torch.compile(_tiny, backend=BACKEND)(torch.ones(2, device=device, requires_grad=True))
    except Exception as error:  # of torch, of its compiler and of the system, of many kinds
        warn(
            f"train.compile: nothing can be compiled here ({_first_line(error)}); it trains without"
        )
        return forward
    built: Any = torch.compile(forward, backend=BACKEND)
    return built


def _tiny(x: Tensor) -> Tensor:
    return x.sin().sum()


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
