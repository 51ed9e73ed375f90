"""Images of no dataset, only to be embedded: a folder of any depth, or a csv list."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pandas as pd

from stt_bench.benchmark.datasets.csv_lists import Columns
from stt_bench.benchmark.datasets.folders import images_below, read_folder, skipped_note
from stt_bench.benchmark.datasets.item_rules import WEIGHT
from stt_bench.benchmark.datasets.items import ItemTable, item_table
from stt_bench.benchmark.datasets.splits import NEITHER
from stt_bench.benchmark.datasets.stores import FileStore
from stt_bench.benchmark.datasets.suffixes import suffixes_in_words
from stt_bench.benchmark.datasets.understand import understand
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.text import counted


def loose_images(source: Path, columns: Columns | None = None) -> ItemTable:
    """Return all images below a folder, or those of a csv list, with their labels.

    The labels of a folder are its class folders, as a data set has them; they are empty where the
    images lie otherwise, which is told. `columns` says what the columns of a list are.

    They form one split, `test`. Paths are relative to the folder, or as in the csv, where they
    start at the csv's own folder.

    Raises:
        BenchError: there are no images, a listed one does not exist or is listed twice.
    """
    if not source.exists():
        raise BenchError(f"{source} does not exist: name a folder of images, or a csv list of them")
    if source.is_dir():
        if columns:
            raise BenchError(f"{source} is a folder: --columns goes with a csv list")
        skipped: Counter[str] = Counter()
        found = images_below(source, skipped)
        paths = [Path(path).relative_to(source).as_posix() for path in found]
        notes = skipped_note(source, skipped)
        if not paths:
            raise BenchError(f"{source} holds no images ({suffixes_in_words()})")
        labels, told = _labels_of_folders(source)
        frame = pd.DataFrame({"path": paths, "label": [labels.get(path, "") for path in paths]})
        notes, root = [*notes, told], source
    else:
        listed = understand(source, columns=columns)
        frame, notes, root = listed.frame, listed.notes, source.parent
        start = os.path.abspath(root)
        below = frame["path"].str.startswith(start + os.sep)
        relative = [
            os.path.relpath(path, start) if own else path
            for path, own in zip(frame["path"], below, strict=True)
        ]
        frame = frame.assign(path=relative)
        neither = frame["role"] == NEITHER
        if neither.any():
            count = counted(int(neither.sum()), "item")
            notes.append(f"{source}: {count} neither query nor gallery, embedded all the same")
            frame["role"] = frame["role"].mask(neither, "both")
        if "split" in frame:
            notes.append(f"{source}: the column split is not used: all images are embedded")
        if WEIGHT in frame:
            notes.append(f"{source}: the column weight is not used: nothing is trained")
            frame = frame.drop(columns=WEIGHT)
    repeated = frame.loc[frame.duplicated("path"), "path"]
    if len(repeated):
        raise BenchError(f"{source}: {repeated.iloc[0]} is listed twice: list every image once")
    frame = frame.assign(split="test", role=frame.get("role", "both"))
    return item_table("loose", frame, FileStore(root), tuple(notes))


def _labels_of_folders(source: Path) -> tuple[dict[str, str], str]:
    """Return the classes of the images by their paths, where they lie in class folders."""
    try:
        found = read_folder(source).frame
    except BenchError:
        return {}, (
            f"{source}: the labels are empty, since not all its images lie in class folders: "
            "give a csv path,label to have some"
        )
    labels = dict(zip(found["path"], found["label"], strict=True))
    classes = counted(found["label"].nunique(), "class folder")
    return labels, f"{source}: the labels are the names of {classes}"
