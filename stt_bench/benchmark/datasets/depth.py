"""How many bits the pixels of a set of images have, where that is more than 8 a channel.

A file says in how many bits a pixel is stored, not how many of them are used: cameras store 12 bits
in 16, programs store 8 in 32. So the range is taken from the data of the whole set: the smallest of
8, 10, 12, 14 and 16 bits that holds its largest value.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image

from stt_bench.benchmark.system.errors import BenchError

LARGEST_IMAGE = 1 << 27  # pixels: 400 MB in colour
_DEPTHS = (8, 10, 12, 14, 16)
MOST_BITS = _DEPTHS[-1]
_EIGHT_BITS = (b"\xff\xd8", b"GIF8", b"BM", b"RIFF")  # JPEG, GIF, BMP, WebP
_PNG = b"\x89PNG\r\n\x1a\n"
_SAMPLE_FORMAT, _PHOTOMETRIC = 339, 262  # TIFF tags
_AS_8 = "save it with 8 bits a channel"


class Depth(NamedTuple):
    """The pixels of an image that stores more than 8 bits a channel, or none that are known."""

    kind: str
    """`grey`: the values as stored; `colour`: their upper 8 of 16 bits, all that Pillow gives;
    else why the pixels have no known range."""
    low: int = 0
    high: int = 0


def is_deep(image: Image.Image) -> bool:
    """Tell whether a decoded image holds more than 8 bits a channel."""
    return image.mode in ("I", "F") or image.mode.startswith("I;")


def check_size(image: Image.Image) -> None:
    """Refuse an image whose header says that it takes the memory of hundreds of photographs.

    Raises:
        ValueError: it has more than 2²⁷ pixels.
    """
    if image.width * image.height > LARGEST_IMAGE:
        raise ValueError(
            f"it is {image.width:,} × {image.height:,} pixels, more than {LARGEST_IMAGE:,} in all"
        )


def depth_of(content: bytes) -> Depth | None:
    """Return the depth of an image file's content; None for 8 bits a channel and broken files."""
    if content.startswith(_EIGHT_BITS) or (content.startswith(_PNG) and content[24:25] != b"\x10"):
        return None
    try:
        with Image.open(io.BytesIO(content)) as image:
            check_size(image)
            narrowed = any(";16" in str(tile[3]) for tile in image.tile) and not is_deep(image)
            tags = getattr(image, "tag_v2", {})
            if image.mode == "F":
                return Depth("32-bit float pixels have no known range")
            if image.mode == "L" and tags.get(_SAMPLE_FORMAT, (1,))[0] == 2:
                return Depth("8-bit pixels with a sign have no known range")
            if is_deep(image) and tags.get(_PHOTOMETRIC) == 0:
                return Depth("0 is white in it, and Pillow reads it as black")
            if not (narrowed or is_deep(image)):
                return None
            pixels = np.asarray(image)
            kind = "colour" if narrowed else "grey"
            return Depth(kind, int(pixels.min()), int(pixels.max()))
    except Exception:  # broken files raise nearly anything; reading them tells the reason
        return None


def bits_that_hold(high: int) -> int:
    """Return the smallest usual number of bits for values up to `high`, 16 at most."""
    return next((bits for bits in _DEPTHS if high < 1 << bits), MOST_BITS)


def bits_of(depths: Iterable[tuple[str, Depth | None]]) -> int | None:
    """Return the bits of the grey images of a set, by their paths; None if there are none deep.

    Raises:
        BenchError: an image has pixels of no known range, or ones that Pillow would narrow.
    """
    deep = [(path, depth) for path, depth in depths if depth is not None]
    for path, depth in deep:
        if depth.kind not in ("grey", "colour"):
            raise BenchError(f"image {path}: {depth.kind}: {_AS_8}")
        try:
            check_range(depth.low, depth.high, 16)
        except BenchError as error:
            raise BenchError(f"image {path}: {error}") from None
    colour = [(path, depth.high) for path, depth in deep if depth.kind == "colour"]
    if colour and (bits := bits_that_hold(max(high for _, high in colour) * 256 + 255)) < 16:
        raise BenchError(
            f"image {colour[0][0]}: the {len(colour):,} images with 16 bits a channel hold no "
            f"more than {bits} bits, of which Pillow would keep {bits - 8}: save them with 8"
        )
    grey = [depth.high for _, depth in deep if depth.kind == "grey"]
    return bits_that_hold(max(grey)) if grey else None


def check_range(low: int, high: int, bits: int) -> None:
    """Refuse pixels beyond the bits of their set.

    Raises:
        BenchError: there are some.
    """
    if low < 0 or high >= 1 << bits:
        raise BenchError(
            f"its pixels lie between {low} and {high}, beyond the 0 to "
            f"{(1 << bits) - 1} that {bits} bits hold: {_AS_8}"
        )
