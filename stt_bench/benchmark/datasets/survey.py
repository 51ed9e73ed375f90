"""Which datasets there are and which of them lie on this machine."""

from __future__ import annotations

from typing import NamedTuple

from stt_bench.benchmark.config.sections import DataConfig, Task
from stt_bench.benchmark.datasets.catalog import Dataset, dataset_names, find_dataset
from stt_bench.benchmark.datasets.items import read_source
from stt_bench.benchmark.datasets.stores import FileStore
from stt_bench.benchmark.datasets.threads import Progress
from stt_bench.benchmark.system.locate import find_folder, search_places


class Entry(NamedTuple):
    """A line of the survey."""

    name: str
    expected: list[str]  # a text for each task
    state: str  # complete, incomplete, not here, your own
    about: str  # where it lies, what is wrong with it, or how to get it


def survey(progress: Progress | None = None) -> list[Entry]:
    """Return an entry for each dataset; nothing is downloaded and no image opened.

    A dataset is complete when its index files can be read, list what is expected and their first
    image exists; `verify_dataset` looks at all images.
    """
    entries = []
    for name in dataset_names():
        dataset = find_dataset(name)
        expected = [_expected(dataset, task) for task in dataset.tasks]
        entries.append(Entry(name, expected, *_state(dataset)))
        if progress is not None:
            progress(len(entries), len(dataset_names()))
    return entries


def _expected(dataset: Dataset, task: Task) -> str:
    counts = dataset.counts.get(task)
    if counts is None:
        return f"{task}: any"
    return (
        f"{task}: {counts.train:,} + {counts.test:,} images of "
        f"{counts.train_classes:,} + {counts.test_classes:,} classes"
    )


def _state(dataset: Dataset) -> tuple[str, str]:
    root = None
    if dataset.folder is not None:
        root = find_folder("data", *dataset.folders)
        if root is None:
            looked = ", ".join(str(place) for place in search_places("data", *dataset.folders))
            fetched = "downloaded at first use, or " if dataset.download is not None else ""
            return "not here", f"looked for {looked}; {fetched}{dataset.get or 'put it there'}"
    told: dict[str, None] = {}
    for task in dataset.tasks:
        try:
            frame, store, _ = read_source(DataConfig(name=dataset.name, task=task), root)
            first = str(frame["path"].iloc[0])
            if isinstance(store, FileStore) and not store.exists(first):
                told[f"{store.root / first} does not exist: get a complete copy"] = None
        except Exception as error:  # one dataset, perhaps a plugin's, must not hide the others
            told[str(error) or type(error).__name__] = None
    if not told:
        return "complete", str(root) if root is not None else "bundled"
    if dataset.folder is None and not dataset.counts:
        return "your own", "; ".join(told)
    return "incomplete", "; ".join(told)
