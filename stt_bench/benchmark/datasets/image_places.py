"""Where the images of a list lie: as its paths say, or in a folder beside the list."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

from stt_bench.benchmark.datasets.folders import folders_in, some_word
from stt_bench.benchmark.datasets.suffixes import is_image
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.text import one_line

_DEPTH = 2  # folders below the list's own that are searched
_MOST = 500  # of them


def find_images(
    file: Path, paths: Sequence[str], start: Path, split: str | None = None
) -> tuple[list[str], list[str]]:
    r"""Return the absolute paths of a list's images, and sentences on how they were found.

    Paths start at `start`. Where the first image is not there, backslashes are taken as slashes;
    then the one folder below is searched for in which all images lie, also by their names without
    a suffix, and those with absolute paths by what follows their common folder. Where no image is
    found the paths are those of the list: a later stage tells.

    Args:
        file: the list, for messages.
        paths: as in the list.
        start: where relative paths start.
        split: train, test and the like, whose folder is preferred where several hold all images.

    Raises:
        BenchError: the paths are addresses, or several folders hold all images.
    """
    if paths[0].lower().startswith(("http://", "https://", "s3://", "gs://")):
        raise BenchError(
            f"{file}: its paths are addresses ({one_line(paths[0], 60)}): download the images, and "
            "list their files"
        )
    notes: list[str] = []
    if any("\\" in path for path in paths) and not os.path.exists(start / paths[0]):
        paths = [path.replace("\\", "/") for path in paths]
    if os.path.exists(start / paths[0]):
        return _absolute(start, paths), notes
    found = {}
    names = _below_their_folder(paths)
    for folder in [start, *_below(start)]:
        there = _all_in(folder, names)
        if there is not None:
            found[folder] = there
    if len(found) > 1 and split is not None:
        folders = {"train": ("train",), "validation": ("validation", "train")}
        wanted = folders.get(split, (split, "test"))
        for name in wanted:
            fits = {one: kept for one, kept in found.items() if some_word(one.name) == name}
            if len(fits) == 1:
                found = fits
                break
    if len(found) > 1:
        names_found = ", ".join(os.path.relpath(one, start) for one in list(found)[:5])
        raise BenchError(
            f"{file}: its images lie in several folders ({names_found}): name the one that is "
            "meant by the option images_root"
        )
    if not found:
        return _absolute(start, paths), notes
    folder, there = next(iter(found.items()))
    if folder != start or names is not paths:
        notes.append(f"{file}: its images were found in {folder}")
    return there, notes


def _below_their_folder(paths: Sequence[str]) -> Sequence[str]:
    """Return absolute paths, those of Windows too, without the folder that they have in common."""
    if not all(path.startswith("/") or PureWindowsPath(path).is_absolute() for path in paths):
        return paths
    if len({PureWindowsPath(path).drive.lower() for path in paths}) > 1:
        return paths
    common = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [os.path.relpath(path, common) for path in paths]


def _absolute(start: Path, paths: Sequence[str]) -> list[str]:
    return [os.path.abspath(start / path) for path in paths]


def _below(start: Path) -> list[Path]:
    found: list[Path] = []
    level = [start]
    for _ in range(_DEPTH):
        level = [inner for one in level if one.is_dir() for inner in folders_in(one)]
        found += level
        if len(found) > _MOST:
            return found[:_MOST]
    return found


def _all_in(folder: Path, paths: Sequence[str]) -> list[str] | None:
    """Return the files of all paths in a folder, or None where one is missing."""
    names: dict[str, dict[str, str]] = {}
    found = []
    for path in paths:
        file = os.path.join(folder, path)
        if not os.path.exists(file):
            where, name = os.path.split(file)
            if where not in names:
                names[where] = _by_stem(where)
            if name not in names[where]:
                return None
            file = os.path.join(where, names[where][name])
        found.append(os.path.abspath(file))
    return found


def _by_stem(folder: str) -> dict[str, str]:
    """Return the images of a folder by their names without suffix; none that two share."""
    try:
        names = [name for name in os.listdir(folder) if is_image(name)]
    except OSError:
        return {}
    counts = Counter(os.path.splitext(name)[0] for name in names)
    return {stem: name for name in names if counts[stem := os.path.splitext(name)[0]] == 1}
