"""From a decoded image to the network's input: a fixed part, and a random part for training.

The fixed part converts and resizes with PIL; the random part crops and mirrors uint8 tensors and
draws only from the generator it is given.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageOps

from stt_bench.benchmark.config.sections import InputConfig
from stt_bench.benchmark.datasets.depth import bits_that_hold, check_range, is_deep
from stt_bench.benchmark.system.errors import BenchError

AREA = (0.08, 1.0)  # share of the image that a random_resized crop covers
RATIO = (3 / 4, 4 / 3)  # and its width over height
_ATTEMPTS = 10
_ORIENTATION = 0x0112
_LARGEST_RESIZED = 1 << 25  # pixels, 100 MB in colour
_LONGEST = 8  # longer side over shorter that is taken at any size


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


def prepare(image: Image.Image, config: InputConfig, bits: int | None = None) -> torch.Tensor:
    """Return the converted and resized image as uint8 (C, H, W); `bits` as in `to_channels`.

    Raises:
        BenchError: the image is so long and thin that it would take hundreds of times the memory
            of the input.
    """
    image = to_channels(image, config.channels, bits)
    size = resized_size(*image.size, config)
    if size[0] * size[1] > max(_LARGEST_RESIZED, _LONGEST * min(size) ** 2):
        raise BenchError(
            f"it is {image.width} × {image.height} pixels and would become {size[0]:,} × "
            f"{size[1]:,}: crop or remove it, or set input.aspect to squash"
        )
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image)).reshape(size[1], size[0], config.channels)
    return pixels.permute(2, 0, 1).contiguous()


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


def random_crops(
    images: Sequence[torch.Tensor], config: InputConfig, rng: np.random.Generator
) -> torch.Tensor:
    """Return a random crop (size × size) of every image, stacked."""
    if config.crop == "random_resized":
        return torch.stack([_resized_crop(image, config.size, rng) for image in images])
    if config.resize_max is not None:
        images = random_sides(images, config, rng)
    room = np.array([image.shape[-2:] for image in images]) - config.size
    corners = rng.integers(0, room, endpoint=True).tolist()
    return torch.stack(
        [
            image[:, top : top + config.size, left : left + config.size]
            for image, (top, left) in zip(images, corners, strict=True)
        ]
    )


def random_sides(
    images: Sequence[torch.Tensor], config: InputConfig, rng: np.random.Generator
) -> list[torch.Tensor]:
    """Return images that were prepared at `resize_max`, each at a side drawn from `resize` on.

    Integer sides, uniform up to `resize_max` with both ends. Bilinear with antialiasing: a second
    resizing after that of `prepare`, so pixels differ a little from those of a single one, and the
    longer side by up to one pixel.
    """
    from torchvision.transforms.v2 import functional

    sides = rng.integers(
        config.resize or config.size, config.resize_max, len(images), endpoint=True
    )
    resized = []
    for image, side in zip(images, sides.tolist(), strict=True):
        at_side = config.model_copy(update={"resize": side})
        width, height = resized_size(image.shape[-1], image.shape[-2], at_side)
        resized.append(functional.resize(image, [height, width], antialias=True))
    return resized


def random_flips(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Return the images, each mirrored left to right with probability one half."""
    mirrored = torch.from_numpy(rng.random(len(images)) < 0.5)
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


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


def _resized_crop(image: torch.Tensor, size: int, rng: np.random.Generator) -> torch.Tensor:
    from torchvision.transforms.v2 import functional

    window = random_window(image.shape[-1], image.shape[-2], rng)
    return functional.resized_crop(image, *window, [size, size], antialias=True)
