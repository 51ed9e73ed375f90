"""Arrays of embeddings in HDF5 files, as tf_retrieval_baseline stores them: the dataset ``emb``."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import h5py
import numpy as np

from stt_bench.benchmark.system.arrays import check_shape, checked_array
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.kinds import instead

SUFFIXES = (".h5", ".hdf5")
EMBEDDINGS = "emb"
_SLICE = 64 << 20  # bytes that are unpacked at once


def read_hdf5(path: Path, name: str = EMBEDDINGS) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the (N, D) embeddings of a file and, where it has them, the ids of their items.

    They may be larger than the memory: an array that lies in the file in one piece is opened in
    place; one in chunks is unpacked into a temporary file, a slice at a time.

    Raises:
        BenchError: the file is missing, not HDF5, has no numbers (N, D) of that name, or there is
            no room to unpack them.
    """
    if not path.exists():
        raise BenchError(f"{path}: there is no such file")
    try:
        with h5py.File(path, "r") as file:
            if not isinstance(file.get(name), h5py.Dataset):
                keys = ", ".join(file) or "nothing"
                raise BenchError(
                    f"{path}: has no dataset '{name}', it has {keys}: rename the one of the "
                    "vectors, or name it as array"
                )
            embeddings, ids = _numbers(path, file[name]), file.get("ids")
            if not (isinstance(ids, h5py.Dataset) and h5py.check_string_dtype(ids.dtype)):
                return embeddings, None
            if ids.shape != embeddings.shape[:1]:
                return embeddings, None
            return embeddings, np.asarray(ids.asstr()[()]).astype(str)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, MemoryError) as error:
        told = f"{path}: cannot be read as HDF5 embeddings{instead(path)} ({error})"
        raise BenchError(told) from None


def _numbers(path: Path, dataset: h5py.Dataset) -> np.ndarray:
    check_shape(path, dataset.shape or (), dataset.dtype)
    offset = dataset.id.get_offset()
    if offset is not None and not dataset.external and dataset.dtype.isnative:
        return np.memmap(path, dataset.dtype, "r", offset, dataset.shape)
    if dataset.nbytes <= _SLICE:
        return checked_array(path, dataset[()])
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if dataset.nbytes > free:
        raise BenchError(
            f"{path}: emb, {dataset.nbytes / 2**30:,.1f} GiB in chunks, is unpacked into "
            f"{tempfile.gettempdir()}, which has {free / 2**30:,.1f} GiB free: write it without "
            "chunks and compression, or as .npy, or set TMPDIR to a larger disk"
        )
    rows = max(1, _SLICE * len(dataset) // dataset.nbytes)
    with tempfile.TemporaryFile() as stream:
        copy = np.memmap(stream, dataset.dtype.newbyteorder("="), "w+", shape=dataset.shape)
        for start in range(0, len(dataset), rows):
            copy[start : start + rows] = dataset[start : start + rows]
    return copy
