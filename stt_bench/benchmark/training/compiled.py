"""The network's part of a training step, compiled by torch.compile; plain where that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from stt_bench.benchmark.system.memory import of_full_memory

BACKEND = "inductor"


class Compiled(nn.Module):
    """Computes what a network does, forward and backward, compiled at the first call of each kind.

    Where that fails and the network itself does not, as without a C++ compiler or Triton, or with a
    layer that the compiler cannot take, it says so once and goes on with the network: that call and
    the later ones give what they would have given without. A failure of the network itself and full
    memory are raised as they are.
    """

    def __init__(self, network: nn.Module, warn: Callable[[str], None]) -> None:
        """Compile nothing yet."""
        super().__init__()
        self.network = network
        self._warn = warn
        self._known: set[tuple[torch.Size, bool]] = set()  # kinds of calls that are compiled
        self._call: Callable[[Tensor], tuple[Tensor, Tensor]] | None = self._first

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and embeddings of the images."""
        if self._call is None:
            plain: tuple[Tensor, Tensor] = self.network(images)
            return plain
        kind = images.shape, torch.is_grad_enabled()
        if kind in self._known:
            return self._call(images)
        before = _State(self.network, images.device)
        try:
            made = self._call(images)
            if self._goes_backward(made):  # which is compiled when it is first gone
                before.restore()
                made = self._call(images)
        except Exception as error:  # of torch, of its compiler and of the system, of many kinds
            if of_full_memory(error, "train"):
                raise
            self._call, failed = None, error
        else:
            self._known.add(kind)
            return made
        before.restore()  # a part of the network may have been compiled, and run
        made = self.network(images)
        self._warn(
            "train.compile: the network cannot be compiled here "
            f"({_reason(failed)}); it trains without"
        )
        return made

    def _goes_backward(self, made: tuple[Tensor, Tensor]) -> bool:
        """Go backward from what was made; the parameters keep their gradients."""
        reached = [one.sum() for one in made if one.requires_grad]
        if not reached:
            return False
        trained = [one for one in self.network.parameters() if one.requires_grad]
        torch.autograd.grad(torch.stack(reached).sum(), trained, allow_unused=True)
        return True

    def _first(self, images: Tensor) -> tuple[Tensor, Tensor]:
        built: Any = torch.compile(self.network.__call__, backend=BACKEND)
        self._call = built
        made: tuple[Tensor, Tensor] = built(images)
        return made


class _State:
    """What a forward pass changes: running statistics, and what is drawn next."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
        self._device = device if device.type == "cuda" else None
        self._drawn = torch.get_rng_state()
        self._drawn_there = torch.cuda.get_rng_state(device) if self._device else None

    def restore(self) -> None:
        with torch.no_grad():
            for buffer, value in self._buffers:
                buffer.copy_(value)
        torch.set_rng_state(self._drawn)
        if self._device and self._drawn_there is not None:
            torch.cuda.set_rng_state(self._drawn_there, self._device)


def _reason(error: Exception) -> str:
    """Return the first line of an error's text, with the next where it only leads to that."""
    first, _, rest = str(error).strip().partition("\n")
    if first.endswith(":"):
        first += " " + rest.strip().partition("\n")[0]
    return first.rstrip(".") or type(error).__name__
