"""The images a user asks about: files anywhere, or items of a run's dataset."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from stt_bench.benchmark.datasets import FileStore, ItemTable
from stt_bench.benchmark.datasets.item_rules import GROUP
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.names import nearest


def open_image(name: str, items: Callable[[], ItemTable]) -> Image.Image:
    """Return the image of a file, or else of an item; `items` is called for an item only.

    Raises:
        BenchError: there is neither such a file nor such an item, or it is no image.
    """
    if Path(name).is_file():
        return FileStore(Path()).read(name)
    table = items()
    ids = table.frame["path"].tolist()
    if name in set(ids):
        return table.read(name)
    if GROUP in table.frame and name in set(table.frame[GROUP]):
        first = table.frame.loc[table.frame[GROUP] == name, "path"].iloc[0]
        raise BenchError(f"'{name}' is an item of several images: give one, such as '{first}'")
    near = nearest(name, ids)
    told = f"did you mean '{near}'?" if near else f"its ids are such as '{ids[0]}'"
    raise BenchError(f"'{name}' is neither a file nor an item of {table.name}: {told}")


def item_of(name: str, image: Image.Image, items: ItemTable) -> str | None:
    """Return the id of the item that an opened image is, or None.

    A file is an item if its path ends in the item's id and both have the same pixels.
    """
    if not Path(name).is_file():
        return name
    full = os.path.abspath(name)
    for path in items.frame["path"]:
        if path == full or full.endswith(f"/{path}"):
            own = items.read(path)
            if own.mode == image.mode and np.array_equal(np.asarray(own), np.asarray(image)):
                return str(path)
    return None
