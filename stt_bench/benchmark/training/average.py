"""An exponential moving average of the weights: what is evaluated, where a row asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class Average:
    """Of each trained weight w, after step t (from 0), with the decay d:

        a ← d_t · a + (1 − d_t) · w,   d_t = min(d, (1 + t) / (10 + t))

    The smaller decay of the first steps is TensorFlow's: the start is soon forgotten, also where
    training is short. All else of the network, as the running statistics of batch norm and the
    centres of the center loss, is taken as it is.
    """  # fmt: skip

    def __init__(self, decay: float, trained: Sequence[Tensor]) -> None:
        """Start from the weights as they are."""
        self.decay, self._trained = decay, list(trained)
        self.weights = [weight.detach().clone() for weight in self._trained]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights in, after a step (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.weights, self._trained, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average in place of the weights, inside."""
        own = [weight.detach().clone() for weight in self._trained]
        _copy(self._trained, self.weights)
        try:
            yield
        finally:
            _copy(self._trained, own)

    def keep(self) -> None:
        """Put the average in place of the weights, for good."""
        _copy(self._trained, self.weights)

    def load(self, weights: Sequence[Tensor] | None) -> None:
        """Continue from an average; ValueError where it is not of these weights."""
        if weights is None or [w.shape for w in weights] != [w.shape for w in self.weights]:
            raise ValueError("the average is of other weights")
        _copy(self.weights, weights)


@torch.no_grad()
def _copy(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)
