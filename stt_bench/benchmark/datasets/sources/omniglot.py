"""Omniglot, read from torchvision's folder layout or from one zip file."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pandas as pd

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.datasets.archives import Archive, Download
from stt_bench.benchmark.datasets.catalog import Counts, Source, register_dataset
from stt_bench.benchmark.datasets.stores import FileStore, Store, ZipStore
from stt_bench.benchmark.system.errors import BenchError

_SPLITS = {"images_background": "train", "images_evaluation": "test"}


_ADDRESS = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
_DOWNLOAD = Download(
    Archive(
        f"{_ADDRESS}images_background.zip",
        "md5:68d2efa1b9178cc56df9314c21c6e718",
        "omniglot-py",
    ),
    Archive(
        f"{_ADDRESS}images_evaluation.zip",
        "md5:6b91aef0f799c5bb55b94e3f2daec811",
        "omniglot-py",
    ),
)


@register_dataset(
    "omniglot",
    folder="omniglot",
    also=("omniglot-py",),
    counts={"retrieval": Counts(train=19_280, test=13_180, train_classes=964, test_classes=659)},
    tasks=("retrieval",),
    get="unpack images_background.zip and images_evaluation.zip from "
    "https://github.com/brendenlake/omniglot into data/omniglot",
    download=_DOWNLOAD,
)
def omniglot(root: Path, task: Task) -> Source:
    """32,460 drawings of 1,623 handwritten characters, 20 each, 105×105 pixels.

    Retrieval trains on the 964 background characters and tests on the 659 evaluation characters.
    A class is a character of an alphabet.
    """
    store, names = _open(root)
    rows = []
    for name in sorted(names):
        parts = PurePosixPath(name).parts
        if len(parts) == 4 and parts[0] in _SPLITS and name.endswith(".png"):
            rows.append((name, f"{parts[1]}/{parts[2]}", _SPLITS[parts[0]], "both"))
    return Source(pd.DataFrame(rows, columns=["path", "label", "split", "role"]), store)


def _open(root: Path) -> tuple[Store, list[str]]:
    """Return the store and all its paths: of folders where they lie unpacked, else of the zip."""
    for folder in (root / "omniglot-py", root):
        if all((folder / name).is_dir() for name in _SPLITS):
            files = (
                Path(where, file).relative_to(folder).as_posix()
                for name in _SPLITS
                for where, _, here in os.walk(folder / name)
                for file in here
            )
            return FileStore(folder), list(files)
    for file in (root / "omniglot.zip", root):
        if file.is_file():
            zipped = ZipStore(file)
            return zipped, zipped.names()
    raise BenchError(
        f"no Omniglot in {root}: it needs the folders {' and '.join(_SPLITS)} there or in "
        "omniglot-py, or both in omniglot.zip; remove the folder to have it downloaded"
    )
