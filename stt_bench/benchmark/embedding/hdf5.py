"""Embeddings as the TensorFlow system tf_retrieval_baseline stores them.

``X.h5`` holds the dataset ``emb`` (N × D float32) in the row order of a csv without a header,
``class,path``. Its ``emb_aug`` and ``augmentation_types``, the views before they were averaged, are
not read. What is written here holds the paths too (``ids``), so that the order can be checked.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import h5py
import numpy as np

from stt_bench.benchmark.datasets import Split
from stt_bench.benchmark.store.embedding_set import check_array, read_embedding_set
from stt_bench.benchmark.store.runs import open_run
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import write_atomically, write_text
from stt_bench.benchmark.system.outputs import check_output
from stt_bench.benchmark.system.progress import Reporter

SUFFIXES = (".h5", ".hdf5")


def read_hdf5(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the (N, D) embeddings of a file and, where it has them, the ids of their items.

    Raises:
        BenchError: the file is missing, not HDF5, or has no numbers (N, D) under ``emb``.
    """
    if not path.exists():
        raise BenchError(f"{path}: there is no such file")
    try:
        with h5py.File(path, "r") as file:
            if not isinstance(file.get("emb"), h5py.Dataset):
                keys = ", ".join(file) or "nothing"
                raise BenchError(f"{path}: has no dataset 'emb', it has {keys}: rename its array")
            embeddings = check_array(path, np.asarray(file["emb"][()]))
            ids = file.get("ids")
            if not (isinstance(ids, h5py.Dataset) and h5py.check_string_dtype(ids.dtype)):
                return embeddings, None
            names = np.asarray(ids.asstr()[()]).astype(str)
    except (OSError, KeyError, RuntimeError, ValueError) as error:  # a damaged file
        raise BenchError(f"{path}: cannot be read as HDF5 embeddings ({error})") from None
    return embeddings, names if names.shape == embeddings.shape[:1] else None


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
    listing = target.with_suffix(".csv")
    for file in (target, listing):
        check_output(file, inputs=[folder], force=force)
    embedded = read_embedding_set(folder)
    content, lines = io.BytesIO(), io.StringIO(newline="")
    with h5py.File(content, "w") as new:
        new["emb"] = embedded.embeddings.astype(np.float32)
        new["ids"] = embedded.ids.astype(object)
    csv.writer(lines, lineterminator="\n").writerows(
        zip(embedded.labels, embedded.ids, strict=True)
    )
    write_text(listing, lines.getvalue())
    write_atomically(target, lambda stream: stream.write(content.getbuffer()))
    if (embedded.roles != "both").any():
        reporter.warn(
            f"{listing} has no place for the roles query and gallery: scored with it, every item "
            f"queries all others; {folder / 'items.csv'} has the roles"
        )
