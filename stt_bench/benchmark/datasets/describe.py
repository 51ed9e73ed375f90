"""What data were understood as, before anything is trained: layout, classes, splits, images."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from stt_bench.benchmark.datasets.csv_lists import Columns
from stt_bench.benchmark.datasets.duplicate_search import similar_pairs
from stt_bench.benchmark.datasets.folders import Level
from stt_bench.benchmark.datasets.item_rules import listed_twice, metadata_of, unwritable
from stt_bench.benchmark.datasets.items import item_table
from stt_bench.benchmark.datasets.near_duplicates import Match, thumbnails_of
from stt_bench.benchmark.datasets.splits import NEITHER
from stt_bench.benchmark.datasets.stores import FileStore
from stt_bench.benchmark.datasets.threads import Progress, thread_count
from stt_bench.benchmark.datasets.understand import Understood, understand
from stt_bench.benchmark.datasets.unreadable import unreadable_images
from stt_bench.benchmark.system.contents import stamp_of
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.text import counted, one_line

_SHOWN = 5
_ROLES = {"query": "queries", "gallery": "in the gallery", NEITHER: "neither query nor gallery"}


@dataclass(frozen=True)
class Part:
    """A split, or the items of a role in it."""

    name: str
    items: int
    classes: int


@dataclass(frozen=True)
class Alike:
    """Pairs of near-duplicates, of one class and of two."""

    within: list[Match]
    across: list[Match]


@dataclass(frozen=True)
class Description:
    """What was understood of data.

    Attributes:
        source: Where they lie.
        layout: How, in words.
        columns: What the columns of a list are called in it, by path, label and so on.
        metadata: The further columns.
        items: Their number.
        classes: Their number.
        per_class: Least, median and most items of a class.
        single: Classes of one item: nothing can be found for it.
        parts: Splits and roles, where the data have them.
        sides: Least, median and greatest shorter side of the images, pixels; None: none is read.
        unreadable: A sentence for each image that cannot be opened; or, where near-duplicates were
            searched for, not be decoded.
        duplicates: Pairs of images that are alike, where they were searched for.
        notes: What is not used, or used otherwise than one may think.
    """

    source: Path
    layout: str
    columns: dict[str, str]
    metadata: list[str]
    items: int
    classes: int
    per_class: tuple[int, float, int]
    single: list[str]
    parts: list[Part]
    sides: tuple[int, float, int] | None
    unreadable: list[str]
    duplicates: Alike | None
    notes: list[str]

    def lines(self) -> Iterator[str]:
        """Yield what to tell, a line each; what is the user's own text is made safe."""
        yield f"{one_line(str(self.source))}: {one_line(self.layout)}"
        if self.columns:
            named = (f"{name} is '{one_line(own, 40)}'" for name, own in self.columns.items())
            yield f"columns: {', '.join(named)}"
        if self.metadata:
            yield f"metadata: {', '.join(one_line(name, 40) for name in self.metadata)}"
        least, median, most = self.per_class
        yield (
            f"{counted(self.items, 'image')} of {counted(self.classes, 'class')}, {least:,} to "
            f"{most:,} a class, median {median:g}"
        )
        for part in self.parts:
            images, classes = counted(part.items, "image"), counted(part.classes, "class")
            yield f"  {part.name}: {images} of {classes}"
        if not self.parts:
            yield "  no split: one is made by class for retrieval, within classes to classify"
        if self.single:
            have = "has" if len(self.single) == 1 else "have"
            single = counted(len(self.single), "class")
            yield f"{single} {have} a single image{_some(self.single)}"
        if self.sides is not None:
            small, middle, large = self.sides
            yield f"shorter sides of {small:,} to {large:,} pixels, median {middle:g}"
        if self.unreadable:
            yield f"{counted(len(self.unreadable), 'image')} cannot be read{_some(self.unreadable)}"
        if self.duplicates is None:
            yield "only the heads of the images were read: --near-duplicates decodes them whole"
        else:
            for what, pairs in (
                ("within classes", self.duplicates.within),
                ("across classes", self.duplicates.across),
            ):
                shown = [f"{one.image} and {one.other}" for one in pairs]
                yield f"near-duplicates {what}: {counted(len(pairs), 'pair')}{_some(shown)}"
        yield from (f"note: {one_line(note)}" for note in self.notes)


