"""FGVC-Aircraft (2013b) by model variant, read from the official lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.datasets.archives import Archive, Download
from stt_bench.benchmark.datasets.catalog import Counts, Source, register_dataset
from stt_bench.benchmark.datasets.sources.official import in_first_half, read_rows, subfolder
from stt_bench.benchmark.datasets.stores import FileStore

_DOWNLOAD = Download(
    Archive(
        "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
        "md5:d4acdd33327262359767eeaa97a4f732",
    ),
)


@register_dataset(
    "aircraft",
    folder="aircraft",
    also=("fgvc-aircraft-2013b",),
    counts={
        "retrieval": Counts(train=5_000, test=5_000, train_classes=50, test_classes=50),
        "classification": Counts(train=6_667, test=3_333, train_classes=100, test_classes=100),
    },
    get="unpack fgvc-aircraft-2013b.tar.gz from "
    "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft into data/aircraft",
    download=_DOWNLOAD,
)
def aircraft(root: Path, task: Task) -> Source:
    """10,000 photographs of 100 aircraft variants (FGVC-Aircraft 2013b), for research use.

    Classification has the official split, train and validation together. Retrieval trains on the
    first half of the variants by name and tests on the second, all images pooled.
    """
    folder = subfolder(root, "fgvc-aircraft-2013b/data", "data")
    index = pd.concat(
        [
            read_rows(folder / f"images_variant_{name}.txt", "image variant").assign(split=split)
            for name, split in (("trainval", "train"), ("test", "test"))
        ],
        ignore_index=True,
    )
    if task == "retrieval":
        index["split"] = np.where(in_first_half(index["variant"]), "train", "test")
    frame = pd.DataFrame(
        {
            "path": "images/" + index["image"] + ".jpg",
            "label": index["variant"],
            "split": index["split"],
            "role": "both",
        }
    )
    return Source(frame, FileStore(folder))
