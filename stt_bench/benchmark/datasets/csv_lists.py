"""Csv lists: the items of a data set, or the labels of an embedding set, a line each.

The rules are the same for both: what a column is called, which values it may have, and that every
column that is not used is named.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from stt_bench.benchmark.datasets.item_rules import WEIGHT
from stt_bench.benchmark.datasets.splits import NEITHER, ROLES, SPLITS
from stt_bench.benchmark.datasets.suffixes import is_image
from stt_bench.benchmark.system.csv_table import read_csv
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.names import did_you_mean

COLUMNS = ("path", "label", "split", "role", "is_query", "is_gallery")
ALIASES = {
    **dict.fromkeys(("file_name", "filename", "clip"), "path"),
    "class": "label",
}
_FLAGS = {
    **dict.fromkeys(("true", "1", "1.0", "yes"), "true"),
    **dict.fromkeys(("false", "0", "0.0", "no"), "false"),
}
_ROLES = {**ROLES, "both": "both"}


class ItemList(NamedTuple):
    """A list as it was read, and sentences on what was not used of it."""

    frame: pd.DataFrame
    notes: list[str]


def read_image_list(file: Path) -> ItemList:
    """Return the columns path, label and, where a csv has them, split, role and weight.

    Paths are as in the csv. A split is `train`, `validation` or `test`.

    Raises:
        BenchError: the file cannot be read, or a value is missing or not valid.
    """
    return read_item_list(
        file,
        known=COLUMNS,
        required=("path", "label"),
        exact=(WEIGHT,),
        headerless={2: ("label", "path")},
        formats="a csv has a header path,label,split[,role], a header ,label,file_name, "
        "or no header and lines class,path",
    )


def read_item_list(
    file: Path,
    *,
    known: Sequence[str],
    required: Sequence[str],
    exact: Sequence[str] = (),
    headerless: Mapping[int, Sequence[str]],
    formats: str,
) -> ItemList:
    """Return the known columns that a csv has, a row for each item, counted from 0.

    A split is `train`, `validation` or `test`. The flags `is_query,is_gallery` become a role, which
    is `neither` where both are false. A weight is a number; empty cells, which only items may have
    that are not trained on, are NaN.
    """
    frame, unknown = read_csv(
        file,
        known,
        required=required,
        exact=exact,
        aliases=ALIASES,
        headerless=headerless,
        formats=formats,
    )
    notes = [_unused(file, unknown)] if unknown else []
    for column in ("id", "path", "label"):
        if column not in frame:
            continue
        empty = frame.index[frame[column] == ""]
        if len(empty):
            raise BenchError(
                f"{file}:{empty[0]}: the {column} is empty ({len(empty)} such): fill it in or "
                "delete the line"
            )
    if "label" in frame:
        frame["label"] = frame["label"].map(label_of)
    if {"path", "label"} <= set(frame):
        _check_order(file, frame)
    if "split" in frame:
        frame["split"] = _valid(file, frame["split"], SPLITS)
    trains = frame["split"] == "train" if "split" in frame else pd.Series(False, frame.index)
    if {"is_query", "is_gallery"} & set(frame):
        frame["role"] = _roles_of_flags(file, frame, trains)
        frame = frame.drop(columns=["is_query", "is_gallery"])
    elif "role" in frame:
        roles = frame["role"].mask(trains & (frame["role"] == ""), "both")
        frame["role"] = _valid(file, roles, _ROLES)
    if WEIGHT in frame:
        optional = ~trains if "split" in frame else trains
        frame[WEIGHT] = _weights(file, frame[WEIGHT], optional)
    return ItemList(frame.reset_index(drop=True), notes)


def label_of(name: str) -> str:
    """Return a class name with its accents as single characters: é, written as two, is the same."""
    return unicodedata.normalize("NFC", name)


def _check_order(file: Path, frame: pd.DataFrame) -> None:
    """Refuse a list whose columns are swapped, as one without a header may be."""
    path, label = frame["path"].iloc[-1], frame["label"].iloc[-1]
    if is_image(label) and not is_image(path):
        raise BenchError(
            f"{file}:{frame.index[-1]}: the path is '{path}' and the class '{label}', an image: "
            "name the columns in a header path,label"
        )


def _unused(file: Path, columns: Sequence[str]) -> str:
    what = "column" if len(columns) == 1 else "columns"
    return (
        f"{file}: the {what} {', '.join(columns)} {'is' if len(columns) == 1 else 'are'} not used"
    )


def _valid(file: Path, cells: pd.Series, words: Mapping[str, str]) -> pd.Series:
    """Return what the words of a column mean; capitals do not count."""
    meant = cells.str.lower().map(words)
    wrong = cells[meant.isna()]
    if len(wrong):
        hint = did_you_mean(wrong.iloc[0], set(words.values()))
        raise BenchError(
            f"{file}:{wrong.index[0]}: {cells.name} '{wrong.iloc[0]}' is not valid: {hint}"
        )
    return meant


def _weights(file: Path, cells: pd.Series, optional: pd.Series) -> pd.Series:
    """Return the numbers from 0 that the cells hold; NaN for one that is empty and may be."""
    numbers = pd.to_numeric(cells, errors="coerce").astype(float)
    sound = (numbers >= 0) & (numbers < math.inf)
    wrong = cells[~(sound | ((cells == "") & optional))]
    if len(wrong):
        raise BenchError(
            f"{file}:{wrong.index[0]}: weight '{wrong.iloc[0]}' is not valid: give a number from 0 "
            "(the column says how much each training item counts), or rename the column"
        )
    return numbers


def _roles_of_flags(file: Path, frame: pd.DataFrame, trains: pd.Series) -> np.ndarray:
    """Make a role of the two flags; those of a train item may be empty."""
    if "role" in frame or not {"is_query", "is_gallery"} <= set(frame):
        raise BenchError(
            f"{file}: the header needs the columns is_query and is_gallery together, without a "
            "role, or the column role alone"
        )
    query, gallery = (
        _valid(file, frame[name].mask(trains & (frame[name] == ""), "false"), _FLAGS) == "true"
        for name in ("is_query", "is_gallery")
    )
    both = (query & gallery) | (trains & ~query & ~gallery)
    return np.select([both, query, gallery], ["both", "query", "gallery"], NEITHER)
