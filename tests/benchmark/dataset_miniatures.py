"""Miniature copies of datasets, written in their official layouts."""

import gzip
import struct
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from mat_miniatures import CLASSES, members, photo, write_cars, write_dogs, write_flowers
from PIL import Image

from stt_bench.benchmark.datasets.catalog import find_dataset

FASHION_LABELS = {"train": np.arange(40) % 10, "t10k": np.arange(20) % 10}


def fashion_pixels(part: str, n: int | None = None) -> np.ndarray:
    n = n or len(FASHION_LABELS[part])
    return np.random.default_rng(n).integers(0, 256, (n, 28, 28), np.uint8)


def write_fashion(root: Path, labels: dict[str, np.ndarray] = FASHION_LABELS) -> None:
    """Write four ubyte files: magic number, shape (big endian), bytes."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, numbers in labels.items():
        pixels = fashion_pixels(part, len(numbers))
        head = struct.pack(">IIII", 0x0803, *pixels.shape)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        head = struct.pack(">II", 0x0801, len(numbers))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(head + numbers.astype(np.uint8).tobytes())
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


def write_lines(file: Path, lines: Iterable[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")


def write_cub_index(
    folder: Path, classes: Sequence[str], images: Sequence[tuple[str, str, int, bool]]
) -> None:
    """Write the index files; an image is (id, path, class number, in the official train split)."""
    write_lines(folder / "classes.txt", classes)
    write_lines(folder / "images.txt", (f"{i} {path}" for i, path, _, _ in images))
    write_lines(folder / "image_class_labels.txt", (f"{i} {c}" for i, _, c, _ in images))
    write_lines(folder / "train_test_split.txt", (f"{i} {int(train)}" for i, _, _, train in images))


def write_cub(root: Path) -> None:
    folder = root / "CUB_200_2011"
    names = {c: f"{c:03}.Bird_{chr(80 - c)}" for c in CLASSES}
    images = []
    for n, c, i in members():
        images.append((str(n), f"{names[c]}/Bird_{i:04}_{n}.jpg", c, i % 2 == 0))
        photo(folder / "images" / images[-1][1], n)
    write_cub_index(folder, [f"{c} {name}" for c, name in names.items()], images)


def write_nabirds(root: Path) -> None:
    """Write images named by UUID, and classes of which two share a name."""
    folder = root / "nabirds"
    images = []
    for n, c, i in members():
        uuid = f"{n:08x}-21dc-4d0c-bfe1-4cae3c85c829"
        images.append((uuid, f"{290 + c:04}/{uuid.replace('-', '')}.jpg", 290 + c, i % 2 == 0))
        photo(folder / "images" / images[-1][1], n)
    classes = [f"{290 + c} Bird number {c // 2} (Adult male)" for c in CLASSES]
    write_cub_index(folder, ["0 Birds", "1 Ducks, Geese", *classes], images)


def write_sop(root: Path) -> None:
    folder = root / "Stanford_Online_Products"
    lines = {"train": [], "test": []}
    for n, c, i in members():
        path = f"{'bicycle' if c % 2 else 'sofa'}_final/{111000000000 + c}_{i}.JPG"
        photo(folder / path, n)
        lines["train" if c <= 8 else "test"].append(f"{n} {c} {2 - c % 2} {path}")
    for split, entries in lines.items():
        head = "image_id class_id super_class_id path"
        write_lines(folder / f"Ebay_{split}.txt", [head, *entries])


def write_inshop(root: Path) -> None:
    lines = []
    for n, c, i in members():
        item = f"id_{c:08}"
        path = f"img/WOMEN/Dresses/{item}/{i:02}_1_front.jpg"
        photo(root / "Img" / path, n)
        status = "train" if c % 2 else ("query", "gallery")[i % 2]
        lines.append(f"{path:<80}   {item}  {status}")
    head = [str(len(lines)), "image_name item_id evaluation_status"]
    write_lines(root / "Eval" / "list_eval_partition.txt", head + lines)


def write_aircraft(root: Path) -> None:
    data = root / "fgvc-aircraft-2013b" / "data"
    variants = sorted([*(f"737-{c}00" for c in CLASSES[:-3]), "DH-82", "F/A-18", "Global Express"])
    lines = {"trainval": [], "test": []}
    for n, c, i in members():
        photo(data / "images" / f"{n:07}.jpg", n)
        lines["test" if i % 2 else "trainval"].append(f"{n:07} {variants[c - 1]}")
    write_lines(data / "variants.txt", variants)
    for split, entries in lines.items():
        write_lines(data / f"images_variant_{split}.txt", entries)


def write_omniglot_miniature(root: Path) -> None:
    for n, c, i in members():
        name = "images_background/Greek" if c <= 8 else "images_evaluation/Ulog"
        photo(root / name / f"character{c:02}" / f"{c:04}_{i:02}.png", n)


def write_fashion_miniature(root: Path) -> None:
    write_fashion(root, {"train": np.arange(80) % 10, "t10k": np.arange(80) % 10})


MINIATURES = {
    "aircraft": write_aircraft,
    "cars196": write_cars,
    "cub200": write_cub,
    "cub50": write_cub,
    "dogs": write_dogs,
    "fashion_mnist": write_fashion_miniature,
    "flowers102": write_flowers,
    "inshop": write_inshop,
    "inshop_merged": write_inshop,
    "nabirds": write_nabirds,
    "omniglot": write_omniglot_miniature,
    "sop": write_sop,
}


def miniature(name: str, root: Path) -> Path:
    """Write a miniature of a dataset into `root` and return it; its counts are not the real ones.

    Eight or sixteen training classes (fashion_mnist: five or ten) and at least four test classes,
    each with four images or more.
    """
    root.mkdir(parents=True, exist_ok=True)
    MINIATURES[name](root)
    return root


def lift_counts(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let a dataset have any number of images until the test ends."""
    counts = find_dataset(name).counts
    for task in list(counts):
        monkeypatch.delitem(counts, task)
