"""Whether a dataset is whole: the tables of all its tasks, and every image file decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stt_bench.benchmark.config.sections import DataConfig, Task
from stt_bench.benchmark.datasets.catalog import Dataset, Source, counts_of, find_dataset
from stt_bench.benchmark.datasets.copies import notes_on_copies
from stt_bench.benchmark.datasets.items import find_root, item_table, read_source
from stt_bench.benchmark.datasets.near_duplicates import NearDuplicates, near_duplicates
from stt_bench.benchmark.datasets.refusal import listed_in_file
from stt_bench.benchmark.datasets.threads import Progress, thread_count
from stt_bench.benchmark.datasets.vectors import VectorStore
from stt_bench.benchmark.system.blocks import by_blocks
from stt_bench.benchmark.system.errors import BenchError

SHOWN = 20  # broken files, or pairs, that are named


@dataclass(frozen=True)
class Tables:
    """The checked tables of a dataset's tasks, and why the others cannot be read."""

    sources: dict[Task, Source]
    refused: dict[Task, str]
    problem: str | None
    """What is wrong: a task of known counts is refused, or all are. Else the data, a user's own,
    do for some of the tasks, as they may."""


def read_tables(dataset: Dataset, root: Path | None, options: Mapping[str, Any]) -> Tables:
    """Read the table of each task of a dataset; no image is looked at.

    Raises:
        BenchError: an option is unknown.
    """
    dataset.check_options(options)
    sources: dict[Task, Source] = {}
    refused: dict[Task, str] = {}
    for task in dataset.tasks:
        config = DataConfig(name=dataset.name, task=task, options=dict(options))
        try:
            sources[task] = read_source(config, root)
        except BenchError as error:
            refused[task] = str(error)
    serious = [told for task, told in refused.items() if task in dataset.counts or not sources]
    return Tables(sources, refused, serious[0] if serious else None)


@dataclass(frozen=True)
class Verification:
    """What `verify_dataset` found."""

    tables: Tables
    images: int
    broken: list[str]  # a sentence with path and reason for each
    hashes: dict[Task, str]  # of the tables whose images are all good
    duplicates: dict[Task, NearDuplicates]  # of the same tables, where any were found
    listed: Path | None = None  # the file that names all broken ones

    @property
    def passed(self) -> bool:
        """Tell whether nothing is wrong."""
        hashed = self.hashes.keys() == self.tables.sources.keys()
        return not self.broken and self.tables.problem is None and hashed

    def lines(self) -> Iterator[str]:
        """Yield what to tell: a line for each table, the broken files, the count of files."""
        for task, source in self.tables.sources.items():
            known = f", data {self.hashes[task][:16]}" if task in self.hashes else ""
            yield f"{task}: {counts_of(source.frame)}{known}"
            yield from (f"note: {note}" for note in source.notes)
            if task in self.duplicates:
                yield from _duplicate_lines(task, source, self.duplicates[task])
        for told in dict.fromkeys(self.tables.refused.values()):
            tasks = [task for task, why in self.tables.refused.items() if why == told]
            yield f"{' and '.join(tasks)}: {told}"
        if not self.tables.sources:
            return
        yield from self.broken[:SHOWN]
        if len(self.broken) > SHOWN:
            all_of_them = f"; all are listed in {self.listed}" if self.listed else ""
            yield f"and {len(self.broken) - SHOWN} more{all_of_them}"
        verdict = "all can be read" if self.hashes else "all can be read but not used"
        if self.broken:
            verdict = f"{len(self.broken)} broken or missing"
        yield f"{self.images:,} images decoded, {verdict}"


def verify_dataset(
    name: str,
    *,
    root: str | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    comparing: Progress | None = None,
) -> Verification:
    """Read the table of each task of a dataset and decode every image that one of them lists.

    Near-duplicates across train and test are no fault of the copy, and named.

    Args:
        name: of the dataset.
        root: its folder; searched for if None.
        options: of the dataset.
        progress: called while the images are decoded.
        comparing: called while they are compared with one another.

    Raises:
        BenchError: the dataset or an option is unknown, or there are no data.
    """
    dataset = find_dataset(name)
    tables = read_tables(dataset, find_root(dataset, root, download=False), options or {})
    stores = {
        path: source.store
        for source in tables.sources.values()
        if not isinstance(source.store, VectorStore)
        for path in source.frame["path"]
    }
    broken = failures(lambda path: stores[path].read(path), list(stores), progress)
    hashes: dict[Task, str] = {}
    duplicates: dict[Task, NearDuplicates] = {}
    if not broken:
        for task, (frame, store, notes) in tables.sources.items():
            try:
                items = item_table(name, frame, store, notes)
            except BenchError as error:  # pixels of no known range
                tables.refused[task] = str(error)
                continue
            hashes[task] = items.data_hash
            told = (*items.notes, *notes_on_copies(items))
            tables.sources[task] = Source(frame, store, told)
            found = near_duplicates(items, comparing)
            if found is not None and (found.matches or found.across_classes):
                duplicates[task] = found
    listed = listed_in_file(name, broken) if broken else None
    return Verification(tables, len(stores), broken, hashes, duplicates, listed)


def _duplicate_lines(task: Task, source: Source, found: NearDuplicates) -> Iterator[str]:
    count = int((source.frame["split"] == "test").sum())
    places = {
        "in training": found.matches,
        "of another class in the test split": found.across_classes,
    }
    for place, matches in places.items():
        if matches:
            yield f"{task}: {len(matches):,} of {count:,} test images have a near-duplicate {place}"
        for match in matches[:SHOWN]:
            alike = "the same content" if match.exact else f"alike by {match.similarity:.3f}"
            yield f"  {match.image} and {match.other}: {alike}"
        if len(matches) > SHOWN:
            yield f"  and {len(matches) - SHOWN:,} more"


def failures(
    work: Callable[[str], object], paths: Sequence[str], progress: Progress | None = None
) -> list[str]:
    """Call `work` with every path, in threads; return what its BenchErrors say, in order."""

    def attempt(path: str) -> str | None:
        try:
            work(path)
        except BenchError as error:
            return str(error)
        return None

    told: list[str | None] = []
    with by_blocks(attempt, paths, thread_count()) as blocks:
        for some in blocks:
            told += some
            if progress is not None:
                progress(len(told), len(paths))
    return [one for one in told if one is not None]
