"""Rows of unit length: the one rule of the network, the losses and the averages of groups."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_ORDINARY = 2.0**20


def unit_length(x: Tensor, *, divide: bool = False) -> Tensor:
    """Return the rows of `x` (B, D) scaled to length 1.

    Every finite row but 0 has a direction, however short or long it is: no square of it is taken
    before its largest entry is about 1. A row of zeros stays 0, with gradient 0. The gradient of a
    row shorter than the smallest normal number is taken as if it were that long, so that it is
    finite.

    Args:
        x: (B, D), float32 or float64.
        divide: divide by the length, as the network does, instead of multiplying by its
            reciprocal, as the losses do. The last bit differs, and with it every trained weight.

    Example:
        >>> unit_length(torch.tensor([[3.0, 4.0], [3e-30, 4e-30], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.6000, 0.8000],
                [0.0000, 0.0000]])

    """
    if divide:
        # As `_near_one` does, the sum makes 0 of -0.
        return functional.normalize(x + 0.0 if _is_ordinary(x) else _near_one(x), dim=1)
    return _UnitLength.apply(x)


def _is_ordinary(x: Tensor) -> bool:
    """Tell whether a CPU finds the largest entries so near 1 that `_near_one` changes no bit.

    Gradients below the smallest normal number excepted. To look would make any other device wait.
    """
    if x.device.type != "cpu" or not len(x) or torch.compiler.is_compiling():
        return False
    least, most = x.detach().abs().amax(1).aminmax()
    return float(least) > 1 / _ORDINARY and float(most) < _ORDINARY


def _near_one(x: Tensor) -> Tensor:
    """Return the rows times a power of two that brings the largest entry between 1 and 2."""
    largest = x.detach().abs().amax(1, keepdim=True)
    power = largest / (2 * torch.frexp(largest).mantissa)
    tiny = torch.finfo(x.dtype).tiny
    near = x / power.clamp(min=tiny).masked_fill(largest == 0, math.inf)
    # The rest of a denormal power, whose reciprocal a gradient could not hold.
    rest = (power / tiny).clamp(max=1).masked_fill(largest == 0, 1.0)
    return near + (near / rest - near).detach()


class _UnitLength(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        scale = x.abs().amax(1, keepdim=True)
        zero = scale == 0
        scaled = x / scale.masked_fill(zero, math.inf)
        length = torch.linalg.vector_norm(scaled, dim=1, keepdim=True).masked_fill(zero, 1.0)
        unit = scaled * length.reciprocal()
        ctx.save_for_backward(x, unit)
        return unit

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # What points along the row goes; ‖x‖ = x·u, which is 0 for a row of zeros.
        x, unit = ctx.saved_tensors
        length = (x * unit).sum(1, keepdim=True)
        across = gradient - unit * (gradient * unit).sum(1, keepdim=True)
        shortest = torch.finfo(x.dtype).tiny
        return across / length.clamp(min=shortest).masked_fill(length == 0, math.inf)
