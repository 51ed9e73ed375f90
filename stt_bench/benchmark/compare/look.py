"""What somebody's data are: images by a folder or a list, or vectors with a csv of labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stt_bench.benchmark.datasets.csv_lists import Columns
from stt_bench.benchmark.datasets.describe import image_sizes, none_readable
from stt_bench.benchmark.datasets.folders import Level
from stt_bench.benchmark.datasets.item_rules import listed_twice, unwritable
from stt_bench.benchmark.datasets.sources.features import labelled_vectors
from stt_bench.benchmark.datasets.splits import train_and_test
from stt_bench.benchmark.datasets.stores import FileStore, Store
from stt_bench.benchmark.datasets.understand import understand
from stt_bench.benchmark.datasets.vectors import SUFFIXES, VectorStore, holds_vectors
from stt_bench.benchmark.system.errors import BenchError, NotHereError
from stt_bench.benchmark.system.text import counted, one_line

_BESIDE = ("items.csv", "labels.csv")
_SHOWN = 3


class Layout(NamedTuple):
    """How the data lie, where that does not show; see `understand`."""

    columns: Columns | None = None
    images_root: Path | None = None
    classes: Level | None = None
    boxes: str | None = None


_PLAIN = Layout()


@dataclass(frozen=True)
class Found:
    """The items of somebody's data.

    Attributes:
        frame: Columns path (absolute; of a vector its id) and label and, where the data have them,
            split (`train`, `test`), role and others. Vectors have the column row, from 0.
        store: Reads the images; of vectors it holds them.
        lines: What was found, a sentence each.
        side: The median of the images' shorter sides, pixels; 0 of vectors.
        width: Values of a vector; None: the items are images.
        vectors: The file of the vectors.
    """

    frame: pd.DataFrame
    store: Store
    lines: list[str]
    side: int = 0
    width: int | None = None
    vectors: Path | None = None

    def without(self, broken: Mapping[str, str]) -> Found:
        """Return the data without some images; of each it is told why."""
        frame = self.frame[~self.frame["path"].isin(list(broken))].reset_index(drop=True)
        lines = [*self.lines, *_broken(list(broken.items()))]
        return replace(self, frame=frame, lines=lines)


def look(
    data: Path, labels: Path | None = None, array: str | None = None, layout: Layout = _PLAIN
) -> Found:
    """Read what lies at a path: a folder, a list, or a file of vectors.

    Args:
        data: the path.
        labels: the csv of a file of vectors; searched for beside it if None.
        array: of an HDF5 file the dataset, of a Parquet file the column of lists.
        layout: what the user says of the columns, the folders and the boxes.

    Raises:
        BenchError: there is nothing, it cannot be read, or no image of it can.
    """
    if not data.exists():
        raise NotHereError(
            f"{data} does not exist: give a folder of class folders, a csv of path and label, or a "
            "file of vectors"
        )
    if data.suffix.lower() in SUFFIXES and not _may_be_a_list(data, labels, array):
        if layout._replace(columns=None) != _PLAIN:
            raise BenchError(f"{data} holds vectors: of their csv --columns can be said alone")
        return _vectors(data, labels, array, layout.columns)
    if labels is not None or array is not None:
        option = "--labels" if labels is not None else "--array"
        raise BenchError(f"{option} goes with a file of vectors ({', '.join(SUFFIXES)})")
    return _images(data, layout)


def _may_be_a_list(data: Path, labels: Path | None, array: str | None) -> bool:
    """Tell whether a Parquet file is a list of images: alone, without vectors, it is read so."""
    alone = data.suffix.lower() == ".parquet" and not (labels or array or _beside(data))
    return alone and not holds_vectors(data)


def _beside(data: Path) -> Path | None:
    """Return the csv that lies beside a file of vectors."""
    return next((place for place in _places(data) if place.is_file()), None)


def _places(data: Path) -> list[Path]:
    return [data.with_suffix(".csv"), *(data.parent / name for name in _BESIDE)]


def _vectors(data: Path, labels: Path | None, array: str | None, columns: Columns | None) -> Found:
    csv = labels or _beside(data) or (data if data.suffix.lower() == ".parquet" else None)
    if csv is None:
        looked = ", ".join(map(str, _places(data)))
        raise BenchError(
            f"{data}: the labels of its vectors are missing: name their csv with --labels (looked "
            f"for {looked})"
        )
    listed, vectors, notes = labelled_vectors(
        data, csv, array, required=("label",), columns=columns
    )
    frame, told = train_and_test(listed)
    frame = frame.assign(row=frame["vector"]).drop(columns="vector").reset_index(drop=True)
    rows = dict(zip(frame["path"], frame["row"].tolist(), strict=True))
    store = VectorStore(data, vectors, rows)
    store.contents(frame["path"].tolist())  # refuses what is no number
    lines = [
        f"{data}: {len(frame):,} vectors of {vectors.shape[1]:,} values; labels in {csv}",
        *_classes(frame),
        *(f"note: {note}" for note in [*notes, *told]),
    ]
    return Found(frame, store, lines, width=int(vectors.shape[1]), vectors=data)


def _images(data: Path, layout: Layout) -> Found:
    found = understand(data, **layout._asdict())
    problem = listed_twice(found.frame) or unwritable(found.frame)
    if problem:
        raise BenchError(f"{data}: {problem}")
    frame, told = train_and_test(found.frame)
    sizes, broken = image_sizes(frame["path"].tolist())
    if not sizes:
        raise none_readable(data, broken)
    gone = {path for path, _ in broken}
    frame = frame[~frame["path"].isin(gone)].reset_index(drop=True)
    sides = sorted(min(size) for size in sizes)
    lines = [
        f"{data}: {found.layout}, {counted(len(frame), 'image')}, shorter side {sides[0]:,} to "
        f"{sides[-1]:,} pixels, median {sides[len(sides) // 2]:,}",
        *_classes(frame),
        *_broken(broken),
        *(f"note: {note}" for note in [*found.notes, *told]),
    ]
    return Found(frame, FileStore(Path()), lines, side=sides[len(sides) // 2])


def _classes(frame: pd.DataFrame) -> Iterator[str]:
    counts = frame["label"].value_counts()
    yield (
        f"{counted(len(counts), 'class')} of {counts.min():,} to {counts.max():,} items, median "
        f"{counts.median():g}"
    )
    single = counts.index[counts == 1]
    if len(single):
        shown = ", ".join(one_line(name, 40) for name in sorted(single)[:_SHOWN])
        more = ", …" if len(single) > _SHOWN else ""
        classes = counted(len(single), "class")
        yield f"{classes} with a single item, with none to be found: {shown}{more}"


def _broken(broken: list[tuple[str, str]]) -> Iterator[str]:
    if broken:
        yield f"{counted(len(broken), 'image')} left out, unreadable:"
        yield from (f"  {one_line(reason, 300)}" for _, reason in broken[:_SHOWN])
        if len(broken) > _SHOWN:
            yield f"  and {len(broken) - _SHOWN:,} more"
