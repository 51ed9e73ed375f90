"""Small pictures that stand in a page as data addresses, within a budget of bytes."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence

from PIL import Image

from stt_bench.benchmark.datasets.image_set import ImageSet
from stt_bench.benchmark.inspection.thumbnails import rows_of, shown

_AT_ONCE = 256
_QUALITY = 78
_TINY = 48  # pixels a side up to which PNG takes no more room than JPEG, and loses nothing
_TILES = (48, 40, 32, 24, 16)


def small_pictures(images: ImageSet, ids: Sequence[str], side: int) -> list[Image.Image]:
    """Return the pictures of items as the network sees them, none larger than `side` pixels.

    Of an item of several images, such as a clip, it is the first.
    """
    rows = rows_of(ids, images.items.split("test"))
    found = []
    for start in range(0, len(rows), _AT_ONCE):
        for pixels in images.batch(rows[start : start + _AT_ONCE]).numpy():
            picture = Image.fromarray(shown(pixels))
            if max(picture.size) > side:
                picture = picture.resize((side, side), Image.Resampling.LANCZOS)
            found.append(picture)
    return found


def address(picture: Image.Image) -> str:
    """Return a picture as a ``data:`` address: JPEG, or PNG of a tiny one."""
    stream, tiny = io.BytesIO(), max(picture.size) <= _TINY
    if tiny:
        picture.save(stream, format="PNG", optimize=True)
    else:
        picture.save(stream, format="JPEG", quality=_QUALITY, optimize=True)
    kind = "png" if tiny else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


class Sprite:
    """Many small pictures in one: tiles of `side` pixels, `columns` in a row."""

    def __init__(self, pictures: Sequence[Image.Image], side: int) -> None:
        """Place the pictures."""
        self.side, self.columns = side, max(1, math.ceil(math.sqrt(len(pictures))))
        self.rows = math.ceil(len(pictures) / self.columns)
        colour = any(picture.mode != "L" for picture in pictures)
        sheet = Image.new("RGB" if colour else "L", (self.columns * side, self.rows * side))
        for number, picture in enumerate(pictures):
            row, column = divmod(number, self.columns)
            tile = picture.resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(tile, (column * side, row * side))
        stream = io.BytesIO()
        sheet.save(stream, format="JPEG", quality=_QUALITY, optimize=True)
        self.address = f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
        self.width, self.height = sheet.size


def sprite_within(pictures: Sequence[Image.Image], budget: int) -> Sprite | None:
    """Return the sprite with the largest tiles whose address has at most `budget` characters."""
    for side in _TILES:
        if len(pictures):
            found = Sprite(pictures, side)
            if len(found.address) <= budget:
                return found
    return None
