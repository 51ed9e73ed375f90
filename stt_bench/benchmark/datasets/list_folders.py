"""Folders with the lists of their images in them: `train.csv` and `test.csv`, or one of all."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pandas as pd

from stt_bench.benchmark.datasets.folders import WHOLE, WORDS, folders_in, word_of
from stt_bench.benchmark.system.errors import BenchError

SUFFIXES = (".csv", ".tsv", ".parquet", ".txt")
_WHOLE_NAMES = {"metadata", "labels", "items", "annotations", "list", "data", "index", "dataset"}
_BESIDE = _WHOLE_NAMES | {"set", "split", "images", "image", "img", "imgs", "info", "label", "df"}


def split_lists(folder: Path) -> dict[str, Path]:
    """Return the lists of the splits and roles in a folder, such as `list_query.txt`; or none.

    Raises:
        BenchError: a split has two lists.
    """
    found: dict[str, Path] = {}
    for file in _lists(folder) or _inner_lists(folder):
        stem = file.stem if file.parent == folder else file.parent.name
        tokens = [one for one in re.split(r"[\W\d_]+", stem.lower()) if one]
        words = [one for one in tokens if one not in _BESIDE]
        word = WORDS.get(words[0]) if len(words) == 1 else None
        if word is None:
            continue
        if word in found:
            raise BenchError(
                f"{folder} has two lists of one split, {found[word].name} and {file.name}: give "
                "those that are meant as the options train and test"
            )
        found[word] = file
    order = ["train", "validation", "test", "query", "gallery"]
    found = {word: found[word] for word in order if word in found}
    return found if set(found) in (*WHOLE, {"train"}) else {}


def whole_list(folder: Path) -> Path | None:
    """Return the list of all images in a folder, by its name (`metadata.csv`, `labels.csv`).

    Raises:
        BenchError: there are several.
    """
    named = [file for file in _lists(folder) if file.stem.lower() in _WHOLE_NAMES]
    named = [file for file in named if file.suffix.lower() != ".txt"]
    if len(named) > 1:
        raise BenchError(
            f"{folder} has several lists, {', '.join(file.name for file in named[:5])}: give the "
            "one that is meant as data.root"
        )
    return named[0] if named else None


def check_agreement(file: Path, listed: pd.DataFrame, folder: Path, read: pd.DataFrame) -> None:
    """Raise where a list and the folders of its images say different things.

    Classes may be called otherwise, and validation items may lie in the folder of training.

    Args:
        file: the list, for messages.
        listed: its items: absolute path, label and perhaps split.
        folder: whose folders were read.
        read: path (relative to it), label and perhaps split, as the folders tell them.
    """
    other = read.assign(path=[os.path.abspath(folder / path) for path in read["path"]])
    both = listed.merge(other, on="path", suffixes=("", "_read"))
    both = both.replace({"split": "validation", "split_read": "validation"}, "train")
    for column in ("label", "split"):
        if column not in listed or column not in read or both.empty:
            continue
        alike = both.groupby(column)[f"{column}_read"].nunique()
        reverse = both.groupby(f"{column}_read")[column].nunique()
        differs = both[both[column] != both[f"{column}_read"]]
        same = (alike <= 1).all() and (reverse <= 1).all() if column == "label" else differs.empty
        if same:
            continue
        odd = alike[alike > 1].index
        one = both[both[column] == odd[0]] if column == "label" and len(odd) else differs
        row = one.iloc[0]
        what = "class" if column == "label" else "split"
        by_folder = row[f"{column}_read"]
        raise BenchError(
            f"{file.name} and the folders in {folder} disagree: {os.path.basename(row['path'])} "
            f"has the {what} '{row[column]}' there, '{by_folder}' by its folder; "
            f"give {file} as data.root, or read the folders by the option classes: top (or leaf)"
        )


def _inner_lists(folder: Path) -> list[Path]:
    """Return the lists in the folders of splits: `train/metadata.csv`."""
    inner = [whole_list(one) for one in folders_in(folder) if word_of(one.name)]
    return [file for file in inner if file is not None]


def _lists(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [
        folder / name
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        if (folder / name).is_file()
    ]
