"""DeepFashion In-Shop, read from the official partition: as it is, and with test items merged."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.datasets.catalog import Counts, Source, register_dataset
from stt_bench.benchmark.datasets.sources.official import read_rows, subfolder
from stt_bench.benchmark.datasets.stores import FileStore
from stt_bench.benchmark.system.errors import BenchError

_COUNTS = Counts(train=25_882, test=26_830, train_classes=3_997, test_classes=3_985)
_GET = (
    "request list_eval_partition.txt and img.zip of the In-shop Clothes Retrieval Benchmark at "
    "https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html "
    "and put them into data/inshop/Eval and, unpacked, data/inshop/Img"
)
_ROLES = {"train": "both", "query": "query", "gallery": "gallery"}


@register_dataset(
    "inshop", folder="inshop", counts={"retrieval": _COUNTS}, tasks=("retrieval",), get=_GET
)
def inshop(root: Path, task: Task) -> Source:
    """52,712 photographs of 7,982 clothing items (DeepFashion In-Shop), for research use.

    Retrieval has the official partition: 14,218 queries search a gallery of 12,612 images.
    """
    file = subfolder(root, "Eval") / "list_eval_partition.txt"
    rows = read_rows(file, "image_name item_id evaluation_status", skip=2)
    status = rows["evaluation_status"]
    odd = rows[~status.isin(list(_ROLES))]
    if not odd.empty:
        image, _, value = odd.iloc[0]
        raise BenchError(
            f"{file}: {image} has the status '{value}', not one of {', '.join(_ROLES)}: "
            "get the official file again"
        )
    frame = pd.DataFrame(
        {
            "path": rows["image_name"],
            "label": rows["item_id"],
            "split": status.where(status == "train", "test"),
            "role": status.map(_ROLES),
        }
    )
    return Source(frame, FileStore(subfolder(root, "Img")))


@register_dataset(
    "inshop_merged", folder="inshop", counts={"retrieval": _COUNTS}, tasks=("retrieval",), get=_GET
)
def inshop_merged(root: Path, task: Task) -> Source:
    """DeepFashion In-Shop with query and gallery merged: each test image searches all others.

    This is not the literature's protocol: its numbers do not compare with those of `inshop`.
    """
    frame, store, _ = inshop(root, task)
    return Source(frame.assign(role="both"), store)
