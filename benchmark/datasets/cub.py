"""CUB-200-2011 and its parts, read from the official index files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.config import Task
from benchmark.datasets.registry import Counts, Source, register_dataset
from benchmark.datasets.stores import FileStore
from benchmark.errors import BenchError


@register_dataset(
    "cub50",
    folder="cub50",
    counts={
        "retrieval": Counts(train=1_402, test=1_487, train_classes=25, test_classes=25),
        "classification": Counts(train=1_500, test=1_389, train_classes=50, test_classes=50),
    },
    get="unpack CUB_200_2011.tgz from https://www.vision.caltech.edu/datasets/cub_200_2011 "
    "into data/cub50 and keep the first 50 lines of its classes.txt",
)
def cub50(root: Path, task: Task) -> Source:
    """2,889 photographs of the first 50 bird species of CUB-200-2011, for research use.

    Retrieval trains on species 1–25 and tests on 26–50. Classification has the official split.
    """
    return cub_items(root, task)


def cub_items(root: Path, task: Task) -> Source:
    """Return the items of a CUB copy, restricted to the classes in its `classes.txt`.

    Retrieval: the first half of the classes trains, the second tests. Classification: as in
    `train_test_split.txt`.
    """
    folder = root / "CUB_200_2011" if (root / "CUB_200_2011").is_dir() else root
    index = read_cub_index(folder)
    if task == "retrieval":
        numbers = sorted(index["class"].unique())
        is_train = index["class"].isin(numbers[: len(numbers) // 2])
    else:
        is_train = index["is_train"]
    frame = pd.DataFrame(
        {
            "path": "images/" + index["image"],
            "label": index["label"],
            "split": np.where(is_train, "train", "test"),
            "role": "both",
        }
    )
    return Source(frame, FileStore(folder))


def read_cub_index(folder: Path) -> pd.DataFrame:
    """Return columns image, class (number), label (the class's name) and is_train (official)."""
    labels = _read_pairs(folder / "classes.txt")
    images = _read_pairs(folder / "images.txt")
    classes = _read_pairs(folder / "image_class_labels.txt")
    official = _read_pairs(folder / "train_test_split.txt")
    rows = []
    for number, image in images.items():
        for file, entries in (("image_class_labels", classes), ("train_test_split", official)):
            if number not in entries:
                raise BenchError(
                    f"{folder / file}.txt has no line for image {number} ({image}): "
                    "get the official file again"
                )
        label = labels.get(classes[number])
        if label is not None:
            rows.append((image, int(classes[number]), label, official[number] == "1"))
    return pd.DataFrame(rows, columns=["image", "class", "label", "is_train"])


def _read_pairs(file: Path) -> dict[str, str]:
    """Return an index file's `NUMBER VALUE` lines as a dict."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(
            f"{file} cannot be read ({error}): the official CUB index files are needed"
        ) from error
    pairs: dict[str, str] = {}
    for line_number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        number, _, value = line.strip().partition(" ")
        if not number.isdecimal() or not value or number in pairs:
            raise BenchError(
                f"{file}:{line_number}: '{line}' is not a new number and a value: "
                "get the official file again"
            )
        pairs[number] = value
    return pairs
