"""Csv lists: the items of a data set, or the labels of an embedding set, a line each.

The rules are the same for both: what a column is called, which values it may have, and that every
column that is not used is named.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from stt_bench.benchmark.datasets.item_rules import RESERVED, WEIGHT, as_metadata
from stt_bench.benchmark.datasets.list_columns import (
    OWN,
    ByOption,
    NoColumnError,
    asked_for,
    check_first_line,
    is_header,
    is_row,
    no_split_notes,
    places_of,
    written,
)
from stt_bench.benchmark.datasets.split_flags import SPLIT_FLAGS, WORDS, without_flags
from stt_bench.benchmark.datasets.splits import NEITHER, ROLES, SPLITS
from stt_bench.benchmark.datasets.suffixes import is_image
from stt_bench.benchmark.system.csv_table import SHOWN, RawTable, read_table
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.parquet import read_parquet
from stt_bench.benchmark.system.text import one_line
from stt_bench.names import did_you_mean

COLUMNS = OWN
Columns = Mapping[str, str | int]
"""What the user says of a list: `path`, `label` and the like to the name of its column, or to its
number from 1 where there is no header."""
_FLAGS = {word: str(meant).lower() for word, meant in WORDS.items()}
_ROLES = {**ROLES, "both": "both"}


class ItemList(NamedTuple):
    """A list as it was read, and sentences on what was not used of it."""

    frame: pd.DataFrame
    notes: list[str]
    columns: dict[str, str] = {}  # noqa: RUF012  (never written to) what each is called in the file


def read_image_list(file: Path, columns: Columns | None = None) -> ItemList:
    """Return path, label and, where a list has them, split, role and weight; then its metadata.

    Paths are as in the list. A split is `train`, `validation` or `test`.

    Raises:
        BenchError: the file cannot be read, or a value is missing or not valid.
    """
    return read_item_list(
        file,
        known=COLUMNS,
        required=("path", "label"),
        exact=(WEIGHT,),
        headerless={2: ("label", "path")},
        formats="a csv has a header path,label[,split[,role]], or names like them, or no header "
        "and lines class,path; else say which columns these are: "
        + written({} if columns is None else columns, {"path": 1, "label": 2}),
        columns=columns,
    )


def read_item_list(
    file: Path,
    *,
    known: Sequence[str],
    required: Sequence[str],
    exact: Sequence[str] = (),
    headerless: Mapping[int, Sequence[str]],
    formats: str,
    columns: Columns | None = None,
    without: Sequence[str] = (),
) -> ItemList:
    """Return the columns of a csv or Parquet file, a row for each item, counted from 0.

    Those that are not known are kept as metadata, text that may be empty; of a Parquet file not
    those `without` which it is read.

    A split is `train`, `validation` or `test`; a query or gallery is of the split `test`. The flags
    `is_query,is_gallery` become a role, which is `neither` where both are false. A weight is a
    number; empty cells, which only items may have that are not trained on, are NaN.
    """
    columns = {} if columns is None else columns
    check_columns(columns, (*known, *exact))
    if file.suffix.lower() == ".parquet":
        table = _parquet(file, without)
    else:
        table = read_table(file, lambda cells: is_header(cells, columns), is_row, expected=formats)
    if table.names:
        places = places_of(
            file, table, known=known, required=required, exact=exact, columns=columns
        )
    else:
        places = _headerless(file, table, headerless, required, columns, formats)
    frame = table.frame[list(places.values())].set_axis(list(places), axis=1)
    metadata, notes = _metadata(file, table, set(places.values()))
    if not {"split", *SPLIT_FLAGS} & places.keys():
        notes += no_split_notes(file, metadata)
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
        _roles_of_splits(file, frame)
        frame["split"] = _valid(file, frame["split"], SPLITS)
    frame = without_flags(file, frame)
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
    written = {name: table.names[p] if table.names else str(p + 1) for name, p in places.items()}
    return ItemList(pd.concat([frame, metadata], axis=1).reset_index(drop=True), notes, written)


def check_columns(columns: object, known: Sequence[str] = (*COLUMNS, WEIGHT)) -> None:
    """Raise where what the user says of the columns is no mapping of known names."""
    said = "--columns" if isinstance(columns, ByOption) else "columns"
    if not isinstance(columns, Mapping):
        raise BenchError(f"columns is {columns!r}: write it as {{path: NAME, label: NAME}}")
    for column, name in columns.items():
        if column not in known:
            raise BenchError(f"{said}: '{column}' is unknown: {did_you_mean(column, known)}")
        if isinstance(name, bool) or not isinstance(name, str | int):
            raise BenchError(f"columns: {column} is {name!r}: give the name of a column")


def _parquet(file: Path, without: Sequence[str]) -> RawTable:
    frame = read_parquet(file)
    frame = frame[[name for name in frame if str(name) not in without]]
    if not len(frame):
        raise BenchError(f"{file} has no rows: add one for every item")
    for name in frame:
        if isinstance(frame[name].iloc[0], dict | bytes):
            raise BenchError(
                f"{file}: the column {name} holds images themselves: save them as files, and list "
                "their paths"
            )
    names = [str(name) for name in frame]
    cells = frame.set_axis(range(len(names)), axis=1).apply(as_metadata)
    return RawTable(names, cells.set_axis(pd.RangeIndex(1, len(cells) + 1), axis=0), 0)


def _headerless(
    file: Path,
    table: RawTable,
    headerless: Mapping[int, Sequence[str]],
    required: Sequence[str],
    columns: Columns,
    formats: str,
) -> dict[str, int]:
    """Return which column of a table without a header is what."""
    if columns:
        places = asked_for(file, table, columns)
        for column in required:
            if column not in places:
                raise BenchError(
                    f"{file} has no header: give the number of the {column}, too, from 1, by "
                    f"{written(columns, {column: 'NUMBER'})}"
                )
        return places
    width = table.frame.shape[1]
    if width not in headerless:
        shown = ",".join(table.frame.iloc[0])[:SHOWN]
        raise NoColumnError(
            f"{file}:{table.line}: '{shown}' is not the first line of such a list: {formats}", ""
        )
    names = list(headerless[width])
    if width == 2 and "path" in names:
        images = [bool(table.frame[place].map(is_image).all()) for place in (0, 1)]
        if sum(images) == 1:
            names = ["path", "label"] if images[0] else ["label", "path"]
        check_first_line(file, table, columns)
    return {name: place for place, name in enumerate(names)}


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


def _metadata(file: Path, table: RawTable, used: set[int]) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns that are kept beside the known ones, and what is told of them."""
    free = [place for place, name in enumerate(table.names) if name and place not in used]
    counts = Counter(table.names[place] for place in free)
    kept = {place: table.names[place] for place in free if counts[table.names[place]] == 1}
    names = {place: _free_name(name) for place, name in kept.items()}
    notes = []
    if names:
        what = "column is" if len(names) == 1 else "columns are"
        shown = ", ".join(one_line(name, 40) for name in names.values())
        notes.append(f"{file}: further {what} kept as metadata: {shown}")
    if twice := [name for name in counts if counts[name] > 1]:
        shown = ", ".join(one_line(name, 40) for name in twice)
        notes.append(f"{file}: not used, since they are there twice: {shown}")
    frame = table.frame[list(names)].apply(as_metadata).set_axis(list(names.values()), axis=1)
    return frame, notes


