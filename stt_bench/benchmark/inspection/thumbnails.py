"""Thumbnails: small pictures of items."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from PIL import Image

from stt_bench.benchmark.datasets.groups import ids_of
from stt_bench.benchmark.datasets.image_set import ImageSet

_AT_ONCE = 256
LARGEST_SPRITE = 4096  # pixels a side: browsers take 8192, for which TensorBoard uses 5 GB
LARGEST_THUMBNAIL = 64


def rows_of(ids: Iterable[str], frame: pd.DataFrame) -> np.ndarray:
    """Return the rows of an item table that show the items of an embedding set.

    Of an item of several images, such as a clip, it is the first.
    """
    rows: dict[str, int] = {}
    for row, item in enumerate(ids_of(frame)):
        rows.setdefault(item, row)
    return np.array([rows[item] for item in ids], dtype=np.int64)


def shown(image: np.ndarray) -> np.ndarray:
    """Return uint8 (C, H, W) as a picture: (H, W) for one channel, (H, W, 3) for three."""
    return image[0] if len(image) == 1 else image.transpose(1, 2, 0)


def thumbnails(images: ImageSet, rows: np.ndarray) -> np.ndarray:
    """Return some images in colour and small, uint8 (N, T, T, 3); T is `thumbnail_side`."""
    side = thumbnail_side(len(rows))
    small = np.empty((len(rows), side, side, 3), dtype=np.uint8)
    for start in range(0, len(rows), _AT_ONCE):
        for place, image in enumerate(images.batch(rows[start : start + _AT_ONCE]).numpy(), start):
            picture = Image.fromarray(shown(image)).convert("RGB")
            small[place] = np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR))
    return small


def thumbnail_side(number: int) -> int:
    """Return 64 pixels, or less where that many thumbnails would not fit into one sprite."""
    return max(1, min(LARGEST_THUMBNAIL, LARGEST_SPRITE // _grid(number)))


def _grid(number: int) -> int:
    return math.ceil(math.sqrt(number))
