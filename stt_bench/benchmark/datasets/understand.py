"""Images as people have them: a folder, a list, or both, read as they are meant or refused."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote

import pandas as pd

from stt_bench.benchmark.datasets.csv_lists import Columns, read_image_list
from stt_bench.benchmark.datasets.folders import (
    WHOLE,
    Level,
    folders_in,
    has_images,
    images_in,
    read_folder,
    some_word,
)
from stt_bench.benchmark.datasets.image_places import find_images
from stt_bench.benchmark.datasets.list_columns import NoColumnError
from stt_bench.benchmark.datasets.list_folders import check_agreement, split_lists, whole_list
from stt_bench.benchmark.datasets.reid_names import camera_of, read_reid_folders
from stt_bench.benchmark.datasets.suffixes import is_image
from stt_bench.benchmark.system.errors import BenchError, NotHereError
from stt_bench.benchmark.system.text import counted

_BOX = ("x_1", "y_1", "x_2", "y_2")
_MISSING = ("nan", "null", "none", "na", "n/a", "<na>", "nat")
_NO_LISTS = {
    (".json", ".jsonl", ".xml"): "lists of this kind (COCO and the like) are not read: write a csv "
    "path,label",
    (".npz",): "it is several arrays in one file: save the one of the vectors with "
    "numpy.save('X.npy', array)",
    (".npy", ".h5", ".hdf5"): "it holds vectors, not images: "
    "`compare` and `eval` take them, and a table with data: {name: features}",
}


@dataclass(frozen=True)
class Understood:
    """What data were read as.

    Attributes:
        frame: Columns path (absolute), label and role, perhaps split (`train`, `validation`,
            `test`) and weight; all further columns are metadata.
        layout: How the data lie, in words.
        notes: Sentences on what is not used, or used otherwise than one may think.
        columns: What the columns of a list are called in it: by path, label and so on.
    """

    frame: pd.DataFrame
    layout: str
    notes: list[str]
    columns: dict[str, str] = field(default_factory=dict)


def understand(
    source: Path,
    *,
    images_root: Path | None = None,
    classes: Level | None = None,
    columns: Columns | None = None,
    boxes: str | None = None,
) -> Understood:
    """Read a folder of images, a list of images, or a folder with lists in it.

    Args:
        source: the folder, or the csv, tsv, text or Parquet file.
        images_root: where the relative paths of a list start; else at its own folder.
        classes: the level of the class folders: see `read_folder`. Lists in the folder are then
            not looked at.
        columns: what the columns of a list are, where their names do not say it.
        boxes: `whole` takes the images of a list with boxes as they are.

    Raises:
        BenchError: the data are not there, or of no layout that is known; one sentence names the
            remedy.
    """
    if not source.exists():
        raise NotHereError(f"{source} does not exist: give a csv file or a folder of class folders")
    if source.suffix.lower() in (".yaml", ".yml") and source.is_file():
        raise BenchError(
            f"{source} is a table, no data: `stt-bench run {quote(str(source))}` runs it; data are "
            "a folder of class folders or a list of images"
        )
    if not source.is_dir():
        return _list(source, images_root, columns, boxes)
    if classes is not None:
        return _class_folders(source, classes)
    return _folder(source, images_root, columns, boxes)


def _folder(
    folder: Path, images_root: Path | None, columns: Columns | None, boxes: str | None
) -> Understood:
    lists = split_lists(folder)
    if len(lists) > 1:
        return _split_lists(folder, lists, images_root, columns, boxes)
    one = whole_list(folder) or next(iter(lists.values()), None)
    unclear = None
    if one is not None:
        try:
            found = _list(one, images_root, columns, boxes)
        except NoColumnError as error:
            unclear = error
        else:
            layout = f"{found.layout} {one.name} in the folder"
            return _checked(folder, replace(found, layout=layout), one)
    reid = read_reid_folders(folder)
    if reid is not None:
        frame, notes, layout = reid
        return Understood(_here(folder, frame), layout, notes)
    try:
        return _class_folders(folder, None)
    except BenchError:
        inner = _only_folder(folder)
        if unclear is not None:
            raise unclear from None
        if inner is None:
            raise
        found = _folder(inner, images_root, columns, boxes)
        return replace(found, notes=[f"{folder}: its images lie in {inner.name}", *found.notes])


def _only_folder(folder: Path) -> Path | None:
    """Return the folder in which a data set is wrapped: the only one that holds images."""
    if images_in(folder):
        return None
    within = [one for one in folders_in(folder) if has_images(one)]
    return within[0] if len(within) == 1 and some_word(within[0].name) is None else None


def _class_folders(folder: Path, classes: Level | None) -> Understood:
    frame, notes, _ = read_folder(folder, classes)
    splits = sorted({path.partition("/")[0] for path in frame["path"]}) if "split" in frame else []
    below = f" below the folders {', '.join(splits)}" if splits else ""
    return Understood(_here(folder, frame), f"class folders{below}", notes)


def _here(folder: Path, frame: pd.DataFrame) -> pd.DataFrame:
    paths = [os.path.abspath(folder / path) for path in frame["path"]]
    return frame.assign(path=paths, role=frame.get("role", "both"))


def _list(
    file: Path,
    images_root: Path | None,
    columns: Columns | None,
    boxes: str | None,
    split: str | None = None,
) -> Understood:
    if is_image(file.name):
        raise BenchError(
            f"{file} is an image: name the folder that it lies in, or a csv that lists the images"
        )
    for suffixes, why in _NO_LISTS.items():
        if file.name.lower().endswith(suffixes):
            raise BenchError(f"{file}: {why}")
    frame, notes, written = read_image_list(file, columns)
    _check_boxes(file, frame, boxes)
    start = images_root or file.parent
    paths, told = find_images(file, frame["path"].tolist(), start, split)
    frame = frame.assign(path=paths, role=frame.get("role", "both"))
    notes += told
    cameras = camera_of(paths) if "camera" not in frame else None
    if cameras is not None:
        frame["camera"] = cameras
        notes.append(f"{file}: the camera is read from the names of MSMT17")
    if "split" not in frame and split is None:
        frame, told = _splits_of_paths(file, frame, start)
        notes += told
    notes += _missing_words(file, frame["label"])
    kind = {".parquet": "Parquet list", ".tsv": "tsv list", ".txt": "text list"}
    return Understood(frame, kind.get(file.suffix.lower(), "csv list"), notes, written)


def _missing_words(file: Path, labels: pd.Series) -> list[str]:
    """Return a note on each class that is called as other tools write a missing value."""
    counts = labels[labels.str.lower().isin(_MISSING)].value_counts()
    return [
        f"{file}: '{word}' is taken as a class ({counted(number, 'line')}): if it says that the "
        "label is missing, delete them"
        for word, number in sorted(counts.items())
    ]


def _check_boxes(file: Path, frame: pd.DataFrame, boxes: str | None) -> None:
    if boxes == "whole" or not set(_BOX) <= set(frame):
        return
    filled = (frame[list(_BOX)] != "").all(axis=1)
    if filled.any():
        raise BenchError(
            f"{file}: it has boxes ({', '.join(_BOX)}), and images are not cropped here: crop "
            "them, or set the option boxes to whole to take the images as they are"
        )


def _splits_of_paths(
    file: Path, frame: pd.DataFrame, start: Path
) -> tuple[pd.DataFrame, list[str]]:
    """Take the splits of the folders in which all images lie, as `train/cat/1.jpg`."""
    parts = [os.path.relpath(path, start).split(os.sep)[:-1] for path in frame["path"]]
    for level in range(min(len(one) for one in parts)):
        names = {one[level] for one in parts}
        words = {name: some_word(name) for name in names}
        if set(words.values()) in WHOLE:
            found = frame["path"].map(
                dict(zip(frame["path"], (words[one[level]] for one in parts), strict=True))
            )
            roles = found.where(found.isin(["query", "gallery"]), frame["role"])
            split = found.where(~found.isin(["query", "gallery"]), "test")
            told = f"{file}: the splits are those of the folders {', '.join(sorted(names))}"
            return frame.assign(split=split, role=roles), [told]
        if len(names) > 1:
            break
    return frame, []


def _split_lists(
    folder: Path,
    lists: dict[str, Path],
    images_root: Path | None,
    columns: Columns | None,
    boxes: str | None,
) -> Understood:
    found: dict[str, Understood] = {}
    notes: list[str] = []
    for word, file in lists.items():
        try:
            found[word] = _list(file, images_root, columns, boxes, word)
        except NoColumnError as error:
            if word != "test" or error.column != "label" or "train" not in found:
                raise
            notes.append(f"{file} has no labels and is left out")
    if len(found) == 1:
        only = found["train"]
        return replace(only, notes=[*only.notes, *notes])
    frames = []
    for word, part in found.items():
        split = word if word in ("train", "validation") else "test"
        frame = part.frame
        if "split" in frame and (frame["split"] != split).any():
            raise BenchError(
                f"{lists[word]} has a split column that says otherwise than its name: give it as "
                "data.root, or remove the column"
            )
        frame = frame.assign(split=split)
        if word in ("query", "gallery"):
            frame["role"] = word
        frames.append(frame)
        notes += part.notes
    whole = pd.concat(frames, ignore_index=True)
    names = ", ".join(file.name for word, file in lists.items() if word in found)
    first = next(iter(found.values()))
    understood = _checked(folder, Understood(whole, f"lists {names}", notes, first.columns))
    frame, told = _numbered_apart(understood.frame)
    return replace(understood, frame=frame, notes=[*understood.notes, *told])


def _numbered_apart(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Tell apart the identities of MSMT17, which are counted from 0 in training and in test."""
    train = frame["split"].isin(["train", "validation"])
    shared = set(frame.loc[train, "label"]) & set(frame.loc[~train, "label"])
    if "camera" not in frame or not shared or camera_of(frame["path"].tolist()) is None:
        return frame, []
    part = train.map({True: "train-", False: "test-"})
    told = "identities are counted from 0 in training and in test: they are told apart by the part"
    return frame.assign(label=part + frame["label"]), [told]


def _checked(folder: Path, found: Understood, file: Path | None = None) -> Understood:
    """Hold a list against the class folders beside it, if there are any."""
    try:
        read, _, _ = read_folder(folder)
    except BenchError:
        return found
    if read["label"].nunique() < 2:  # a folder of images is no class
        return found
    check_agreement(file or folder / "the lists", found.frame, folder, read)
    left = len(set(_here(folder, read)["path"]) - set(found.frame["path"]))
    told = [f"{folder}: {left:,} images are in no list and left out"] if left else []
    return replace(found, notes=[*found.notes, *told])
