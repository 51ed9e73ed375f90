"""Anybody's vectors, with a csv of their labels and splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.datasets.catalog import Source, register_dataset
from stt_bench.benchmark.datasets.csv_lists import COLUMNS, Columns, read_item_list
from stt_bench.benchmark.datasets.item_rules import WEIGHT
from stt_bench.benchmark.datasets.splits import check_parts, taking_part
from stt_bench.benchmark.datasets.vectors import VectorStore, read_vectors
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.text import one_line

_COLUMNS = "label and split (and, if wanted, id, role, group, weight, row)"
_DIGITS = 18  # of a row's number


@register_dataset("features")
def features(
    root: Path | None,
    task: Task,
    *,
    items: str | None = None,
    array: str | None = None,
    columns: Columns | None = None,
) -> Source:
    """Your own vectors, as `backbone: identity` takes them: X.npy, X.h5 or X.parquet, and a csv.

    `data.root` is the file of the vectors. `items` is a csv beside it with a header: `label`,
    `split` (or `is_train`), and if wanted `id` (or `path`), `role` (or `is_query,is_gallery`),
    `group` and `weight` (how much a training item counts); its row i is vector i, or vector `row`
    where it has that column (from 0; then vectors may be left out).
    `array` names the dataset of an HDF5 file (`emb`), or the column of lists of a Parquet file.
    `columns` says what the columns of the csv are where their names do not: `{label: kind}`.
    """
    for name, value in (("items", items), ("array", array)):
        if value is not None and not isinstance(value, str):
            raise BenchError(f"dataset 'features': option {name} is a name, not {value!r}")
    if root is None or items is None:
        missing = "data.root, the file of the vectors" if root is None else "the option items"
        raise BenchError(
            f"dataset 'features' needs {missing}: data: {{name: features, root: X.npy, "
            "options: {items: items.csv}}"
        )
    if root.is_dir():
        raise BenchError(f"{root} is a folder: name the .npy, .h5 or .parquet file in it")
    csv = root.parent / Path(items).expanduser()
    listed, vectors, notes = labelled_vectors(root, csv, array, columns=columns)
    check_parts(csv, listed, task)
    frame, told = taking_part(listed)
    places = dict(zip(frame["path"], frame["vector"].tolist(), strict=True))
    left = len(vectors) - len(listed)
    if left:
        told.append(f"{left} of {len(vectors)} vectors are not used: no row names them")
    frame = frame.drop(columns=["vector", "row"], errors="ignore")
    return Source(frame, VectorStore(root, vectors, places), (*notes, *told))


class LabelledVectors(NamedTuple):
    """The items of a csv with the column vector, the row of each in the vectors; and notes."""

    frame: pd.DataFrame
    vectors: np.ndarray
    notes: list[str]


def labelled_vectors(
    root: Path,
    csv: Path,
    array: str | None,
    *,
    required: Sequence[str] = ("label", "split"),
    columns: Columns | None = None,
) -> LabelledVectors:
    """Read a file of vectors and the csv of its items.

    Raises:
        BenchError: one of the two cannot be read, lacks a required column, or does not fit the
            other.
    """
    vectors, ids, own, others = read_vectors(root, array)
    one_file = csv.resolve() == root.resolve()
    listed, notes, _ = read_item_list(
        csv,
        known=("row", "id", *COLUMNS, "group"),
        required=required,
        exact=(WEIGHT,),
        headerless={} if "split" in required else {1: ("label",)},
        formats=f"the csv of the vectors has a header with {_COLUMNS}",
        columns=columns,
        without=own if one_file else (),
    )
    if others and not one_file:
        shown = ", ".join(one_line(name, 40) for name in others[:5])
        notes.append(f"{root}: no part of the vectors: {shown}{', …' if others[5:] else ''}")
    rows = _rows(csv, listed, root, len(vectors))
    names = next((listed[name] for name in ("id", "path") if name in listed), None)
    if ids is not None and names is not None and (ids[rows] != names.to_numpy(str)).any():
        at = int((ids[rows] != names.to_numpy(str)).argmax())
        raise BenchError(
            f"{csv}: item {at + 1} is {names.iloc[at]}, and {ids[rows[at]]} in {root}: sort the "
            "csv, or add the column row"
        )
    listed["path"] = np.char.mod("%07d", rows) if names is None else names
    if listed["path"].duplicated().any():
        twice = listed.loc[listed["path"].duplicated(), "path"].iloc[0]
        raise BenchError(f"{csv}: the id {twice} is there twice: give every item its own")
    return LabelledVectors(
        listed.assign(role=listed.get("role", "both"), vector=rows), vectors, notes
    )


def _rows(csv: Path, listed: pd.DataFrame, root: Path, count: int) -> np.ndarray:
    """Return for each item which vector is its own."""
    if "row" not in listed:
        if len(listed) != count:
            raise BenchError(
                f"{csv} has {len(listed)} items and {root} {count} vectors: row i of the one is "
                "vector i of the other; else give the csv a column row"
            )
        return np.arange(count)
    for at, cell in enumerate(listed["row"]):
        if not (cell.isdecimal() and len(cell) <= _DIGITS and int(cell) < count):
            raise BenchError(
                f"{csv}: item {at + 1} has the row '{cell[:40]}': give one from 0 to {count - 1}"
            )
    rows = listed["row"].astype(int)
    if rows.duplicated().any():
        raise BenchError(
            f"{csv}: row {rows[rows.duplicated()].iloc[0]} is there twice: name each vector once"
        )
    return rows.to_numpy()
