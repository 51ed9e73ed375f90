"""A user's own images: folders of class folders, or csv lists."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.datasets.catalog import Source, register_dataset
from stt_bench.benchmark.datasets.csv_lists import ItemList, read_image_list
from stt_bench.benchmark.datasets.folders import Level, read_folder
from stt_bench.benchmark.datasets.item_rules import WEIGHT
from stt_bench.benchmark.datasets.splits import train_and_test
from stt_bench.benchmark.datasets.stores import FileStore
from stt_bench.benchmark.system.errors import BenchError, NotHereError
from stt_bench.names import did_you_mean

TEST_SHARE = 0.2
LEAST_CLASSES = 4
_BOTH = ("train", "test")
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
    classes: Level | None = None,
    seed: int = 0,
) -> Source:
    """Your own images, from folders `class/image` or csv lists.

    The split is the csv's own (`items`: a csv `path,label,split[,role][,weight]`), that of two
    lists or folders (`train` and `test`), that of folders in the root (`train`, `val`, `test`,
    `query`, `gallery`), or made here from a single list or folder (`data.root`): retrieval trains
    on the first half of the sorted classes and tests on the rest; classification tests on a fifth
    of every class, at least one image, drawn with `seed`. Folders of folders are classes with
    `classes: top` and categories of classes with `classes: leaf`. Relative paths of options start
    at `data.root` where it is given; those in a csv at `images_root`, else at the csv's own folder.
    """
    _check_options(items, train, test, images_root, classes, seed)
    start = root or Path()
    base = start / Path(images_root).expanduser() if images_root is not None else None
    if train is not None and test is not None:
        pair = [start / Path(option).expanduser() for option in (train, test)]
        tables = [_without_split(source, base, classes) for source in pair]
        frames = [
            frame.assign(split=split) for (frame, _), split in zip(tables, _BOTH, strict=True)
        ]
        if WEIGHT in frames[1] and WEIGHT not in frames[0]:  # test items have no weights
            frames[1] = frames[1].drop(columns=WEIGHT)
        found = ItemList(pd.concat(frames), [note for table in tables for note in table.notes])
    else:
        if items is None and root is None:
            raise BenchError(f"dataset 'images' has no images: {_GIVE}")
        source = start / Path(items).expanduser() if items is not None else start
        found = _listed(source, base, classes)
        if "split" not in found.frame:
            if items is not None:
                raise BenchError(f"{source} has no split column: add it, or give it as data.root")
            found.frame["split"] = made_split(found.frame["label"], task, seed)
    frame, told = train_and_test(found.frame)
    return _source(frame, [*found.notes, *told])


def _check_options(
    items: str | None,
    train: str | None,
    test: str | None,
    images_root: str | None,
    classes: str | None,
    seed: int,
) -> None:
    strings = {"items": items, "train": train, "test": test, "images_root": images_root}
    for name, value in strings.items():
        if value is not None and not isinstance(value, str):
            raise BenchError(f"dataset 'images': option {name} is a path, not {value!r}: quote it")
    if classes not in (None, *get_args(Level)):
        hint = did_you_mean(classes, get_args(Level))
        raise BenchError(f"dataset 'images': option classes is {classes!r}: {hint}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise BenchError(f"dataset 'images': option seed is {seed!r}: give an integer from 0")
    if (train is None) != (test is None) or (items is not None and train is not None):
        raise BenchError(f"dataset 'images': the options do not go together: {_GIVE}")


def _without_split(source: Path, base: Path | None, classes: Level | None) -> ItemList:
    found = _listed(source, base, classes)
    if "split" in found.frame:
        what = "has folders of splits" if source.is_dir() else "has a split column"
        raise BenchError(f"{source} {what}: give it as the option items")
    return found


def _listed(source: Path, base: Path | None, classes: Level | None) -> ItemList:
    """Return a list with the paths as the file system knows them."""
    if not source.exists():
        raise NotHereError(f"{source} does not exist: give a csv file or a folder of class folders")
    frame, notes = read_folder(source, classes) if source.is_dir() else read_image_list(source)
    start = source if source.is_dir() else base or source.parent
    paths = [os.path.abspath(start / path) for path in frame["path"]]
    return ItemList(frame.assign(path=paths, role=frame.get("role", "both")), notes)


def _source(frame: pd.DataFrame, notes: list[str]) -> Source:
    """Make the paths relative to their common folder, so that the table can move with it."""
    root = os.path.commonpath([os.path.dirname(path) for path in frame["path"]])
    paths = [Path(os.path.relpath(path, root)).as_posix() for path in frame["path"]]
    return Source(frame.assign(path=paths), FileStore(Path(root)), tuple(notes))


def made_split(labels: pd.Series, task: Task, seed: int) -> np.ndarray:
    """Return `train` or `test` for every item: by class for retrieval, else a drawn fifth."""
    classes = sorted(set(labels))
    if task == "retrieval":
        if len(classes) < LEAST_CLASSES:
            only = f"only {len(classes)} classes" if len(classes) > 1 else f"only '{classes[0]}'"
            raise BenchError(
                f"there are {only}: retrieval needs two classes to train on and two others to test "
                "on: add classes, give a split, or use task: classification"
            )
        return np.where(labels.isin(classes[: (len(classes) + 1) // 2]), "train", "test")
    split = np.full(len(labels), "train", dtype=object)
    for label in classes:
        rows = np.flatnonzero(labels == label)
        if len(rows) < 2:
            raise BenchError(
                f"class '{label}' has one item: classification needs two, to train and to test"
            )
        rng = np.random.default_rng([seed, *os.fsencode(label)])
        split[rng.choice(rows, max(1, round(TEST_SHARE * len(rows))), replace=False)] = "test"
    return split
