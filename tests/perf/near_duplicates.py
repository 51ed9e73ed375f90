"""How many planted copies the search for near-duplicates finds, and what else it takes for one.

    python tests/perf/near_duplicates.py cub50 flowers102 ...

Of each dataset, 400 images are copied in several ways; a copy is found where the search pairs it
with its own image. Every pair of test and training images that is found beside them is listed: look
at them.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

from stt_bench.benchmark.config.sections import DataConfig
from stt_bench.benchmark.datasets import check_dataset, load_items
from stt_bench.benchmark.datasets.duplicate_search import Thumbnails, similar_pairs
from stt_bench.benchmark.datasets.near_duplicates import near_duplicates, thumbnail
from stt_bench.benchmark.datasets.transforms import to_channels

COPIES = 400


def _jpeg(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=30)
    return Image.open(io.BytesIO(stream.getvalue()))


def _scaled(image: Image.Image, factor: float) -> Image.Image:
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.BICUBIC)


def _cropped(image: Image.Image, *shares: float) -> Image.Image:
    left, top, right, bottom = shares
    width, height = image.size
    return image.crop(
        (round(left * width), round(top * height), round(right * width), round(bottom * height))
    )


WAYS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 30": _jpeg,
    "half size": lambda image: _scaled(image, 0.5),
    "double size": lambda image: _scaled(image, 2),
    "3 % off each side": lambda image: _cropped(image, 0.03, 0.03, 0.97, 0.97),
    "5 % off two sides": lambda image: _cropped(image, 0.05, 0.05, 1, 1),
    "1.25 × as bright": lambda image: image.point(lambda grey: min(255, int(1.25 * grey))),
    "0.8 × as bright": lambda image: image.point(lambda grey: int(0.8 * grey)),
    "mirrored": ImageOps.mirror,
}


def main() -> None:
    """Print the shares found, and the pairs."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("data", nargs="+", help="names of data sets")
    for name in options.parse_args().data:
        task = check_dataset(DataConfig(name=name)).tasks[-1]
        items = load_items(DataConfig(name=name, task=task))
        paths = items.frame["path"].to_numpy()
        chosen = np.random.default_rng(0).permutation(paths)[:COPIES]
        originals = [to_channels(items.read(path), 1, items.bits) for path in chosen]
        print(f"{name} ({task})")
        for way, copied in WAYS.items():
            made = [thumbnail(image) for image in [*originals, *map(copied, originals)]]
            both = Thumbnails(*(np.array(part) for part in zip(*made, strict=True)))
            count = len(originals)
            pairs = similar_pairs(both, range(count), range(count, 2 * count))
            found = {a for a, b, _ in pairs if b - count == a}
            print(f"  {way}: {len(found) / count:.1%} found, {len(pairs) - len(found)} others")
        start = time.perf_counter()
        real = near_duplicates(items)
        print(f"  the data themselves, {time.perf_counter() - start:.1f} s:")
        for match in real.matches if real else ():
            print(f"    {match.similarity:.3f} {match.image} {match.other}")


if __name__ == "__main__":
    main()
