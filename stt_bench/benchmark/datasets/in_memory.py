"""Images that are kept in memory: how many, and as one tensor where they have one size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pandas as pd
import torch

from stt_bench.benchmark.config.sections import InputConfig
from stt_bench.benchmark.datasets.items import ItemTable
from stt_bench.benchmark.datasets.transforms import resized_size
from stt_bench.benchmark.system.resources import free_memory

_SHARE = 0.5  # of the memory that is free, for the prepared images of one set


def memory_limit() -> float:
    """Return how many bytes of prepared images a set may keep in memory, as of now."""
    return _SHARE * free_memory()


def together(
    blocks: Iterable[Sequence[torch.Tensor]], count: int, done: Callable[[int], None]
) -> torch.Tensor | list[torch.Tensor]:
    """Return images in their order, in one tensor where they have one size; never twice.

    Their pixels lie as those of the first one do.

    Args:
        blocks: the images (C, H, W), uint8, some at a time.
        count: how many there are.
        done: is told after each block how many are there.
    """
    images: list[torch.Tensor] = []
    stacked: torch.Tensor | None = None
    for block in blocks:
        if not images:  # what is not filled takes no memory
            pixels = block[0].stride(0) == 1  # a pixel's channels lie together
            layout = torch.channels_last if pixels else torch.contiguous_format
            stacked = torch.empty((count, *block[0].shape), dtype=torch.uint8, memory_format=layout)
        for image in block:
            if stacked is not None and image.shape == stacked.shape[1:]:
                images.append(stacked[len(images)].copy_(image))
            else:
                stacked = None
                images.append(image)
        done(len(images))
    return images if stacked is None else stacked


def from_array(
    items: ItemTable, paths: Sequence[str], config: InputConfig, limit: float
) -> torch.Tensor | None:
    """Return the images of some paths as uint8 (N, C, H, W) in the array's own channels, or None.

    Args:
        items: whose array is used, if there is one.
        paths: of the images.
        config: how they are prepared: of these sizes and channels nothing may have to be computed.
        limit: bytes that they may take.
    """
    arrays = items.arrays
    if arrays is None or not len(paths):
        return None
    height, width = arrays.shape[1:3]
    channels = 1 if arrays.ndim == 3 else arrays.shape[3]
    fits = len(paths) * config.channels * height * width <= limit
    same = (width, height) == resized_size(width, height, config)
    if not (fits and same and (channels == 1 or channels == config.channels == 3)):
        return None
    rows = pd.Index(items.frame["path"]).get_indexer(pd.Index(paths))
    pixels = torch.from_numpy(arrays[rows].reshape(len(rows), height, width, channels))
    return pixels.permute(0, 3, 1, 2)
