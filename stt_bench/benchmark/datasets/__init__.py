"""Datasets: from a folder to a checked item table, from the table to batches.

The names here read no images and import no torch; `stt_bench.benchmark.datasets.batches` does.
"""

from stt_bench.benchmark.datasets.catalog import (
    Counts,
    Source,
    dataset_names,
    dataset_summary,
    register_dataset,
)
from stt_bench.benchmark.datasets.items import ItemTable, Split, check_dataset, load_items
from stt_bench.benchmark.datasets.sources import (  # noqa: F401  (registers)
    aircraft,
    cars,
    clips,
    cub,
    digits,
    dogs,
    fashion_mnist,
    features,
    flowers,
    images,
    inshop,
    nabirds,
    omniglot,
    omniglot_mini,
    sop,
)
from stt_bench.benchmark.datasets.stores import ArrayStore, FileStore, Store, ZipStore
from stt_bench.benchmark.system.locate import find_folder

__all__ = [
    "ArrayStore",
    "Counts",
    "FileStore",
    "ItemTable",
    "Source",
    "Split",
    "Store",
    "ZipStore",
    "check_dataset",
    "dataset_names",
    "dataset_summary",
    "find_folder",
    "load_items",
    "register_dataset",
]
