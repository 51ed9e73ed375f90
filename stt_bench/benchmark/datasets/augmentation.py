"""The random part of an image's preparation for training: sides, crops and flips.

What is drawn for a batch is drawn for all its images at once, and apart from the pixels: a part of
the batch is made as it is in the whole. Sizes and places are of height and width, in this order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from stt_bench.benchmark.config.sections import InputConfig
from stt_bench.benchmark.datasets.transforms import resized_size

AREA = (0.08, 1.0)  # share of the image that a random_resized crop covers
RATIO = (3 / 4, 4 / 3)  # and its width over height
_ATTEMPTS = 10


class Windows(NamedTuple):
    """Where B images are cropped: (B, 4) of top, left, height and width.

    Where their sides are drawn too, they are resized before, to the heights and widths (B, 2).
    """

    places: np.ndarray
    resized: np.ndarray | None = None

    def part(self, part: slice) -> Windows:
        """Return the windows of some of the images."""
        resized = None if self.resized is None else self.resized[part]
        return Windows(self.places[part], resized)

    def resize(self, size: int) -> bool:
        """Tell whether pixels are computed on the way to crops of size × size, not only moved."""
        return self.resized is not None or bool((self.places[:, 2:] != size).any())


def draw_windows(sizes: np.ndarray, config: InputConfig, rng: np.random.Generator) -> Windows:
    """Draw the random crops of prepared images of sizes (B, 2).

    With `resize_max`, each image first gets a side from `resize` on up to it, an integer, uniform
    with both ends. Then `random` crops have the input's size and are uniform in their places;
    `random_resized` ones are drawn as in torchvision (see `random_window`).
    """
    if config.crop == "random_resized":
        return Windows(np.array([random_window(w, h, rng) for h, w in sizes.tolist()]))
    resized = None
    if config.resize_max is not None:
        low = config.resize or config.size
        sides = rng.integers(low, config.resize_max, len(sizes), endpoint=True).tolist()
        resized = sizes = np.array(
            [
                resized_size(w, h, config.model_copy(update={"resize": side}))[::-1]
                for (h, w), side in zip(sizes.tolist(), sides, strict=True)
            ]
        )
    corners = rng.integers(0, sizes - config.size, endpoint=True)
    return Windows(np.hstack([corners, np.full_like(corners, config.size)]), resized)


def random_window(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a random_resized crop, drawn as in torchvision."""
    for _ in range(_ATTEMPTS):
        area = width * height * rng.uniform(*AREA)
        ratio = np.exp(rng.uniform(np.log(RATIO[0]), np.log(RATIO[1])))
        w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = rng.integers(0, [height - h, width - w], endpoint=True).tolist()
            return top, left, h, w
    w, h = min(width, round(height * RATIO[1])), min(height, round(width / RATIO[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def at_sizes(images: Sequence[torch.Tensor], sizes: np.ndarray) -> list[torch.Tensor]:
    """Return images (C, H, W) at other heights and widths (B, 2), bilinear with antialiasing.

    It is a second resizing after that of `prepare`: pixels differ a little from those of a single
    one, and the longer side by up to one pixel.
    """
    from torchvision.transforms.v2 import functional

    pairs = zip(map(_whole, images), sizes.tolist(), strict=True)
    return [functional.resize(image, size, antialias=True) for image, size in pairs]


def _whole(image: torch.Tensor) -> torch.Tensor:
    """Return an image (C, H, W) of which a pixel's channels lie together without gaps."""
    return image.permute(1, 2, 0).contiguous().permute(2, 0, 1) if image.stride(0) == 1 else image


def crop(images: Sequence[torch.Tensor], windows: Windows, size: int) -> torch.Tensor:
    """Return the windows of images (C, H, W), resized to size × size where they are another."""
    if windows.resized is not None:
        images = at_sizes(images, windows.resized)
    made = np.empty((len(images), images[0].shape[0], size, size), np.uint8)
    places = windows.places.tolist()
    for pixels, image, (top, left, height, width) in zip(made, images, places, strict=True):
        window = image[:, top : top + height, left : left + width]
        if (height, width) != (size, size):
            (window,) = at_sizes([window], np.array([[size, size]]))
        pixels[:] = window.numpy()
    return torch.from_numpy(made)


def gather(stacked: torch.Tensor, rows: np.ndarray, windows: Windows, size: int) -> torch.Tensor:
    """Return what `crop` does of rows of (N, C, H, W) where no window is resized, all at once."""
    every = sliding_window_view(stacked.numpy(), (size, size), axis=(2, 3))
    tops, lefts = windows.places[:, 0], windows.places[:, 1]
    return torch.from_numpy(np.ascontiguousarray(every[rows, :, tops, lefts]))


def draw_mirrored(count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw which of some images are mirrored left to right, each with probability one half."""
    return rng.random(count) < 0.5


def mirror(images: torch.Tensor, mirrored: np.ndarray) -> None:
    """Mirror some of the images (B, C, H, W) where they are."""
    pixels, rows = images.numpy(), np.flatnonzero(mirrored)
    pixels[rows] = pixels[rows][..., ::-1]