def _free_name(name: str) -> str:
    """Return the name of a metadata column; those of the item table are taken."""
    return f"{name}_" if name in RESERVED else name


def _roles_of_splits(file: Path, frame: pd.DataFrame) -> None:
    """Let the splits query and gallery be roles of test items."""
    roles = frame["split"].str.lower().map(ROLES)
    if not roles.notna().any():
        return
    if {"role", "is_query", "is_gallery"} & set(frame):
        raise BenchError(
            f"{file}: its column split has query or gallery, and there is a column of roles: leave "
            "one of the two"
        )
    others = frame["split"].str.lower().map(SPLITS)
    if (others == "test").any():
        raise BenchError(
            f"{file}: its column split has test items beside query or gallery: name each of them "
            "query or gallery"
        )
    frame["role"] = roles.fillna("both")
    frame["split"] = frame["split"].mask(roles.notna(), "test")


def _valid(file: Path, cells: pd.Series, words: Mapping[str, str]) -> pd.Series:
    """Return what the words of a column mean; capitals do not count."""
    meant = cells.str.lower().map(words)
    wrong = cells[meant.isna()]
    if len(wrong):
        word = one_line(wrong.iloc[0], 60)
        hint = did_you_mean(word, set(words.values()))
        raise BenchError(f"{file}:{wrong.index[0]}: {cells.name} '{word}' is not valid: {hint}")
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