def describe(
    source: Path,
    *,
    images_root: Path | None = None,
    classes: Level | None = None,
    columns: Columns | None = None,
    boxes: str | None = None,
    near_duplicates: bool = False,
    progress: Progress | None = None,
) -> Description:
    """Look at data: what they are read as, and whether their images can be opened.

    Args:
        source: a folder or a list; see `understand`, whose options the next four are.
        images_root: where relative paths of a list start.
        classes: the level of the class folders.
        columns: what the columns of a list are.
        boxes: `whole` takes the images of a list with boxes as they are.
        near_duplicates: decode all images, and search for pairs that are alike.
        progress: called while the images are looked at.

    Raises:
        BenchError: the data are not understood, or none of their images can be read.
    """
    found = understand(
        source, images_root=images_root, classes=classes, columns=columns, boxes=boxes
    )
    frame = found.frame
    sizes, unreadable = image_sizes(frame["path"].tolist())
    gone = {path for path, _ in unreadable}
    if near_duplicates:
        whole = [path for path in dict.fromkeys(frame["path"]) if path not in gone]
        broken = unreadable_images(FileStore(Path()), whole, progress)
        unreadable += [(path, f"{path} ({why})") for path, why in broken.items()]
        gone |= broken.keys()
    if not sizes or len(gone) == frame["path"].nunique():
        raise none_readable(source, unreadable)
    counts = frame["label"].value_counts()
    sides = [min(size) for size in sizes]
    repeated, odd = listed_twice(frame), unwritable(frame)
    alike = None
    if near_duplicates:
        alike = _alike(frame[~frame["path"].isin(gone)], progress)
    return Description(
        source=source,
        layout=found.layout,
        columns=found.columns,
        metadata=metadata_of(frame),
        items=len(frame),
        classes=len(counts),
        per_class=(int(counts.min()), float(counts.median()), int(counts.max())),
        single=sorted(counts.index[counts == 1]),
        parts=_parts(found),
        sides=(min(sides), float(np.median(sides)), max(sides)),
        unreadable=[why for _, why in unreadable],
        duplicates=alike,
        notes=[*found.notes, *(note for note in (repeated, odd) if note)],
    )


def none_readable(source: Path, unreadable: list[tuple[str, str]]) -> BenchError:
    """Return the error of data of which no image can be read; of each its path and the reason."""
    told = f"{source}: none of {counted(len(unreadable), 'image')} can be read: {unreadable[0][1]}"
    if not any(Path(path).exists() for path, _ in unreadable):
        told += ": correct the paths, or give the folder where they start as --images-root"
    return BenchError(told)


def image_sizes(paths: list[str]) -> tuple[list[tuple[int, int]], list[tuple[str, str]]]:
    """Return the sizes of the images by their heads, and which have none, with the reason."""

    def size(path: str) -> tuple[int, int] | str:
        try:
            stamp_of(path)  # a pipe would be waited for
            with Image.open(path) as image:
                return image.size
        except Exception as error:  # broken files raise nearly anything
            told = error.strerror if isinstance(error, OSError) else None
            return f"{path} ({told or 'it is empty, or of no format that Pillow reads'})"

    with ThreadPoolExecutor(thread_count()) as pool:
        found = list(zip(paths, pool.map(size, paths), strict=True))
    sizes = [one for _, one in found if not isinstance(one, str)]
    return sizes, [(path, one) for path, one in found if isinstance(one, str)]


def _parts(found: Understood) -> list[Part]:
    frame = found.frame
    parts = []
    splits = ["train", "validation", "test"] if "split" in frame else [""]
    for split in splits:
        own = frame[frame["split"] == split] if split else frame
        if split and len(own):
            parts.append(Part(split, len(own), own["label"].nunique()))
        for role, words in _ROLES.items():
            some = own[own["role"] == role]
            if len(some):
                name = f"{split}, {words}" if split else words
                parts.append(Part(name, len(some), some["label"].nunique()))
    return parts


def _alike(frame: pd.DataFrame, progress: Progress | None) -> Alike:
    frame = frame[["path", "label"]].drop_duplicates("path").reset_index(drop=True)
    items = item_table("data", frame.assign(split="test", role="both"), FileStore(Path()))
    paths, labels = frame["path"].to_numpy(), frame["label"].to_numpy()
    contents = np.array(items.contents(paths.tolist()), dtype=object)
    thumbnails = thumbnails_of(items, paths.tolist(), progress)
    pairs = similar_pairs(thumbnails, list(range(len(paths))), None, progress)
    same = pd.Series(range(len(paths))).groupby(pd.factorize(contents)[0]).agg(list)
    copies = [(one[0], other, 1.0) for one in same for other in one[1:]]
    known = {(a, b) for a, b, _ in pairs}
    found = Alike([], [])
    for a, b, similarity in sorted([*pairs, *(pair for pair in copies if pair[:2] not in known)]):
        match = Match(paths[a], paths[b], similarity, bool(contents[a] == contents[b]))
        (found.within if labels[a] == labels[b] else found.across).append(match)
    return found


def _some(texts: list[str]) -> str:
    if not texts:
        return ""
    more = ", …" if len(texts) > _SHOWN else ""
    return ": " + ", ".join(one_line(text, 200) for text in texts[:_SHOWN]) + more
