"""Batch norm over a batch that several processes share."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.processes import processes


def sync_batch_norms(network: nn.Module) -> None:
    """Let each batch norm of a network that trains take mean and variance of the whole batch.

    Parameters, buffers and their names stay. Unlike torch's SyncBatchNorm this one works on a CPU,
    too, and keeps the activation that timm's layers have in them.

    Raises:
        BenchError: a layer's own `forward` is unknown.
    """
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm):
            _check(name, module)
            kind: Any = type(module)
            module.__class__ = _synced(kind)


def _check(name: str, module: nn.Module) -> None:
    plain = type(module).forward is _BatchNorm.forward
    followed = isinstance(getattr(module, "act", None), nn.Module) and isinstance(
        getattr(module, "drop", None), nn.Module
    )
    if not (plain or followed):
        raise BenchError(
            f"model.sync_batch_norm: the layer '{name}' is a {type(module).__name__}, whose batch "
            "norm cannot be synchronised: leave sync_batch_norm out"
        )


@cache
def _synced(kind: Any) -> Any:
    """Return a kind of batch norm whose statistics in training are those of all processes."""
    plain = kind.forward is _BatchNorm.forward

    class Synced(kind):
        def forward(self, x: Tensor) -> Tensor:
            if not self.training or processes().size == 1:
                result: Tensor = super().forward(x)
                return result
            normalised = _normalised(self, x)
            if plain:
                return normalised
            followed: Tensor = self.act(self.drop(normalised))
            return followed

    Synced.__name__ = f"Synced{kind.__name__}"
    return Synced


def _normalised(layer: Any, x: Tensor) -> Tensor:
    """Return (x − μ) / √(σ² + ε) · w + b with μ and σ² of all processes; move the statistics.

    From each process come n, the mean m and the sum S of squared deviations from it, of each
    channel: μ = Σ n·m / N, σ² = Σ (S + n·(m − μ)²) / N.
    """
    others = [0, *range(2, x.ndim)]
    values = x if x.dtype == torch.float64 else x.float()
    with torch.autocast(x.device.type, enabled=False):
        own = values.mean(others)
        squares = (values - _along(own, x.ndim)).square().sum(others)
        count = values.new_full((1,), values.numel() / values.shape[1])
        every = _Gather.apply(torch.cat([own, squares, count]))
        means, squares, counts = every.split([len(own), len(own), 1], dim=1)
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        variance = (squares + counts * (means - mean).square()).sum(0) / total
        _keep(layer, mean.detach(), (variance * total / (total - 1)).detach())
        scale = (variance + layer.eps).rsqrt()
        if layer.weight is not None:
            scale = scale * layer.weight
        shift = -mean * scale
        if layer.bias is not None:
            shift = shift + layer.bias
        return (values * _along(scale, x.ndim) + _along(shift, x.ndim)).to(x.dtype)


def _along(channels: Tensor, ndim: int) -> Tensor:
    return channels.view(1, -1, *[1] * (ndim - 2))


@torch.no_grad()
def _keep(layer: Any, mean: Tensor, variance: Tensor) -> None:
    """Take mean and unbiased variance of a batch into the running statistics."""
    if not layer.track_running_stats:
        return
    layer.num_batches_tracked += 1
    share = layer.momentum
    if share is None:
        share = 1 / float(layer.num_batches_tracked)
    layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), share)
    layer.running_var.lerp_(variance.to(layer.running_var.dtype), share)


class _Gather(torch.autograd.Function):
    """(K,) of each process -> (processes, K); the gradient is that of what all make of it."""

    @staticmethod
    def forward(ctx: Any, row: Tensor) -> Tensor:
        found = [torch.empty_like(row) for _ in range(processes().size)]
        distributed.all_gather(found, row.contiguous())
        processes().exchanges += 1
        return torch.stack(found)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        found = gradients[0].contiguous()
        distributed.all_reduce(found)
        return found[processes().rank]
