"""Vectors in place of images: anybody's, one a row of a file."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from stt_bench.benchmark.datasets.list_columns import is_known, is_row
from stt_bench.benchmark.datasets.stores import Contents
from stt_bench.benchmark.datasets.threads import Progress
from stt_bench.benchmark.system import hdf5
from stt_bench.benchmark.system.arrays import check_shape, read_array
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.parquet import read_parquet

SUFFIXES = (".npy", *hdf5.SUFFIXES, ".parquet")
_BLOCK = 4096  # rows


@dataclass(frozen=True)
class VectorStore:
    """The rows of an (N, D) array by the paths of an item table."""

    file: Path
    vectors: np.ndarray
    rows: Mapping[str, int]
    arrays: None = None

    @property
    def width(self) -> int:
        """Return D."""
        return int(self.vectors.shape[1])

    def read(self, path: str) -> Image.Image:
        """Refuse: there are no images."""
        raise BenchError(f"{self.file} holds vectors: there is no image of {path} to look at")

    def contents(self, paths: Sequence[str], progress: Progress | None = None) -> Contents:
        """Return the sha256 of each vector, in the type that it has in the file.

        Raises:
            BenchError: a value is no number that float32 can hold.
        """
        head = f"{self.vectors.dtype.str} {self.width} ".encode()
        identity: list[bytes] = []
        bad, first = 0, ""
        for start in range(0, len(paths), _BLOCK):
            some = paths[start : start + _BLOCK]
            block = np.ascontiguousarray(self.vectors[[self.rows[path] for path in some]])
            with np.errstate(over="ignore"):
                sound = np.isfinite(block.astype(np.float32)).all(axis=1)
            if not sound.all():
                at = int(np.argmin(sound))
                row, vector = self.rows[some[at]], block[at]
                value = vector[~(np.abs(vector) <= np.finfo(np.float32).max)][0]
                bad += int(np.count_nonzero(~sound))
                first = first or f"row {row + 1:,}, X[{row}] in NumPy, with {value}"
            identity += [hashlib.sha256(head + vector.tobytes()).digest() for vector in block]
            if progress is not None:
                progress(len(identity), len(paths))
        if bad:
            raise BenchError(
                f"{self.file}: values are no float32 numbers in {bad:,} of {len(paths):,} rows, "
                f"the first is {first}: compute such rows anew, or leave their items out of the csv"
            )
        return Contents(identity)


class Vectors(NamedTuple):
    """What a file of vectors holds.

    Attributes:
        array: (N, D) numbers.
        ids: The names of the items, where the file has them.
        columns: Of a Parquet file, those that the vectors are.
        others: Of a Parquet file, those of numbers that are no part of them.
    """

    array: np.ndarray
    ids: np.ndarray | None = None
    columns: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def read_vectors(file: Path, name: str | None) -> Vectors:
    """Return what a file of vectors holds.

    Args:
        file: ``.npy``; ``.h5`` or ``.hdf5``; or ``.parquet`` with one column of lists, or with
            columns of numbers (see `vector_columns`).
        name: of the dataset in an HDF5 file, or of the column of lists.

    Raises:
        BenchError: the file is missing, or holds anything else.
    """
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise BenchError(f"{file}: vectors are read from {', '.join(SUFFIXES)}: save it as one")
    if suffix in hdf5.SUFFIXES:
        return Vectors(*hdf5.read_hdf5(file, name or hdf5.EMBEDDINGS))
    if suffix == ".parquet":
        return _parquet(file, name)
    if name is not None:
        raise BenchError(f"{file}: holds one array: leave out the name of it, array")
    return Vectors(read_array(file))


def holds_vectors(file: Path) -> bool:
    """Tell whether a Parquet file is one of vectors alone; else it may be a list of images."""
    frame = read_parquet(file)
    if len(frame) and is_row([str(cell) for cell in frame.iloc[0]]):
        return False
    return bool(_lists(frame)) or len(vector_columns(frame)) > max(1, frame.shape[1] // 2)


def vector_columns(frame: pd.DataFrame) -> list[Hashable]:
    """Return the columns of numbers that are a vector together.

    Where most are numbered alike (`e0`, `e1`, …) only these are, else all but those that say what
    an item is, such as its label.
    """
    numbers = [name for name in frame.select_dtypes("number") if not is_known(str(name))]
    stems = [re.sub(r"\d+$", "", str(name)) for name in numbers]
    stem, count = Counter(stems).most_common(1)[0] if stems else ("", 0)
    if 2 * count <= len(numbers):
        return numbers
    return [name for name, own in zip(numbers, stems, strict=True) if own == stem]


def _lists(frame: pd.DataFrame) -> list[Hashable]:
    return [c for c in frame if len(frame) and isinstance(frame[c].iloc[0], list | np.ndarray)]


def _parquet(file: Path, name: str | None) -> Vectors:
    frame = read_parquet(file)
    if name is not None and name not in frame:
        raise BenchError(f"{file}: has no column '{name}', it has {', '.join(map(str, frame))}")
    lists, others = _lists(frame), list[Hashable]()
    if name is not None or len(lists) == 1:
        columns = [lists[0] if name is None else name]
        array = _stacked(file, frame, columns[0])
    elif lists:
        raise BenchError(
            f"{file}: {', '.join(map(str, lists))} are columns of lists: name one as array"
        )
    else:
        columns = vector_columns(frame)
        array = frame[columns].to_numpy()
        others = [one for one in frame.select_dtypes("number") if one not in columns]
    check_shape(file, array.shape, array.dtype)
    return Vectors(array, None, tuple(map(str, columns)), tuple(map(str, others)))


def _stacked(file: Path, frame: pd.DataFrame, column: Hashable) -> np.ndarray:
    try:
        lengths = [np.size(row) for row in frame[column]]
    except ValueError:
        raise BenchError(
            f"{file}: the column '{column}' holds lists of lists: one list of numbers a row is "
            "expected"
        ) from None
    for row, length in enumerate(lengths):
        if length != lengths[0]:
            raise BenchError(
                f"{file}: row {row} (from 0) of the column '{column}' has {length} values, "
                f"the first has {lengths[0]}: all vectors need the same length"
            )
    return np.array([*frame[column]])
