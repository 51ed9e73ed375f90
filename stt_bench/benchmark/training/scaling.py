"""The scale of a loss in float16, and the steps that are skipped because it was too large."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

MANY = 10, 0.05  # skipped steps that are told: more than so many, and than this share of all


class LossScaler(torch.amp.GradScaler):
    """A scaler that counts the steps in which a gradient was not finite, which change nothing.

    The scale falls after each such step, and after no other; it is compared on the device, so that
    nobody waits for it. Without float16 it scales nothing and `state_dict` is empty.
    """

    def __init__(self, device: torch.device, *, enabled: bool) -> None:
        """Scale on a device, if the precision needs it."""
        super().__init__(device.type, enabled=enabled)
        self.one = torch.ones((), device=device)
        self._skipped = torch.zeros((), device=device, dtype=torch.int64)

    @property
    def skipped(self) -> int | None:
        """Return how many steps were skipped (waits for the device); None where none can be."""
        return int(self._skipped) if self.is_enabled() else None

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Adapt the scale after a step, and count the step if it was skipped."""
        if not self.is_enabled():
            return
        before = self.scale(self.one)
        super().update(new_scale)
        after = self.scale(self.one)
        self._skipped += (after < before) | (after == 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the scale and the count."""
        state = super().state_dict()
        return {**state, "skipped": self.skipped} if state else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state; one of before steps were counted has none."""
        super().load_state_dict({name: one for name, one in state.items() if name != "skipped"})
        self._skipped.fill_(state.get("skipped") or 0)


def many(skipped: int | None, steps: int) -> bool:
    """Tell whether so many of the steps were skipped that the training suffers."""
    least, share = MANY
    return skipped is not None and skipped > max(least, share * steps)
