"""Numbers that are none: which step made the first, without making a GPU wait in every step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LONGEST = 1000
"""Steps after which the watch is asked, however seldom a training is logged."""


class NotFiniteError(Exception):
    """A number is NaN or infinite after a step (from 1)."""

    def __init__(self, what: str, step: int) -> None:
        """Say what is not finite: ``the loss is nan``."""
        super().__init__(f"{what} at step {step}")
        self.step = step


class Watch:
    """The losses of the steps that nobody has looked at yet, and whether a gradient overflowed."""

    def __init__(self) -> None:
        """Start with no step."""
        self._seen: list[tuple[int, Tensor, Tensor]] = []

    def note(self, step: int, loss: Tensor, overflow: Tensor) -> None:
        """Keep what a step (from 1) left: its loss (), and `overflow_of` its gradients, ()."""
        self._seen.append((step, loss, overflow))

    def is_due(self) -> bool:
        """Tell whether there is much to look at."""
        return len(self._seen) >= LONGEST

    def look(self) -> None:
        """Look at all steps since the last time.

        Raises:
            NotFiniteError: the loss or a gradient of one is not finite; it names the first.
        """
        if not self._seen:
            return
        steps, losses, overflows = zip(*self._seen, strict=True)
        self._seen = []
        read = torch.stack([torch.stack(losses).float(), torch.stack(overflows).float()]).tolist()
        for step, loss, overflow in zip(steps, *read, strict=True):
            if not math.isfinite(loss):
                raise NotFiniteError(f"the loss is {loss}", step)
            if overflow:
                raise NotFiniteError("a gradient is not finite", step)


def overflow_of(parameters: Sequence[Tensor], one: Tensor) -> Tensor:
    """Return (): 1 where a gradient is NaN or infinite, else 0; left on the device.

    `one` (), float32, is 1 on the device of the parameters.
    """
    gradients = [grad for parameter in parameters if (grad := parameter.grad) is not None]
    found = torch.zeros_like(one)
    if gradients:
        # What the loss scaler asks for, in one pass over all: scaled by 1, they keep their bytes.
        torch._amp_foreach_non_finite_check_and_unscale_(gradients, found, one)
    return found
