"""Stanford Online Products, read from the official lists."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.datasets.archives import Archive, Download
from stt_bench.benchmark.datasets.catalog import Counts, Source, register_dataset
from stt_bench.benchmark.datasets.sources.official import read_rows, subfolder
from stt_bench.benchmark.datasets.stores import FileStore

_DOWNLOAD = Download(
    Archive(
        "https://ftp.cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip",
        "sha256:b04fa78210e69fab050ce73939550e1cd0f96890bdd98ec9fee732c3b756ef48",
    ),
)


@register_dataset(
    "sop",
    folder="sop",
    also=("Stanford_Online_Products",),
    counts={
        "retrieval": Counts(train=59_551, test=60_502, train_classes=11_318, test_classes=11_316)
    },
    tasks=("retrieval",),
    get="unpack Stanford_Online_Products.zip from "
    "https://cvgl.stanford.edu/projects/lifted_struct into data/sop",
    download=_DOWNLOAD,
)
def sop(root: Path, task: Task) -> Source:
    """120,053 photographs of 22,634 products (Stanford Online Products), for research use.

    Retrieval has the official split: products 1–11,318 train, 11,319–22,634 test.
    """
    folder = subfolder(root, "Stanford_Online_Products")
    tables = []
    for split in ("train", "test"):
        file = folder / f"Ebay_{split}.txt"
        rows = read_rows(file, "image_id class_id super_class_id path", skip=1)
        tables.append(rows.assign(label=rows["class_id"].str.zfill(5), split=split, role="both"))
    return Source(pd.concat(tables, ignore_index=True), FileStore(folder))
