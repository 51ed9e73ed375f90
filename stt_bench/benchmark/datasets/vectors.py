"""Vectors in place of images: anybody's, one a row of a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

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
        for start in range(0, len(paths), _BLOCK):
            some = paths[start : start + _BLOCK]
            block = np.ascontiguousarray(self.vectors[[self.rows[path] for path in some]])
            with np.errstate(over="ignore"):
                sound = np.isfinite(block.astype(np.float32)).all(axis=1)
            if not sound.all():
                at = int(np.argmin(sound))
                row, vector = self.rows[some[at]], block[at]
                value = vector[~(np.abs(vector) <= np.finfo(np.float32).max)][0]
                raise BenchError(
                    f"{self.file}: row {row} (from 0) holds {value}, which is no float32 number: "
                    "mend it, or leave its item out of the csv"
                )
            identity += [hashlib.sha256(head + vector.tobytes()).digest() for vector in block]
            if progress is not None:
                progress(len(identity), len(paths))
        return Contents(identity)


def read_vectors(file: Path, name: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the (N, D) vectors of a file and, where it has them, the ids of its items.

    Args:
        file: ``.npy``; ``.h5`` or ``.hdf5``; or ``.parquet`` with one column of lists, or with
            columns of numbers (columns of text beside them are passed over).
        name: of the dataset in an HDF5 file, or of the column of lists.

    Raises:
        BenchError: the file is missing, or holds anything else.
    """
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise BenchError(f"{file}: vectors are read from {', '.join(SUFFIXES)}: save it as one")
    if suffix in hdf5.SUFFIXES:
        return hdf5.read_hdf5(file, name or hdf5.EMBEDDINGS)
    if suffix == ".parquet":
        return _parquet(file, name), None
    if name is not None:
        raise BenchError(f"{file}: holds one array: leave out the option array")
    return read_array(file), None


def _parquet(file: Path, name: str | None) -> np.ndarray:
    frame = read_parquet(file)
    if name is not None and name not in frame:
        raise BenchError(f"{file}: has no column '{name}', it has {', '.join(map(str, frame))}")
    lists = [c for c in frame if len(frame) and isinstance(frame[c].iloc[0], list | np.ndarray)]
    if name is not None or len(lists) == 1:
        column = lists[0] if name is None else name
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
        array = np.array([*frame[column]])
    elif lists:
        raise BenchError(
            f"{file}: {', '.join(map(str, lists))} are columns of lists: name one as option array"
        )
    else:
        array = frame.select_dtypes("number").to_numpy()
    check_shape(file, array.shape, array.dtype)
    return array
