"""The step of an optimiser, without what it looks up anew in each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

Lists = list[list[Tensor]]
"""The parameters of a group that have a gradient, and what the optimiser keeps of each."""


class Update:
    """Change parameters by their gradients, to the byte as the optimiser's own step does.

    That one looks up in every step what is kept of each parameter, and makes an entry for PyTorch's
    profiler: half of its time on a CPU where the network is small (tests/perf/step_parts.py). Hooks
    on the optimiser's step are not called.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        """Update by a fused Adam, AdamW or SGD."""
        self._optimizer = optimizer
        self._change, self._names = _KINDS[type(optimizer)]
        self._state: object = None
        self._without: list[list[bool]] = []
        self._lists: list[Lists] | None = None  # of each group, where `_state` and `_without` are

    @torch.no_grad()
    def __call__(self) -> None:
        """Take one step."""
        optimizer, groups = self._optimizer, self._optimizer.param_groups
        gradients = [[p.grad for p in group["params"]] for group in groups]
        without = [[gradient is None for gradient in given] for given in gradients]
        if optimizer.state is not self._state or without != self._without:
            self._lists = None
        if self._lists is None:
            optimizer.step()  # it makes what is kept of a parameter with its first gradient
            self._state, self._without = optimizer.state, without
            self._lists = [self._lists_of(*of) for of in zip(groups, without, strict=True)]
            return
        for group, given, (parameters, *kept) in zip(groups, gradients, self._lists, strict=True):
            present = [gradient for gradient in given if gradient is not None]
            self._change(group, parameters, present, *kept)

    def _lists_of(self, group: dict[str, Any], without: list[bool]) -> Lists:
        parameters = [p for p, none in zip(group["params"], without, strict=True) if not none]
        states = [self._optimizer.state.get(p, {}) for p in parameters]
        return [parameters, *([state.get(name) for state in states] for name in self._names)]


def _by_adam(
    group: dict[str, Any],
    parameters: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
) -> None:
    beta1, beta2 = group["betas"]
    options = ("lr", "weight_decay", "eps", "amsgrad", "maximize", "fused")
    adam(
        parameters,
        gradients,
        means,
        squares,
        [],
        steps,
        beta1=beta1,
        beta2=beta2,
        decoupled_weight_decay=group["decoupled_weight_decay"],
        **{name: group[name] for name in options},
    )


def _by_sgd(
    group: dict[str, Any],
    parameters: list[Tensor],
    gradients: list[Tensor],
    momentum: list[Tensor | None],
) -> None:
    options = ("lr", "weight_decay", "momentum", "dampening", "nesterov", "maximize", "fused")
    sgd(parameters, gradients, momentum, **{name: group[name] for name in options})


_ADAM = _by_adam, ("exp_avg", "exp_avg_sq", "step")
_KINDS: dict[type[torch.optim.Optimizer], tuple[Callable[..., None], tuple[str, ...]]] = {
    torch.optim.Adam: _ADAM,
    torch.optim.AdamW: _ADAM,
    torch.optim.SGD: (_by_sgd, ("momentum_buffer",)),
}
