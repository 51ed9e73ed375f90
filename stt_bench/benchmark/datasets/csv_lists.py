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

from stt_bench.benchmark.datasets.item_rules import RESERVED, WEIGHT, as_metadata
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
    """Return the columns of a csv, a row for each item, counted from 0.

    Those that are not known are kept as metadata, text that may be empty.

    A split is `train`, `validation` or `test`. The flags `is_query,is_gallery` become a role, which
    is `neither` where both are false. A weight is a number; empty cells, which only items may have
    that are not trained on, are NaN.
    """
    frame, others, twice = read_csv(
        file,
        known,
        required=required,
        exact=exact,
        aliases=ALIASES,
        headerless=headerless,
        formats=formats,
    )
    metadata, notes = _metadata(file, others, twice)
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
    return ItemList(pd.concat([frame, metadata], axis=1).reset_index(drop=True), notes)


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


def _metadata(
    file: Path, others: pd.DataFrame, twice: Sequence[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns that are kept beside the known ones, and what is told of them."""
    names = {name: f"{name}_" if name in RESERVED else name for name in map(str, others)}
    kept = others.apply(as_metadata).rename(columns=names)
    notes = []
    if len(names):
        what = "column is" if len(names) == 1 else "columns are"
        notes.append(f"{file}: further {what} kept as metadata: {', '.join(names.values())}")
    if twice:
        notes.append(f"{file}: not used, since they are there twice: {', '.join(twice)}")
    return kept, notes


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
