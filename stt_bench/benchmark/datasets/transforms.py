"""From a decoded image to the network's input: the fixed part, converted with PIL and resized.

The random part is `augmentation`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.nn import functional

from stt_bench.benchmark.config.sections import InputConfig
from stt_bench.benchmark.datasets.depth import bits_that_hold, check_range, is_deep
from stt_bench.benchmark.system.errors import BenchError

_ORIENTATION = 0x0112
_LARGEST_RESIZED = 1 << 25  # pixels, 100 MB in colour
_LONGEST = 8  # longer side over shorter that is taken at any size


class TooThinError(BenchError):
    """An image that is far longer than wide would take too much memory at an input's size."""


def to_channels(image: Image.Image, channels: int, bits: int | None = None) -> Image.Image:
    """Return the image as grey (1) or RGB (3): 8 bits a channel, upright, without alpha.

    Grey values of more than 8 bits keep the upper 8 of those that the set of images uses, `bits`;
    those of this image where it is not told. Alpha is dropped, not blended, as in `convert`.

    Raises:
        BenchError: the pixels have no known range, or lie beyond those bits.
    """
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise BenchError("32-bit float pixels have no known range: save it with 8 or 16 bits")
    if is_deep(image):
        image = _upper_bits(np.asarray(image), bits)
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    elif image.mode == "La":  # multiplied by alpha; Pillow converts it to LA alone
        image = image.convert("LA")
    mode = "L" if channels == 1 else "RGB"
    try:
        return image if image.mode == mode else image.convert(mode)
    except ValueError:
        return image.convert("RGB").convert(mode)


def _upper_bits(values: np.ndarray, bits: int | None) -> Image.Image:
    low, high = int(values.min()), int(values.max())
    bits = bits or bits_that_hold(high)
    check_range(low, high, bits)
    return Image.fromarray((values >> (bits - 8)).astype(np.uint8))


def resized_size(width: int, height: int, config: InputConfig) -> tuple[int, int]:
    """Return width and height after resizing."""
    side = config.resize or config.size
    if config.aspect == "squash":
        return side, side
    if width <= height:
        return side, int(side * height / width)
    return int(side * width / height), side


def prepared_size(width: int, height: int, config: InputConfig) -> tuple[int, int]:
    """Return width and height of an image as `prepare` returns it.

    Raises:
        TooThinError: the image is so long and thin that it would take hundreds of times the memory
            of the input.
    """
    size = resized_size(width, height, config)
    if size[0] * size[1] > max(_LARGEST_RESIZED, _LONGEST * min(size) ** 2):
        raise TooThinError(
            f"it is {width} × {height} pixels and would become {size[0]:,} × "
            f"{size[1]:,}: crop or remove it, or set input.aspect to squash"
        )
    return size


def prepare(
    image: Image.Image, config: InputConfig, bits: int | None = None, *, planes: bool = True
) -> torch.Tensor:
    """Return the converted and resized image as uint8 (C, H, W); `bits` as in `to_channels`.

    In memory its channels are planes one after the other; else the channels of a pixel lie
    together, as what resizes the image again reads it most quickly.

    Raises:
        TooThinError: as in `prepared_size`.
    """
    image = to_channels(image, config.channels, bits)
    size = prepared_size(*image.size, config)
    if image.size == size:
        pixels = np.asarray(image)
    elif config.resize_by == "torch":
        pixels = _resized_by_torch(image, size)
    else:
        pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    pixels = pixels.reshape(size[1], size[0], config.channels)
    if not planes:
        return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
    # By NumPy: PyTorch would share so little work out among its threads, which costs more.
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))


def _resized_by_torch(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Return the pixels (H, W, C) at another width and height, bilinear with antialiasing."""
    pixels = np.atleast_3d(np.array(image))  # not asarray: torch wants what it could write to
    channels_last = torch.from_numpy(pixels).permute(2, 0, 1)[None]  # its kernel's own layout
    made = functional.interpolate(channels_last, size[::-1], mode="bilinear", antialias=True)
    return made[0].permute(1, 2, 0).numpy()


def center_crop(images: torch.Tensor, size: int) -> torch.Tensor:
    """Return the central square of (..., H, W), as torchvision places it."""
    top = round((images.shape[-2] - size) / 2)
    left = round((images.shape[-1] - size) / 2)
    return images[..., top : top + size, left : left + size]


def five_crops(images: Sequence[torch.Tensor], size: int) -> list[torch.Tensor]:
    """Return the corners and the central square of images (C, H, W), each (B, C, size, size).

    Order and places are those of torchvision's FiveCrop.
    """
    ends = (slice(None, size), slice(-size, None))
    corners = [
        torch.stack([image[:, rows, columns] for image in images])
        for rows in ends
        for columns in ends
    ]
    return [*corners, torch.stack([center_crop(image, size) for image in images])]
