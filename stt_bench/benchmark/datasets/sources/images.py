"""A user's own images: folders of class folders, or csv lists."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.datasets.catalog import Source, register_dataset
from stt_bench.benchmark.datasets.csv_lists import Columns, check_columns
from stt_bench.benchmark.datasets.folders import Level
from stt_bench.benchmark.datasets.item_rules import WEIGHT
from stt_bench.benchmark.datasets.splits import ROLES, SPLITS, check_parts, taking_part
from stt_bench.benchmark.datasets.stores import FileStore
from stt_bench.benchmark.datasets.understand import Understood, understand
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.names import did_you_mean

TEST_SHARE = 0.2
LEAST_CLASSES = 4
BOXES = ("whole",)
_PARTS = ("train", "validation", "test", "query", "gallery")
_GIVE = (
    "give data.root (a folder CLASS/IMAGE or a csv), or the option items (a csv with a split "
    "column), or the options train and test (or query and gallery)"
)


@register_dataset("images")
def images(
    root: Path | None,
    task: Task,
    *,
    items: str | None = None,
    train: str | None = None,
    validation: str | None = None,
    test: str | None = None,
    query: str | None = None,
    gallery: str | None = None,
    images_root: str | None = None,
    classes: Level | None = None,
    columns: Columns | None = None,
    boxes: str | None = None,
    seed: int = 0,
) -> Source:
    """Your own images, from folders `class/image` or lists (csv, tsv, text, Parquet).

    The split is that of the list's own column, of lists or folders for each part (`train`, `test`
    or `query` and `gallery`, and `validation`), of the folders or lists in the root, or made here:
    retrieval trains on the first half of the sorted classes and tests on the rest; classification
    tests on a fifth of every class, at least one image, drawn with `seed`. Folders of folders are
    classes with `classes: top` and categories of classes with `classes: leaf`. `columns` says what
    the columns of a list are where their names do not: `{path: photo, label: kind}`, by number
    where there is no header. Relative paths of options start at `data.root` where it is given;
    those in a list at `images_root`, else at the list's own folder. With `boxes: whole` the images
    of a list with boxes are taken as they are.
    """
    parts = {
        name: value
        for name, value in zip(_PARTS, (train, validation, test, query, gallery), strict=True)
        if value is not None
    }
    _check_options(items, parts, images_root, classes, boxes, seed)
    check_columns(columns or {})
    start = root or Path()
    base = start / Path(images_root).expanduser() if images_root is not None else None

    def read(source: Path) -> Understood:
        return understand(source, images_root=base, classes=classes, columns=columns, boxes=boxes)

    if parts:
        found = {name: read(start / Path(file).expanduser()) for name, file in parts.items()}
        frame, notes = _joined(found, {name: start / parts[name] for name in parts})
    else:
        if items is None and root is None:
            raise BenchError(f"dataset 'images' has no images: {_GIVE}")
        source = start / Path(items).expanduser() if items is not None else start
        whole = read(source)
        frame, notes = whole.frame, whole.notes
        if "split" not in frame:
            if items is not None:
                raise BenchError(f"{source} has no split column: add it, or give it as data.root")
            frame = frame.assign(split=made_split(frame["label"], task, seed))
        root_too = "" if items is None else ", and give the list as data.root,"
        check_parts(source, frame, task, f", or remove that column{root_too} to have a split made")
    frame, told = taking_part(frame)
    return _source(frame, [*notes, *told])


def _check_options(
    items: str | None,
    parts: Mapping[str, str],
    images_root: str | None,
    classes: str | None,
    boxes: str | None,
    seed: int,
) -> None:
    for name, value in {"items": items, **parts, "images_root": images_root}.items():
        if value is not None and not isinstance(value, str):
            raise BenchError(f"dataset 'images': option {name} is a path, not {value!r}: quote it")
    for name, given, valid in (("classes", classes, get_args(Level)), ("boxes", boxes, BOXES)):
        if given not in (None, *valid):
            raise BenchError(
                f"dataset 'images': option {name} is {given!r}: {did_you_mean(given, valid)}"
            )
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise BenchError(f"dataset 'images': option seed is {seed!r}: give an integer from 0")
    tested = {"test"} & set(parts) or {"query", "gallery"} & set(parts)
    whole = "train" in parts and tested in ({"test"}, {"query", "gallery"})
    one_kind = not ("test" in parts and len(parts.keys() & {"query", "gallery"}))
    if parts and not (items is None and whole and one_kind):
        raise BenchError(f"dataset 'images': the options do not go together: {_GIVE}")


def _joined(
    found: Mapping[str, Understood], sources: Mapping[str, Path]
) -> tuple[pd.DataFrame, list[str]]:
    """Return the items of all parts."""
    frames = []
    for name, part in found.items():
        if "split" in part.frame:
            what = "has folders of splits" if sources[name].is_dir() else "has a split column"
            raise BenchError(f"{sources[name]} {what}: give it as the option items")
        frame = part.frame.assign(split=name if name in SPLITS else "test")
        if name in ROLES:
            frame["role"] = name
        if WEIGHT in frame and name != "train":  # test items have no weights
            frame = frame.drop(columns=WEIGHT)
        frames.append(frame)
    return pd.concat(frames), [note for part in found.values() for note in part.notes]


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
