"""Folders of images: `CLASS/IMAGE`, with the folders of a split above them, or any others below."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NoReturn

import pandas as pd

from stt_bench.benchmark.datasets.csv_lists import ItemList, label_of
from stt_bench.benchmark.datasets.splits import ROLES, SPLITS
from stt_bench.benchmark.datasets.suffixes import is_image, suffixes_in_words
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.text import counted

Level = Literal["top", "leaf"]

WORDS = {**SPLITS, **ROLES}
_BESIDE = {"set", "data", "split", "folder", "image", "images", "img", "imgs"}  # train_images
_NO_CLASSES = _BESIDE | {"jpg", "jpeg", "png", "jpegimages", "photos", "pictures", "masks"}
WHOLE = (
    {"train", "test"},
    {"train", "validation"},
    {"train", "validation", "test"},
    {"train", "query", "gallery"},
    {"train", "validation", "query", "gallery"},
    {"query", "gallery"},  # in the folder of a test split
)


def images_below(folder: Path, skipped: Counter[str] | None = None) -> Iterator[str]:
    """Yield the paths of all images in a folder and the folders in it, sorted, none hidden.

    What is passed over, files of other kinds and links to folders, is counted in `skipped`.

    Raises:
        BenchError: a folder cannot be read.
    """

    def refuse(error: OSError) -> NoReturn:
        raise BenchError(f"{error.filename}: the folder cannot be read ({error.strerror})")

    for where, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for name in sorted(files):
            if is_image(name):
                yield os.path.join(where, name)
            elif skipped is not None and not is_hidden(name):
                skipped[os.path.splitext(name)[1].lower() or "without a suffix"] += 1
        if skipped is not None:
            links = sum(os.path.islink(os.path.join(where, name)) for name in folders)
            skipped.update({"links to folders": links} if links else {})


def skipped_note(folder: Path, skipped: Counter[str]) -> list[str]:
    """Return the sentence on what was passed over, if anything was."""
    if not skipped:
        return []
    return [f"{folder}: skipped, since they are no images: {_kinds(skipped)}"]


def _kinds(skipped: Counter[str]) -> str:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in skipped.most_common(5))
    return kinds + (f" and {len(skipped) - 5} kinds more" if len(skipped) > 5 else "")


def read_folder(folder: Path, classes: Level | None = None) -> ItemList:
    """Return the columns path and label and, where the folders tell them, split and role.

    A class is a folder of images; folders in it belong to it. Above the classes there may be the
    folders of splits (`train`, `val`, `test` and the like, in any case) and of roles (`query` and
    `gallery`, beside `train` or in `test`): they are told by their names and by holding folders
    alone.

    Args:
        folder: where the class folders lie, or those of the splits.
        classes: what a folder is that holds folders alone: `top`, a class of all images below it;
            `leaf`, a category of classes. Not given, such a folder is refused.

    Raises:
        BenchError: the images lie otherwise, or there are none.
    """
    skipped: Counter[str] = Counter()
    frame, notes, _ = _read(folder, classes, skipped)
    return ItemList(frame, [*notes, *skipped_note(folder, skipped)])


def _read(folder: Path, classes: Level | None, skipped: Counter[str]) -> ItemList:
    parts = _parts(folder, classes)
    if not parts:
        return _read_classes(folder, classes, skipped)
    frames, notes = [], []
    for word, part in parts.items():
        frame, told, _ = _read(part, classes, skipped)
        if "split" in frame or ("role" in frame and word != "test"):
            raise BenchError(
                f"{part} holds folders of splits in the folder of a split: leave one of the two"
            )
        known = {"role": word} if word in ("query", "gallery") else {"split": word}
        frames.append(frame.assign(path=f"{part.name}/" + frame["path"], **known))
        notes += told
    whole = pd.concat(frames, ignore_index=True)
    if "role" in whole:
        whole["role"] = whole["role"].fillna("both")
        if "split" in whole:
            whole["split"] = whole["split"].fillna("test")
    return ItemList(whole, notes)


def _parts(folder: Path, classes: Level | None) -> dict[str, Path]:
    """Return the folders of the splits and roles; none where the folders are those of classes."""
    within = [entry for entry in folders_in(folder) if has_images(entry)]
    inner = [entry for entry in within if not images_in(entry)]  # those that hold folders alone
    parts = [entry for entry in inner if word_of(entry.name)]
    if not parts:
        flat = [entry.name for entry in within if entry not in inner and some_word(entry.name)]
        several = len({some_word(name) for name in flat}) > 1 and 2 * len(flat) >= len(within)
        if several and classes is None:
            raise BenchError(
                f"{folder} has the folders {_names(flat)} with images but no class folders in "
                f"them: move each image to {flat[0]}/CLASS/, or give a csv path,label,split; "
                "for classes of these names set the option classes to top"
            )
        return {}
    words = {word_of(entry.name): entry for entry in parts}
    others = [entry.name for entry in within if entry not in parts]
    if others:
        raise BenchError(
            f"{folder} has the folders of a split, {_names([one.name for one in parts])}, beside "
            f"others with images, {_names(others)}: leave one kind, or give the folders as the "
            "options train and test"
        )
    if len(words) < len(parts) or set(words) not in WHOLE:
        raise BenchError(
            f"{folder} has the folders {_names([one.name for one in parts])}: a data set has train "
            f"and test (or val, or query and gallery), each once; if the classes are in one of "
            f"them, give {parts[0]} as the root"
        )
    order = ["train", "validation", "test", "query", "gallery"]
    return {word: words[word] for word in order if word in words}


def _read_classes(folder: Path, classes: Level | None, skipped: Counter[str]) -> ItemList:
    entries = folders_in(folder)
    stray = images_in(folder)
    if stray:
        raise BenchError(
            f"{folder} holds images outside of a class folder ({len(stray)}, the first is "
            f"{stray[0]}): move them into {folder}/CLASS/, or give a csv path,label"
        )
    if not entries:
        raise BenchError(f"{folder} holds no class folders: images lie in {folder}/CLASS/")
    if classes is None and all(entry.name.lower() in _NO_CLASSES for entry in entries):
        raise BenchError(
            f"{folder} has only {_names([one.name for one in entries])}, which seems to be no "
            f"class: images lie in {folder}/CLASS/; else give a csv path,label, or set the option "
            "classes to top"
        )
    images = {entry: list(images_below(entry, skipped)) for entry in entries}
    empty = [entry.name for entry, found in images.items() if not found]
    if empty:
        held: Counter[str] = Counter()
        list(images_below(folder / empty[0], held))
        what = f", which holds {_kinds(held)}" if held else ""
        raise BenchError(
            f"{folder} has {counted(len(empty), 'class folder')} without images, the first is "
            f"{empty[0]}{what}: remove such folders, or add images ({suffixes_in_words()})"
        )
    nested = [entry for entry in entries if not images_in(entry)]
    if nested and classes is None:
        raise BenchError(
            f"{nested[0]} holds no images but folders ({len(nested)} of {len(entries)} such): give "
            "it as the root if the classes or splits lie there, or set the option classes: leaf "
            "(each folder with images is a class) or top (this folder is one)"
        )
    paths = [os.path.relpath(path, folder) for found in images.values() for path in found]
    frame = pd.DataFrame({"path": [Path(path).as_posix() for path in paths]})
    where = frame["path"].str.rpartition("/")[0]
    frame["label"] = (where if classes == "leaf" else where.str.partition("/")[0]).map(label_of)
    deep = int(where.str.contains("/").sum())
    if deep and classes is None:
        told = f"{folder}: {counted(deep, 'image')} in folders of a class folder taken as its class"
        return ItemList(frame, [f"{told}; the option classes: leaf takes them as classes"])
    return ItemList(frame, [])


def is_hidden(name: str) -> bool:
    """Tell whether a folder is one that programs keep for themselves."""
    return name.startswith(".") or name == "__MACOSX"


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, none hidden."""
    found = [one for one in _entries(folder) if _is_folder(one) and not is_hidden(one.name)]
    for target, one in [(Path(one.path).resolve(), one) for one in found if one.is_symlink()]:
        whole = folder.resolve()
        if target.is_relative_to(whole) or whole.is_relative_to(target):
            raise BenchError(
                f"{one.path} is a link to {target}, whose images would count twice: remove it"
            )
    return [folder / one.name for one in found]


def images_in(folder: Path) -> list[str]:
    """Return the names of the images in a folder itself, sorted."""
    return [one.name for one in _entries(folder) if is_image(one.name) and not _is_folder(one)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: what it cannot be read as is told of the file
        return False


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        raise BenchError(f"{folder} does not exist: images lie in {folder}/CLASS/") from None
    except OSError as error:
        raise BenchError(
            f"{folder} cannot be read as a folder of class folders ({error.strerror})"
        ) from None


def has_images(folder: Path) -> bool:
    """Tell whether there are images in a folder or the folders in it."""
    return next(images_below(folder), None) is not None


def _tokens(name: str) -> list[str]:
    parts = re.split(r"[\W\d_]+", name.lower())
    return [one if one in _BESIDE else one.removesuffix("set") for one in parts if one]


def word_of(name: str) -> str | None:
    """Return the split or role that a folder is named for: test for `Test_Images`."""
    telling = [token for token in _tokens(name) if token not in _BESIDE]
    return WORDS.get(telling[0]) if len(telling) == 1 else None


def some_word(name: str) -> str | None:
    """Return the first split or role in a name: test for `bounding_box_test`."""
    return next((WORDS[token] for token in _tokens(name) if token in WORDS), None)


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
