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
from stt_bench.benchmark.store.embedding_set import read_embedding_set
from stt_bench.benchmark.store.runs import open_run
from stt_bench.benchmark.system.atomic import write_atomically
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import write_text
from stt_bench.benchmark.system.hdf5 import SUFFIXES
from stt_bench.benchmark.system.outputs import check_output
from stt_bench.benchmark.system.progress import Reporter


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
