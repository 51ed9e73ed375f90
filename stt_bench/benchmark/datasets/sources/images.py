"""A user's own images: folders of class folders, or csv lists."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.datasets.catalog import Source, register_dataset
from stt_bench.benchmark.datasets.csv_lists import read_listing
from stt_bench.benchmark.datasets.stores import FileStore
from stt_bench.benchmark.system.errors import BenchError

TEST_SHARE = 0.2
_GIVE = (
    "give data.root (a folder CLASS/IMAGE or a csv), or the option items (a csv with a split "
    "column), or the options train and test"
)


@register_dataset("images")
def images(
    root: Path | None,
    task: Task,
    *,
    items: str | None = None,
    train: str | None = None,
    test: str | None = None,
    images_root: str | None = None,
    seed: int = 0,
) -> Source:
    """Your own images, from folders `class/image` or csv lists.

    The split is the csv's own (`items`: a csv `path,label,split[,role]`), that of two lists or
    folders (`train` and `test`), or made here from a single list or folder (`data.root`):
    retrieval trains on the first half of the sorted classes and tests on the rest; classification
    tests on a fifth of every class, at least one image, drawn with `seed`. A root that holds the
    folders `train` and `test` is split by them. Relative paths of options start at `data.root`
    where it is given; those in a csv at `images_root`, else at the csv's own folder.
    """
    strings = {"items": items, "train": train, "test": test, "images_root": images_root}
    for name, value in strings.items():
        if value is not None and not isinstance(value, str):
            raise BenchError(f"dataset 'images': option {name} is a path, not {value!r}: quote it")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise BenchError(f"dataset 'images': option seed is {seed!r}: give an integer from 0")
    if (train is None) != (test is None) or (items is not None and train is not None):
        raise BenchError(f"dataset 'images': the options do not go together: {_GIVE}")

    start = root or Path()
    base = start / Path(images_root).expanduser() if images_root is not None else None
    if train is None and items is None and root is not None and _has_split_folders(root):
        train, test = "train", "test"
    if train is not None and test is not None:
        pair = [start / Path(option).expanduser() for option in (train, test)]
        tables = [_without_split(source, base) for source in pair]
        frame = pd.concat(
            [tables[0].assign(split="train"), tables[1].assign(split="test")], ignore_index=True
        )
    else:
        if items is None and root is None:
            raise BenchError(f"dataset 'images' has no images: {_GIVE}")
        source = start / Path(items).expanduser() if items is not None else start
        frame = _listed(source, base)
        if "split" not in frame:
            if items is not None:
                raise BenchError(f"{source} has no split column: add it, or give it as data.root")
            frame["split"] = made_split(frame["label"], task, seed)
    return _source(frame)


def _has_split_folders(root: Path) -> bool:
    return (root / "train").is_dir() and (root / "test").is_dir()


def _without_split(source: Path, base: Path | None) -> pd.DataFrame:
    frame = _listed(source, base)
    if "split" in frame:
        raise BenchError(f"{source} has a split column: give it as the option items")
    return frame


def _listed(source: Path, base: Path | None) -> pd.DataFrame:
    """Return a listing with the paths as the file system knows them."""
    frame = read_listing(source)
    start = source if source.is_dir() else base or source.parent
    paths = [os.path.abspath(start / path) for path in frame["path"]]
    return frame.assign(path=paths, role=frame.get("role", "both"))


def _source(frame: pd.DataFrame) -> Source:
    """Make the paths relative to their common folder, so that the table can move with it."""
    root = os.path.commonpath([os.path.dirname(path) for path in frame["path"]])
    paths = [Path(os.path.relpath(path, root)).as_posix() for path in frame["path"]]
    return Source(frame.assign(path=paths), FileStore(Path(root)))


def made_split(labels: pd.Series, task: Task, seed: int) -> np.ndarray:
    """Return `train` or `test` for every item: by class for retrieval, else a drawn fifth."""
    classes = sorted(set(labels))
    if task == "retrieval":
        if len(classes) < 2:
            raise BenchError(
                f"the only class is '{classes[0]}': retrieval needs classes to train on and "
                "others to test on"
            )
        return np.where(labels.isin(classes[: (len(classes) + 1) // 2]), "train", "test")
    split = np.full(len(labels), "train", dtype=object)
    for label in classes:
        rows = np.flatnonzero(labels == label)
        if len(rows) < 2:
            raise BenchError(
                f"class '{label}' has one item: classification needs two, to train and to test"
            )
        rng = np.random.default_rng([seed, *label.encode()])
        split[rng.choice(rows, max(1, round(TEST_SHARE * len(rows))), replace=False)] = "test"
    return split
