"""What the columns of a list are: by their names, in any usual dress, and by their values."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from stt_bench.benchmark.datasets.split_flags import SPLIT_FLAGS
from stt_bench.benchmark.datasets.splits import ROLES, SPLITS
from stt_bench.benchmark.datasets.suffixes import is_image
from stt_bench.benchmark.system.csv_table import RawTable, slip
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.text import one_line
from stt_bench.names import did_you_mean

OWN = ("path", "label", "split", "role", "is_query", "is_gallery", *SPLIT_FLAGS)
_ITEM_ID = "id"  # which says the path, the label or neither
_NAMES = {
    "path": (
        "file_path filepath filepaths image_path img_path relative_path file_name filename "
        "image_filename "
        "image_file image_name img_name imagename image img file photo picture clip "
        "image_id img_id"
    ),
    "label": (
        "class class_name classname label_name category category_name identity pid person_id "
        "personid vehicle_id vehicleid individual_id landmark_id label_group species breed target "
        "ground_truth class_id classid label_id category_id labels"
    ),
    "split": "subset partition phase usage set fold data_split data_set dataset evaluation_status "
    "eval_status",
    "is_train": "is_training is_training_image",
    "is_validation": "is_val",
    "is_test": "is_testing",
}
_FILE_NAMES = ("file_name", "filename", "clip")
_UNSURE = ("is_valid",)  # of validation, or sound
_BY_NAME = {name: column for column, names in _NAMES.items() for name in names.split()}


class ByOption(dict[str, str]):
    """What `--columns` of a command says of a list; a table says it in its field `columns`."""


def written(columns: Mapping[str, str | int], named: Mapping[str, str | int]) -> str:
    """Return how the user names columns: by the option of the command, or a table's field."""
    if isinstance(columns, ByOption):
        return "--columns " + shlex.quote(",".join(f"{what}={n}" for what, n in named.items()))
    return "columns: {" + ", ".join(f"{what}: {n}" for what, n in named.items()) + "}"


class NoColumnError(BenchError):
    """A list has no column that is known as the path, or as the label."""

    def __init__(self, message: str, column: str) -> None:
        """Keep what is missing beside the sentence."""
        super().__init__(message)
        self.column = column


def is_header(cells: Sequence[str], columns: Mapping[str, str | int] | None = None) -> bool:
    """Tell whether the cells of a first line name columns: one is known, and none is an image."""
    if columns and any(name in cells for name in columns.values()):
        return True
    named = {plain(cell) for cell in cells}
    return bool(named & {*OWN, *_BY_NAME, _ITEM_ID}) and not any(map(is_image, cells))


def is_row(cells: Sequence[str]) -> bool:
    """Tell whether one of the cells names an image."""
    return any(map(is_image, cells))


def check_first_line(file: Path, table: RawTable, columns: Mapping[str, str | int]) -> None:
    """Refuse a list whose first line is none of an image while all others are: it names columns."""
    first, others = table.frame.iloc[0], table.frame.iloc[1:]
    places = [place for place in (0, 1) if others[place].map(is_image).all()]
    if len(others) and len(places) == 1 and not any(map(is_image, first)):
        path, label = first[places[0]], first[1 - places[0]]
        raise NoColumnError(
            f"{_place(file, table)}: '{','.join(first)[:80]}' seems to name columns, of which none "
            f"is known: name them by {written(columns, {'path': path[:40], 'label': label[:40]})}",
            "",
        )


def is_known(name: str) -> bool:
    """Tell whether a column of this name says something of an item, so that it is no number."""
    return plain(name) in {*OWN, *_BY_NAME, _ITEM_ID, "row", "group", "weight"}


def _place(file: Path, table: RawTable) -> str:
    return f"{file}:{table.line}" if table.line else str(file)  # Parquet has no lines


def plain(name: str) -> str:
    """Return a column's name in lower case, with single underscores between its words."""
    return re.sub(r"[\W_]+", "_", name).strip("_").lower()


def asked_for(file: Path, table: RawTable, columns: Mapping[str, str | int]) -> dict[str, int]:
    """Return the places of the columns that the user names, or numbers from 1.

    Raises:
        BenchError: there is no such column, or it is there twice.
    """
    places = {}
    for column, name in columns.items():
        width = table.frame.shape[1]
        if isinstance(name, int) or (not table.names and name.isdecimal()):
            if not 1 <= int(name) <= width:
                said = written(columns, {column: name})
                raise BenchError(f"{file}: {said}: give a number from 1 to {width}")
            places[column] = int(name) - 1
            continue
        found = [place for place, written in enumerate(table.names) if written == name] or [
            place for place, written in enumerate(table.names) if plain(written) == plain(name)
        ]
        if len(found) != 1:
            what = did_you_mean(name, table.names) if not found else "it is there twice: rename one"
            if not table.names:
                what = "the file has no header: give its number, from 1"
            raise BenchError(f"{file}: {written(columns, {column: name})}: {what}")
        places[column] = found[0]
    return places


