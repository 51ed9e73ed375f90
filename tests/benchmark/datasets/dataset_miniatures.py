"""Miniature copies of datasets, written in their official layouts."""

import gzip
import struct
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

FASHION_LABELS = {"train": np.arange(40) % 10, "t10k": np.arange(20) % 10}


def fashion_pixels(part: str) -> np.ndarray:
    n = len(FASHION_LABELS[part])
    return np.random.default_rng(n).integers(0, 256, (n, 28, 28), np.uint8)


def write_fashion(root: Path) -> None:
    """Write four ubyte files: magic number, shape (big endian), bytes."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, labels in FASHION_LABELS.items():
        pixels = fashion_pixels(part)
        head = struct.pack(">IIII", 0x0803, *pixels.shape)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        head = struct.pack(">II", 0x0801, len(labels))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(head + labels.astype(np.uint8).tobytes())
        (raw / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"left by torchvision"))


OMNIGLOT_CHARACTERS = {
    "images_background": ["Greek/character01", "Greek/character02", "Latin/character01"],
    "images_evaluation": ["Ulog/character01", "Ulog/character02"],
}


def write_omniglot(root: Path, sets=tuple(OMNIGLOT_CHARACTERS)) -> None:
    for name in sets:
        for number, character in enumerate(OMNIGLOT_CHARACTERS[name]):
            folder = root / name / character
            folder.mkdir(parents=True)
            for drawing in (2, 1):
                pixels = np.full((105, 105), 100 * drawing + number, np.uint8)
                Image.fromarray(pixels).save(folder / f"000{number}_{drawing:02}.png")


def zip_folder(folder: Path, file: Path) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(folder).as_posix())
    return file


CUB_CLASSES = ["001.Albatross", "002.Auklet", "003.Blackbird", "004.Bunting"]
