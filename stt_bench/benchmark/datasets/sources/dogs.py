"""Stanford Dogs, read from the official lists."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.datasets.archives import Archive, Download
from stt_bench.benchmark.datasets.catalog import Counts, Source, register_dataset
from stt_bench.benchmark.datasets.sources.official import read_mat, subfolder
from stt_bench.benchmark.datasets.stores import FileStore

_PAGE = "https://vision.stanford.edu/aditya86/ImageNetDogs"


_DOWNLOAD = Download(
    Archive(
        f"{_PAGE}/images.tar",
        "sha256:a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58",
    ),
    Archive(
        f"{_PAGE}/lists.tar",
        "sha256:34b47cacd9a98b5d150e084f24d29391c084c55272295ec65c85651bc35f4d6c",
    ),
)


@register_dataset(
    "dogs",
    folder="dogs",
    counts={
        "classification": Counts(train=12_000, test=8_580, train_classes=120, test_classes=120)
    },
    tasks=("classification",),
    get=f"unpack images.tar and lists.tar from {_PAGE} into data/dogs",
    download=_DOWNLOAD,
)
def dogs(root: Path, task: Task) -> Source:
    """20,580 photographs of 120 dog breeds (Stanford Dogs), from ImageNet.

    Classification has the official split. A label is the folder's name, `n02085620-Chihuahua`.
    """
    lists = subfolder(root, "lists")
    rows = [
        (f"Images/{image}", image.partition("/")[0], split, "both")
        for split in ("train", "test")
        for image in read_mat(lists / f"{split}_list.mat", {"file_list": str})["file_list"]
    ]
    frame = pd.DataFrame(rows, columns=["path", "label", "split", "role"])
    return Source(frame, FileStore(root))
