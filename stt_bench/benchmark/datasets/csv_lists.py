"""Lists of a user's images: csv files in three formats, or a folder `class/image`."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.names import did_you_mean

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
FORMATS = (
    "a csv has a header path,label,split[,role], a header ,label,file_name, "
    "or no header and lines class,path"
)
_VALUES = {"split": ("train", "test"), "role": ("query", "gallery", "both")}
_COLUMNS = ("path", "label", "split", "role")
_SYNONYMS = {"file_name": "path", "clip": "path", "class": "label"}


def read_listing(source: Path) -> pd.DataFrame:
    """Return columns path, label and, where a csv has them, split and role.

    Paths are as in the csv, or relative to the folder.
    """
    if source.is_dir():
        return _read_folder(source)
    if source.is_file():
        return _read_csv(source)
    raise BenchError(f"{source} does not exist: give a csv file or a folder of class folders")


def _read_csv(file: Path) -> pd.DataFrame:
    lines = _lines(file)
    number, first = next(lines, (0, []))
    if not first:
        raise BenchError(f"{file} is empty: {FORMATS}")
    columns = _header(file, number, first)
    rows = []
    if columns is None:
        columns = ["label", "path"]
        rows.append(_row(file, number, first, columns))
    rows += [_row(file, number, cells, columns) for number, cells in lines]
    if not rows:
        raise BenchError(f"{file} has a header but no items: add a line for every image")
    kept = [column for column in columns if column]
    return pd.DataFrame(rows, columns=columns)[kept]


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of every line that is not blank."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, skipinitialspace=True, strict=True)
            try:
                for cells in reader:
                    stripped = [cell.strip() for cell in cells]
                    if stripped not in ([], [""]):
                        yield reader.line_num, stripped
            except csv.Error as error:
                raise BenchError(
                    f"{file}:{reader.line_num}: not a csv line ({error}): correct its quotes"
                ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{file} cannot be read as UTF-8 text ({error}): save it so") from error


def _header(file: Path, number: int, first: list[str]) -> list[str] | None:
    """Return the columns by our names where the first line is a header."""
    columns = [_SYNONYMS.get(cell.lower(), cell.lower()) for cell in first]
    if not {"path", "label"} <= set(columns):
        if len(first) == 2:
            return None
        raise BenchError(f"{file}:{number}: neither a header nor class,path: {FORMATS}")
    for column in columns:
        if column and (column not in _COLUMNS or columns.count(column) > 1):
            hint = "it is there twice" if column in _COLUMNS else did_you_mean(column, _COLUMNS)
            raise BenchError(f"{file}:{number}: column '{column}' is not valid: {hint}")
    return columns


def _row(file: Path, number: int, cells: list[str], columns: list[str]) -> list[str]:
    where = f"{file}:{number}"
    if len(cells) != len(columns):
        raise BenchError(
            f"{where}: expected {len(columns)} cells, found {len(cells)}: "
            "put a value that contains a comma in double quotes"
        )
    for column, cell in zip(columns, cells, strict=True):
        if column and not cell:
            raise BenchError(f"{where}: the {column} is empty: fill it in or delete the line")
        if column in _VALUES and cell not in _VALUES[column]:
            raise BenchError(
                f"{where}: {column} '{cell}' is not valid: {did_you_mean(cell, _VALUES[column])}"
            )
    return cells


def _read_folder(folder: Path) -> pd.DataFrame:
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    classes = [entry for entry in entries if entry.is_dir()]
    stray = [entry.name for entry in entries if is_image(entry.name) and not entry.is_dir()]
    if stray:
        raise BenchError(
            f"{folder} holds images outside of a class folder ({len(stray)}, the first is "
            f"{stray[0]}): move them into {folder}/CLASS/"
        )
    if not classes:
        raise BenchError(f"{folder} holds no class folders: images lie in {folder}/CLASS/")
    images = {entry.name: list(images_below(entry)) for entry in classes}
    empty = [label for label, found in images.items() if not found]
    if empty:
        raise BenchError(
            f"{folder} has {len(empty)} class folders without images, the first is {empty[0]}: "
            f"remove them or add images ({', '.join(EXTENSIONS)})"
        )
    rows = [
        (os.path.relpath(path, folder), label) for label, found in images.items() for path in found
    ]
    return pd.DataFrame(rows, columns=["path", "label"])


def is_image(name: str) -> bool:
    """Tell by its name whether a file is an image."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def images_below(folder: Path) -> Iterator[str]:
    """Yield the paths of all images in a folder and the folders in it, sorted, none hidden."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(where, name) for name in sorted(files) if is_image(name))