def places_of(
    file: Path,
    table: RawTable,
    *,
    known: Sequence[str],
    required: Sequence[str],
    exact: Sequence[str] = (),
    columns: Mapping[str, str | int],
) -> dict[str, int]:
    """Return which column of a table with a header is what.

    A column that the user names, or that has the very name, is taken. Else a column by another
    usual name is, if it is the only one of its kind, or if all of them part the items alike (the
    number of a class beside its name).

    Args:
        file: for messages.
        table: as read.
        known: the names that mean something.
        required: those of them that must be there.
        exact: further ones that mean something, of which no other name is a slip.
        columns: what the user says.

    Raises:
        BenchError: a required column is not found, or several could be it.
    """
    places = asked_for(file, table, columns)
    for column in (*known, *exact):
        if column in places:
            continue
        same = [p for p, name in enumerate(table.names) if plain(name) == column]
        if len(same) > 1 and column in {*OWN, *required, *exact}:
            names = ", ".join(table.names[place] for place in same)
            raise BenchError(
                f"{_place(file, table)}: column '{column}' is there twice ({names}): remove one"
            )
        if same:
            places[column] = same[0]
    free = [place for place in range(len(table.names)) if place not in places.values()]
    for column in _NAMES:
        if column not in known or column in places:
            continue
        found = [place for place in free if _BY_NAME.get(plain(table.names[place])) == column]
        if column == "split":
            found = _of_splits(file, table, found)
        if column == "path" and "path" not in required:  # a further column may be called image
            found = [place for place in found if plain(table.names[place]) in _FILE_NAMES]
        if found:
            places[column] = _only(file, table, column, found, columns)
    _item_id(file, table, places, known, required, columns)
    unknown = [name.lower() for name in table.names if plain(name) not in _BY_NAME]
    words = [name for name in known if name not in SPLIT_FLAGS]  # is_text is no slip of is_test
    if not columns and (told := slip([*places, *unknown], words)):
        raise BenchError(f"{_place(file, table)}: {told}")
    for column in required:
        if column not in places and not (column == "split" and places.keys() & SPLIT_FLAGS.keys()):
            raise _not_found(file, table, column, columns)
    return places


def _of_splits(file: Path, table: RawTable, found: list[int]) -> list[int]:
    """Return those of the columns whose cells all name splits; refuse one of which some do."""
    named = {place: table.frame[place].str.lower().isin([*SPLITS, *ROLES]) for place in found}
    whole = [place for place in found if named[place].all()]
    for place in () if whole else found:
        if not named[place].any():
            continue
        cells, odd = table.frame[place], ~named[place]
        raise BenchError(
            f"{file}:{odd.idxmax()}: {table.names[place]} '{one_line(cells[odd].iloc[0], 40)}' "
            f"names no split, as '{one_line(cells[~odd].iloc[0], 40)}' does: write train, "
            "validation, test, query or gallery, or rename the column"
        )
    return whole


def no_split_notes(file: Path, metadata: pd.DataFrame) -> list[str]:
    """Return a sentence on each of the further columns that may have been meant as the split."""
    notes = []
    for name, cells in metadata.items():
        if plain(str(name)) in _UNSURE:
            hint = "name it is_validation if it tells the validation items"
        elif _BY_NAME.get(plain(str(name))) == "split":
            hint = "write train, validation, test, query or gallery if it is one"
        else:
            continue
        shown = f"'{one_line(str(name), 40)}' ('{one_line(cells.iloc[0], 40)}', …)"
        notes.append(f"{file}: no split is read from the column {shown}: {hint}")
    return notes


def _only(
    file: Path,
    table: RawTable,
    column: str,
    found: list[int],
    columns: Mapping[str, str | int],
) -> int:
    """Return the one of several columns that is meant."""
    if column == "path" and len(found) > 1:
        images = [place for place in found if table.frame[place].map(is_image).all()]
        found = images or found
        longest = max(found, key=lambda place: table.frame[place].str.len().sum())
        if all(_ends(table.frame[longest], table.frame[place]) for place in found):
            return longest
    elif len({_partition(table.frame[place]) for place in found}) == 1:
        order = _NAMES[column].split()
        return min(found, key=lambda place: order.index(plain(table.names[place])))
    names = [table.names[place] for place in found]
    if len(found) == 1:
        return found[0]
    raise BenchError(
        f"{_place(file, table)}: the {column} may be any of the columns {_listed(names)}, which "
        f"differ: name it by {written(columns, {column: names[0]})}"
    )


def _ends(whole: pd.Series, part: pd.Series) -> bool:
    return all(one.endswith(other) for one, other in zip(whole, part, strict=True))


def _partition(cells: pd.Series) -> bytes:
    return np.asarray(pd.factorize(cells)[0]).tobytes()


def _item_id(
    file: Path,
    table: RawTable,
    places: dict[str, int],
    known: Sequence[str],
    required: Sequence[str],
    columns: Mapping[str, str | int],
) -> None:
    """Find what a column `id` is: the image where no other is, or the class where no other is."""
    free = [p for p, name in enumerate(table.names) if plain(name) == _ITEM_ID]
    free = [place for place in free if place not in places.values()]
    place = places.get(_ITEM_ID, free[0] if len(free) == 1 else None)
    if place is None:
        return
    if "label" in places or "label" not in required:
        if "path" in required and "path" not in places:
            places["path"] = place
        return
    if table.frame[place].is_unique and len(table.frame) > 1:
        raise _not_found(file, table, "label", columns, " (id is another for every item)")
    if "path" in places or "path" not in required:
        places["label"] = place
        places.pop(_ITEM_ID, None)


def _not_found(
    file: Path, table: RawTable, column: str, columns: Mapping[str, str | int], why: str = ""
) -> NoColumnError:
    name = "NAME"
    if column == "path":
        names = [n for p, n in enumerate(table.names) if n and table.frame[p].map(is_image).all()]
        name = one_line(names[0], 40) if len(names) == 1 else name
    named = _listed([name for name in table.names if name])
    return NoColumnError(
        f"{_place(file, table)}: no column is known as the {column}{why}, the header has {named}: "
        f"name it by {written(columns, {column: name})}",
        column,
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(one_line(name, 40) for name in names[:8]) + more
