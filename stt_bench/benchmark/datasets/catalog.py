"""The datasets by name; a plugin adds its own with `register_dataset`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.datasets.stores import Store
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.names import did_you_mean


class Counts(NamedTuple):
    """How many images and classes each split of a dataset has."""

    train: int
    test: int
    train_classes: int
    test_classes: int

    def __str__(self) -> str:
        """Return the counts in words."""
        return (
            f"{self.train} train images of {self.train_classes} classes and "
            f"{self.test} test images of {self.test_classes} classes"
        )


def counts_of(frame: pd.DataFrame) -> Counts:
    """Return the counts of an item table."""
    sizes = frame["split"].value_counts()
    classes = frame.groupby("split")["label"].nunique()
    return Counts(
        int(sizes["train"]), int(sizes["test"]), int(classes["train"]), int(classes["test"])
    )


class Source(NamedTuple):
    """What a dataset function returns: the table `path, label, split, role` and the images.

    Further columns of the table are metadata, kept as text beside the embeddings.

    The notes are sentences on what of the data is not used, or used otherwise than one may think.
    """

    frame: pd.DataFrame
    store: Store
    notes: tuple[str, ...] = ()


DatasetFunction = Callable[..., Source]


@dataclass(frozen=True)
class Dataset:
    """A registered dataset: its function and what is known about it without reading it."""

    name: str
    function: DatasetFunction
    folder: str | None = None
    also: tuple[str, ...] = ()
    counts: dict[Task, Counts] = field(default_factory=dict)
    tasks: tuple[Task, ...] = ("retrieval", "classification")
    get: str = ""
    download: Callable[[Path], None] | None = None

    @property
    def folders(self) -> list[str]:
        """Return the names of the folders that are searched for, in this order."""
        return [] if self.folder is None else [self.folder, *self.also]

    @property
    def options(self) -> list[str]:
        """Return the names of the function's options: its keyword-only parameters."""
        parameters = inspect.signature(self.function).parameters.values()
        return [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]

    def check_options(self, given: Mapping[str, Any]) -> None:
        """Raise where an option's name is unknown."""
        for name in given:
            if name not in self.options:
                hint = did_you_mean(name, self.options) if self.options else "it has no options"
                raise BenchError(f"dataset '{self.name}' has no option '{name}': {hint}")


_DATASETS: dict[str, Dataset] = {}


def register_dataset(
    name: str,
    *,
    folder: str | None = None,
    also: tuple[str, ...] = (),
    counts: Mapping[Task, Counts] | None = None,
    tasks: tuple[Task, ...] = ("retrieval", "classification"),
    get: str = "",
    download: Callable[[Path], None] | None = None,
) -> Callable[[DatasetFunction], DatasetFunction]:
    """Register `function(root, task, *, options...) -> Source` as a dataset.

    Args:
        name: What a config's `data.name` says.
        folder: Folder that is searched for when no root is given; without it the function's
            `root` may be None.
        also: Other names of that folder: what torchvision or the official archive calls it.
        counts: Images and classes of each task's splits; checked after reading.
        tasks: Tasks that the dataset has a split for.
        get: How a user gets the data; part of the message when they are not found.
        download: Fetches the data into the folder it is given.
    """

    def register(function: DatasetFunction) -> DatasetFunction:
        known = _DATASETS.get(name)
        if known is not None and inspect.getsourcefile(known.function) != inspect.getsourcefile(
            function
        ):
            raise BenchError(
                f"dataset '{name}' is registered already by {known.function.__module__}: "
                f"give the one in {function.__module__} another name"
            )
        _DATASETS[name] = Dataset(
            name, function, folder, also, dict(counts or {}), tuple(tasks), get, download
        )
        return function

    return register


def find_dataset(name: str) -> Dataset:
    """Return the dataset of that name."""
    if name not in _DATASETS and os.path.exists(name):
        raise BenchError(
            f"unknown dataset '{name}', which is a folder or file: your own images are the dataset "
            f"images, with root {name}"
        )
    if name not in _DATASETS:
        raise BenchError(f"unknown dataset '{name}': {did_you_mean(name, _DATASETS)}")
    return _DATASETS[name]


def dataset_names() -> list[str]:
    """Return the names of all datasets."""
    return sorted(_DATASETS)


def dataset_summary(name: str) -> str:
    """Return the first line of the dataset function's docstring."""
    return (inspect.getdoc(find_dataset(name).function) or "").partition("\n")[0]
