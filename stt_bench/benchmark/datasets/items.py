"""From a config's `data` section to a checked item table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from PIL import Image

from stt_bench.benchmark.config.sections import DataConfig
from stt_bench.benchmark.datasets.catalog import Dataset, Source, find_dataset
from stt_bench.benchmark.datasets.download import download_into
from stt_bench.benchmark.datasets.held_out import hold_out
from stt_bench.benchmark.datasets.item_rules import (
    WEIGHT,
    as_metadata,
    check_item_table,
    columns_of,
    metadata_of,
    unwritable,
)
from stt_bench.benchmark.datasets.long_tail import long_tail
from stt_bench.benchmark.datasets.splits import without_validation
from stt_bench.benchmark.datasets.stores import ArrayStore, Store
from stt_bench.benchmark.datasets.unreadable import contents_of, readable_part
from stt_bench.benchmark.datasets.vectors import VectorStore
from stt_bench.benchmark.system.errors import BenchError, NotHereError
from stt_bench.benchmark.system.locate import find_folder, search_places
from stt_bench.benchmark.system.progress import Reporter

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False)
class ItemTable:
    """The items of a dataset under a task: a table and a way to read its images.

    Attributes:
        name: The dataset's name.
        frame: Columns path, label, split (`train`, `validation`, `test`) and role (`query`,
            `gallery`, `both`), all strings; paths are unique. With a column group, the rows of a
            group (the frames of a clip) are one item of the embedding set. With a column weight, a
            number from 0, the training items count by it in the loss; all others have 1 there.
            All further columns are metadata, text that may be empty (see `metadata_of`).
        read: Path to image as decoded, mode untouched.
        data_hash: sha256 of the table and of the images' contents.
        arrays: All images as uint8 (N, H, W) or (N, H, W, C) in the table's order, where the
            dataset has them.
        bits: How many bits the set's grey images of more than 8 use; None if there are none.
        notes: Sentences on what of the data is not used.
        sha256: Of each image file's content, by path; empty where the images are arrays.
        skippable: Whether a config says what is done with images that cannot be read.
        unreadable: Why images that were left out cannot be read, by path.
        store: Where `read` finds the images; with files, those known to be readable are not decoded
            to be checked.
    """

    name: str
    frame: pd.DataFrame
    read: Callable[[str], Image.Image]
    data_hash: str
    arrays: np.ndarray | None = None
    bits: int | None = None
    notes: tuple[str, ...] = ()
    sha256: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    skippable: bool = False
    unreadable: Mapping[str, str] = field(default_factory=dict, repr=False)
    store: Store | None = field(default=None, repr=False)
    prepared: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)
    """The image sets made of these items so far: see `image_set`."""

    @property
    def vectors(self) -> VectorStore | None:
        """Return what stands in place of images, where the items are vectors."""
        return self.store if isinstance(self.store, VectorStore) else None

    def split(self, name: Split) -> pd.DataFrame:
        """Return the rows of a split, counted from 0."""
        return self.frame[self.frame["split"] == name].reset_index(drop=True)

    def contents(self, paths: Sequence[str]) -> list[bytes] | None:
        """Return the sha256 of each image's content, or None where it is not known."""
        if self.arrays is not None:
            rows = pd.Index(self.frame["path"]).get_indexer(pd.Index(paths))
            shape = repr(self.arrays.shape[1:]).encode()
            return [hashlib.sha256(shape + self.arrays[row].tobytes()).digest() for row in rows]
        if not self.sha256:
            return None
        return [self.sha256[path] for path in paths]

    @property
    def weights(self) -> np.ndarray | None:
        """Return (N,) float32, how much each training item counts, or None: all alike.

        The greatest is 1, whatever the column holds.
        """
        if WEIGHT not in self.frame:
            return None
        given = self.split("train")[WEIGHT].to_numpy(np.float64)
        return (given / (given.max(initial=0.0) or 1.0)).astype(np.float32)

    @property
    def width(self) -> int | None:
        """Return how many values a vector has; None where the items are images."""
        return None if self.vectors is None else self.vectors.width

    @property
    def classes(self) -> list[str]:
        """Return the labels of the train split in order: class i is `classes[i]`."""
        return sorted(set(self.split("train")["label"]))

    @property
    def class_counts(self) -> list[int]:
        """Return how many training images each of the `classes` has."""
        counts = self.split("train")["label"].value_counts()
        return [int(counts[name]) for name in self.classes]


def check_dataset(config: DataConfig) -> Dataset:
    """Return the dataset that a config names if it has the task and the options; reads nothing."""
    dataset = find_dataset(config.name)
    dataset.check_options(config.options)
    if config.task not in dataset.tasks:
        raise BenchError(
            f"dataset '{dataset.name}' has no {config.task} split: "
            f"use task: {' or '.join(dataset.tasks)}"
        )
    return dataset


