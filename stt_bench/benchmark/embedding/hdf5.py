"""Embeddings as the TensorFlow system tf_retrieval_baseline stores them.

``X.h5`` holds the dataset ``emb`` (N × D float32) in the row order of a csv without a header,
``class,path``. Its ``emb_aug`` and ``augmentation_types``, the views before they were averaged, are
not read. What is written here holds the paths too (``ids``), so that the order can be checked.
"""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
from pathlib import Path

import h5py
import numpy as np

from stt_bench.benchmark.datasets import Split
from stt_bench.benchmark.store.embedding_set import read_embedding_set
from stt_bench.benchmark.store.runs import open_run
from stt_bench.benchmark.system.arrays import check_shape, checked_array
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import write_atomically, write_text
from stt_bench.benchmark.system.outputs import check_output
from stt_bench.benchmark.system.progress import Reporter

SUFFIXES = (".h5", ".hdf5")
_SLICE = 64 << 20  # bytes that are unpacked at once


def read_hdf5(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the (N, D) embeddings of a file and, where it has them, the ids of their items.

    They may be larger than the memory: an array that lies in the file in one piece is opened in
    place; one in chunks is unpacked into a temporary file, a slice at a time.

    Raises:
        BenchError: the file is missing, not HDF5, has no numbers (N, D) under ``emb``, or there is
            no room to unpack them.
    """
    if not path.exists():
        raise BenchError(f"{path}: there is no such file")
    try:
        with h5py.File(path, "r") as file:
            if not isinstance(file.get("emb"), h5py.Dataset):
                keys = ", ".join(file) or "nothing"
                raise BenchError(f"{path}: has no dataset 'emb', it has {keys}: rename its array")
            embeddings, ids = _numbers(path, file["emb"]), file.get("ids")
            if not (isinstance(ids, h5py.Dataset) and h5py.check_string_dtype(ids.dtype)):
                return embeddings, None
            if ids.shape != embeddings.shape[:1]:
                return embeddings, None
            return embeddings, np.asarray(ids.asstr()[()]).astype(str)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, MemoryError) as error:
        raise BenchError(f"{path}: cannot be read as HDF5 embeddings ({error})") from None


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


def export_hdf5(
    source: Path, target: Path, reporter: Reporter, *, split: Split = "test", force: bool = False
) -> None:
    """Write the embeddings of a run, or of an embedding set, as ``target`` and a csv beside it.

    Raises:
        BenchError: there are no embeddings, ``target`` has another suffix, or one of the two files
            exists (``force`` overwrites both).
    """
    if target.suffix not in SUFFIXES:
        raise BenchError(f"--to {target}: name it .h5")
    folder = source if (source / "meta.json").exists() else open_run(source).embeddings(split)
    if not (folder / "meta.json").exists():
        raise BenchError(f"{source} has no {split} embeddings; run `stt-bench embed` first")
    labels = target.with_suffix(".csv")
    for file in (target, labels):
        check_output(file, inputs=[folder], force=force)
    embedded = read_embedding_set(folder)
    content, lines = io.BytesIO(), io.StringIO(newline="")
    with h5py.File(content, "w") as new:
        new["emb"] = embedded.embeddings.astype(np.float32)
        new["ids"] = embedded.ids.astype(object)
    csv.writer(lines, lineterminator="\n").writerows(
        zip(embedded.labels, embedded.ids, strict=True)
    )
    write_text(labels, lines.getvalue())
    write_atomically(target, lambda stream: stream.write(content.getbuffer()))
    if (embedded.roles != "both").any():
        reporter.warn(
            f"{labels} has no place for the roles query and gallery: scored with it, every item "
            f"queries all others; {folder / 'items.csv'} has the roles"
        )
