"""NABirds, read from the official index files, which are written as those of CUB."""

from __future__ import annotations

from pathlib import Path

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.datasets.catalog import Counts, Source, register_dataset
from stt_bench.benchmark.datasets.sources.cub import index_items, read_cub_index
from stt_bench.benchmark.datasets.sources.official import subfolder


@register_dataset(
    "nabirds",
    folder="nabirds",
    counts={
        "classification": Counts(train=23_929, test=24_633, train_classes=555, test_classes=555)
    },
    tasks=("classification",),
    get="request nabirds.tar.gz at https://dl.allaboutbirds.org/nabirds "
    "and unpack it into data/nabirds",
)
def nabirds(root: Path, task: Task) -> Source:
    """48,562 photographs of 555 kinds of North American birds, for research use.

    Classification has the official split. `classes.txt` names the whole hierarchy, in which names
    repeat, so a label starts with the class number.
    """
    folder = subfolder(root, "nabirds")
    index = read_cub_index(folder)
    index["label"] = index["class"].map("{:04} ".format) + index["label"]
    return index_items(folder, index, task)