def load_items(config: DataConfig, reporter: Reporter | None = None) -> ItemTable:
    """Read, check and hash the items that a config's `data` section describes."""
    dataset = check_dataset(config)
    reporter = reporter or Reporter(quiet=True)
    source = read_source(config, find_root(dataset, config.root))
    (frame, store, notes), unreadable = readable_part(config, source, reporter)
    paths, arrays = frame["path"].tolist(), store.arrays
    if config.long_tail is not None:
        kept = long_tail(frame, config.long_tail)
        frame, arrays = frame[kept].reset_index(drop=True), None if arrays is None else arrays[kept]
    if isinstance(config.validation, float):
        frame = hold_out(frame, config.task, config.validation)
    with reporter.bar(f"{dataset.name}: compare files", len(paths)) as bar:
        # Contents of all images, also where only some stay: an array store knows no other.
        contents = contents_of(store, paths, bar.of, skippable=True)
    notes = (*notes, *contents.notes)
    for note in notes:
        reporter.once(f"note: {note}")
    data_hash = hash_items(frame, contents.identity)
    sha256 = {} if arrays is not None else dict(zip(paths, contents.identity, strict=True))
    return ItemTable(
        dataset.name,
        frame,
        store.read,
        data_hash,
        arrays,
        contents.bits,
        notes,
        sha256,
        skippable=True,
        unreadable=unreadable,
        store=store,
    )


def read_source(config: DataConfig, root: Path | None) -> Source:
    """Return the checked table below `root`, and its images; of these none is looked at."""
    dataset = check_dataset(config)
    frame, store, notes = dataset.function(root, config.task, **config.options)
    frame, store, told = _validated(config, frame.reset_index(drop=True), store)
    notes = (*notes, *told)
    check_item_table(dataset, config.task, frame, root)
    metadata = {column: as_metadata(frame[column]) for column in metadata_of(frame)}
    frame = frame[[*columns_of(frame), *metadata]].assign(**metadata)
    if WEIGHT in frame:  # of the test items it means nothing, and so is no part of the hash
        weights = frame[WEIGHT].where(frame["split"] == "train", 1.0).astype(float)
        frame = frame.assign(weight=weights)
        notes = (*notes, "training items count by their weight, a column of the list")
    return Source(frame, store, notes)


def _validated(
    config: DataConfig, frame: pd.DataFrame, store: Store
) -> tuple[pd.DataFrame, Store, list[str]]:
    """Leave out the data's own validation items where the config does not ask for them."""
    if "split" not in frame:  # is told by the check of the table
        return frame, store, []
    own = (frame["split"] == "validation").to_numpy()
    if config.validation == "official":
        if not own.any():
            raise BenchError(
                "data.validation is official, and the data have no validation items beside train "
                "and test: give a share of the training items, such as 0.2"
            )
        return frame.assign(role=frame["role"].mask(own, "both")), store, []
    if not own.any():
        return frame, store, []
    if store.arrays is not None:
        store = ArrayStore(frame["path"][~own].tolist(), store.arrays[~own])
    frame, told = without_validation(frame)
    hint = "; data.validation: official selects the weights on them"
    return frame.reset_index(drop=True), store, [one + hint for one in told]


def item_table(
    name: str, frame: pd.DataFrame, store: Store, notes: tuple[str, ...] = ()
) -> ItemTable:
    """Hash a table and its images' contents; a missing image is an error."""
    problem = unwritable(frame)
    if problem:
        raise BenchError(f"{name}: {problem}")
    paths, arrays = frame["path"].tolist(), store.arrays
    contents = contents_of(store, paths)
    data_hash, notes = hash_items(frame, contents.identity), (*notes, *contents.notes)
    sha256 = {} if arrays is not None else dict(zip(paths, contents.identity, strict=True))
    return ItemTable(
        name,
        frame,
        store.read,
        data_hash,
        arrays,
        contents.bits,
        notes,
        sha256,
        store=store,
    )


def find_root(dataset: Dataset, given: str | None, *, download: bool = True) -> Path | None:
    """Return where the data lie: as given, else searched for, else downloaded where allowed."""
    if given is not None:
        root = Path(given).expanduser()
        if not root.exists():
            start = "" if root.is_absolute() else f"it starts from {Path.cwd()}; "
            raise NotHereError(
                f"dataset '{dataset.name}': data.root {root} does not exist: {start}correct it"
                + (" or leave it out to have the data searched for" if dataset.folder else "")
            )
        return root
    if dataset.folder is None:
        return None
    found = find_folder("data", *dataset.folders)
    if found is not None:
        return found
    if dataset.download is not None and download:
        return download_into(Path("data") / dataset.folder, dataset)
    looked = ", ".join(str(place) for place in search_places("data", *dataset.folders))
    raise NotHereError(
        f"dataset '{dataset.name}' not found (looked for {looked}): "
        f"{dataset.get or 'put it there'}, or set data.root or STT_BENCH_DATA"
    )


def hash_items(frame: pd.DataFrame, identity: Iterable[bytes]) -> str:
    """Return the sha256 of an item table and of its images' contents."""
    columns = [frame[column].tolist() for column in columns_of(frame)]
    digest = hashlib.sha256(json.dumps(columns).encode())
    for part in identity:
        digest.update(part)
    return digest.hexdigest()
