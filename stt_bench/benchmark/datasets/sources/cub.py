"""CUB-200-2011 and its parts, read from the official index files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.datasets.archives import Archive, Download
from stt_bench.benchmark.datasets.catalog import Counts, Source, register_dataset
from stt_bench.benchmark.datasets.sources.official import in_first_half, read_lines, subfolder
from stt_bench.benchmark.datasets.stores import FileStore
from stt_bench.benchmark.system.errors import BenchError

_PAGE = "https://www.vision.caltech.edu/datasets/cub_200_2011"


@register_dataset(
    "cub50",
    folder="cub50",
    counts={
        "retrieval": Counts(train=1_402, test=1_487, train_classes=25, test_classes=25),
        "classification": Counts(train=1_500, test=1_389, train_classes=50, test_classes=50),
    },
    get=f"unpack CUB_200_2011.tgz from {_PAGE} "
    "into data/cub50 and keep the first 50 lines of its classes.txt",
)
def cub50(root: Path, task: Task) -> Source:
    """2,889 photographs of the first 50 bird species of CUB-200-2011, for research use.

    Retrieval trains on species 1–25 and tests on 26–50. Classification has the official split.
    """
    return cub_items(root, task)


_DOWNLOAD = Download(
    Archive(
        "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
        "md5:97eceeb196236b17998738112f37df78",
    ),
)


@register_dataset(
    "cub200",
    folder="cub200",
    also=("CUB_200_2011",),
    counts={
        "retrieval": Counts(train=5_864, test=5_924, train_classes=100, test_classes=100),
        "classification": Counts(train=5_994, test=5_794, train_classes=200, test_classes=200),
    },
    get=f"unpack CUB_200_2011.tgz from {_PAGE} into data/cub200",
    download=_DOWNLOAD,
)
def cub200(root: Path, task: Task) -> Source:
    """11,788 photographs of 200 bird species (CUB-200-2011), for research use.

    Retrieval trains on species 1–100 and tests on 101–200. Classification has the official split.
    """
    return cub_items(root, task)


def cub_items(root: Path, task: Task) -> Source:
    """Return the items of a CUB copy, restricted to the classes in its `classes.txt`.

    Retrieval: the first half of the classes trains, the second tests. Classification: as in
    `train_test_split.txt`.
    """
    folder = subfolder(root, "CUB_200_2011")
    return index_items(folder, read_cub_index(folder), task)


def index_items(folder: Path, index: pd.DataFrame, task: Task) -> Source:
    """Return the items of what `read_cub_index` read."""
    is_train = in_first_half(index["class"]) if task == "retrieval" else index["is_train"]
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
    """Return columns image, class (number), label (the class's name) and is_train (official).

    Images of classes that `classes.txt` does not have are left out.
    """
    labels = _read_pairs(folder / "classes.txt", decimal=True)
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


def _read_pairs(file: Path, decimal: bool = False) -> dict[str, str]:
    """Return an index file's `NUMBER VALUE` lines as a dict; in NABirds an image has a UUID."""
    pairs: dict[str, str] = {}
    for where, line in read_lines(file):
        number, _, value = line.partition(" ")
        if not value or number in pairs or (decimal and not number.isdecimal()):
            raise BenchError(
                f"{where}: '{line}' is not a new number and a value: get the official file again"
            )
        pairs[number] = value
    return pairs
