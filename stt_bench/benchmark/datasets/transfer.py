"""From batches in memory to batches on the device that trains."""

from __future__ import annotations

from collections.abc import Generator, Iterable

import torch

from stt_bench.benchmark.datasets.ahead import taken_ahead
from stt_bench.benchmark.datasets.batches import Batch


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return a batch on a device, images channels-last.

    Copies to a GPU are from pinned memory and do not wait. PyTorch keeps that memory until they
    are done, so it is not overwritten while they are under way.
    """
    images = moved(batch.images, device)
    if images.ndim == 4:
        images = images.to(memory_format=torch.channels_last)
    weights = None if batch.weights is None else moved(batch.weights, device)
    return Batch(batch.step, images, moved(batch.labels, device), weights)


def on_device(batches: Iterable[Batch], device: torch.device) -> Generator[Batch, None, None]:
    """Yield batches on a device; the next is copied to a GPU while one is trained on there.

    The one after that is made, or taken from the processes that make it, and pinned by a thread:
    who starts the GPU's work has no time for it.
    """
    if not _is_running(device):
        for batch in batches:
            yield to_device(batch, device)
        return
    copies = torch.cuda.Stream(device)
    waiting: tuple[Batch, torch.cuda.Event] | None = None
    for batch in taken_ahead(map(_pinned, batches)):
        with torch.cuda.stream(copies):
            coming = to_device(batch, device), copies.record_event()
        if waiting is not None:
            yield _handed_over(*waiting)
        waiting = coming
    if waiting is not None:
        yield _handed_over(*waiting)


def _handed_over(batch: Batch, copied: torch.cuda.Event) -> Batch:
    """Let the work to come wait for the copies, and their memory wait for that work."""
    stream = torch.cuda.current_stream(batch.images.device)
    stream.wait_event(copied)
    for tensor in (batch.images, batch.labels, batch.weights):
        if tensor is not None:
            tensor.record_stream(stream)
    return batch


def _pinned(batch: Batch) -> Batch:
    weights = None if batch.weights is None else batch.weights.pin_memory()
    return Batch(batch.step, batch.images.pin_memory(), batch.labels.pin_memory(), weights)


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor on a device; a copy to a GPU is from pinned memory, and nobody waits."""
    if tensor.device == device:
        return tensor
    if tensor.device.type == "cpu" and _is_running(device) and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def _is_running(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_initialized()
