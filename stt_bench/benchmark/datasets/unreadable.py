"""Images that cannot be read: all are told at once, or left out where a config asks for that."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import PIL

from stt_bench.benchmark.config.sections import DataConfig, Task
from stt_bench.benchmark.datasets.catalog import Source
from stt_bench.benchmark.datasets.depth import bits_that_hold, is_deep
from stt_bench.benchmark.datasets.item_rules import GROUP
from stt_bench.benchmark.datasets.refusal import (
    SKIP,
    LostFilesError,
    UnreadableError,
    listed_in_file,
)
from stt_bench.benchmark.datasets.stores import (
    ArrayStore,
    Contents,
    FileStore,
    Store,
    ZipStore,
    no_memory_for,
)
from stt_bench.benchmark.datasets.threads import Progress, thread_count
from stt_bench.benchmark.datasets.vectors import VectorStore
from stt_bench.benchmark.system.contents import Stamp, learn, stamp_of
from stt_bench.benchmark.system.errors import BenchError, RefusedError
from stt_bench.benchmark.system.progress import Reporter

_WHAT = f"readable-2-{PIL.__version__}"
_NAMED = 3


class Readable(NamedTuple):
    """An image that can be decoded and converted: its sides, upright, and how deep it is."""

    width: int
    height: int
    bits: int
    """How many its grey values need; 8 where none needs more."""


def look_at(
    store: FileStore | ZipStore, paths: Sequence[str], progress: Progress | None = None
) -> list[Readable | str]:
    """Return what is known of each image, or why it cannot be decoded or converted.

    A file that has not changed since it was decoded by the same Pillow is not decoded again.
    """
    place = store.root if isinstance(store, FileStore) else store.file

    def stamp(path: str) -> Stamp:
        return stamp_of(os.path.join(place, path) if isinstance(store, FileStore) else place)

    tell, threads = partial(_tell, store), thread_count()
    found = learn(_WHAT, place, paths, stamp=stamp, tell=tell, progress=progress, threads=threads)
    return [
        Readable(*one)
        if isinstance(one, Sequence) and not isinstance(one, str)
        else str(getattr(one, "strerror", None) or one)
        for one in found
    ]


def _tell(store: Store, path: str) -> Readable | str:
    from stt_bench.benchmark.datasets.transforms import to_channels  # which imports torch

    try:
        image = store.read(path)
        width, height = to_channels(image, 3).size
        bits = bits_that_hold(int(np.max(np.asarray(image)))) if is_deep(image) else 8
        return Readable(width, height, bits)
    except UnreadableError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno is not None:
            raise cause from None  # of the machine, not of the content
        return error.reason
    except MemoryError:
        raise BenchError(no_memory_for(path)) from None
    except Exception as error:  # PIL raises nearly anything on odd modes and broken tags
        return str(error) or type(error).__name__


def unreadable_images(
    store: Store, paths: Sequence[str], progress: Progress | None = None
) -> dict[str, str]:
    """Return why images cannot be decoded or converted, by path; of those that cannot alone.

    A file that has not changed since it was decoded is not decoded again.
    """
    if isinstance(store, ArrayStore | VectorStore):
        return {}
    if isinstance(store, FileStore | ZipStore):
        found = look_at(store, paths, progress)
    else:
        with ThreadPoolExecutor(thread_count()) as pool:
            found = list(pool.map(partial(_tell, store), paths))
    return {path: one for path, one in zip(paths, found, strict=True) if isinstance(one, str)}


def contents_of(
    store: Store,
    paths: Sequence[str],
    progress: Progress | None = None,
    *,
    skippable: bool = False,
) -> Contents:
    """Return what the images hold, as `Store.contents` does.

    `skippable`: whether a config says what is done with those that cannot be had.

    Raises:
        BenchError: some are not there; it also says which others cannot be decoded.
    """
    try:
        return store.contents(paths, progress)
    except LostFilesError as error:
        lost = set(error.paths)
        there = [path for path in paths if path not in lost]
        broken = unreadable_images(store, there, progress)
        more = ""
        if broken:
            first = f"{next(iter(broken))} ({next(iter(broken.values()))})"
            told = [f"{path} ({reason})" for path, reason in broken.items()]
            file = listed_in_file("undecodable", told) if told[1:] else None
            more = f"; {len(broken):,} more cannot be decoded, the first is {first}"
            more += f" (all: {file})" if file else ""
        end = f"; or leave them out with {SKIP}" if skippable else ""
        raise BenchError(f"{error}{more}{end}") from None


def readable_part(
    config: DataConfig,
    source: Source,
    reporter: Reporter | None = None,
    split: str | None = None,
) -> tuple[Source, dict[str, str]]:
    """Return a table without its unreadable images where the config asks for that, and those.

    Args:
        config: with `skip_unreadable`; else the table stays as it is, and no image is looked at.
        source: the table and its images.
        reporter: where the progress is shown.
        split: look at its images only.

    Raises:
        BenchError: no image of a class is left in a split, or a test query has lost its positives.
    """
    frame, store, notes = source
    if not config.skip_unreadable:
        return source, {}
    looked_at = frame["path"] if split is None else frame.loc[frame["split"] == split, "path"]
    reporter = reporter or Reporter(quiet=True)
    with reporter.bar(f"{config.name}: look for unreadable images", len(looked_at)) as bar:
        found = unreadable_images(store, looked_at.tolist(), bar.of)
    if not found:
        return source, {}
    kept = frame[~frame["path"].isin(list(found))].reset_index(drop=True)
    if problem := _lost(frame, kept, config.task):
        raise RefusedError(
            f"{SKIP} leaves out {len(found):,} of {len(frame):,} images of dataset "
            f"'{config.name}', such as {next(iter(found))}, and {problem}"
        )
    told = f"{len(found):,} of {len(frame):,} images cannot be read and are left out"
    return Source(kept, store, (*notes, f"{told}: {', '.join(list(found)[:_NAMED])}")), found


def _lost(before: pd.DataFrame, after: pd.DataFrame, task: Task) -> str | None:
    """Say what is lost beside images, if anything is, and what to do."""
    for split in before["split"].unique():
        was, now = (frame.loc[frame["split"] == split, "label"] for frame in (before, after))
        if lost := sorted(set(was) - set(now)):
            more = f" and {len(lost) - 1} more" if lost[1:] else ""
            which = "the classes" if lost[1:] else "the class"
            return (
                f"no {split} image of class '{lost[0]}'{more} is left: replace those images, or "
                f"remove {which} (the folder, or the lines of the list)"
            )
    if task == "retrieval":
        lonely = sorted(_lonely(after) - _lonely(before))
        if lonely:
            more = f" and {len(lonely) - 1} more have" if lonely[1:] else " has"
            which = "the queries" if lonely[1:] else "the query"
            return (
                f"the query {lonely[0]}{more} no positive left: replace those images, or remove "
                f"{which} (the file, or the line of the list)"
            )
    return None


def _lonely(frame: pd.DataFrame) -> set[str]:
    """Return the test queries that have no other item of their class to find."""
    test = frame[frame["split"] == "test"]
    unit = GROUP if GROUP in test else "path"
    found = test[test["role"] != "query"].groupby("label")[unit].agg(set).to_dict()
    queries = test[test["role"] != "gallery"]
    return {
        query
        for query, label in zip(queries[unit], queries["label"], strict=True)
        if not found.get(label, set()) - {query}
    }
