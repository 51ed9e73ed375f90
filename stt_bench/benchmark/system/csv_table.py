"""The one reader of csv files: encoding, delimiter, quotes, header, and the line of every row."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.kinds import is_binary, no_csv
from stt_bench.names import nearest

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
SHOWN = 80  # characters of a line that is quoted
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_SEP = re.compile(r"\Asep=.[ \t]*(?=[\r\n])", re.IGNORECASE)  # a line that is for Excel
_ALIKE = 0.75  # 'lable' is a slip for 'label', 'quality' a column of its own


class RawTable(NamedTuple):
    """A table as it stands in a file: strings without blanks around them."""

    names: list[str]  # as written in the header; none where there is no header
    frame: pd.DataFrame  # columns 0, 1, …; the index is the line in the file
    line: int  # of the header, or of the first item


class CsvTable(NamedTuple):
    """The columns of a csv file that its reader knows, and the names of all others."""

    frame: pd.DataFrame  # the index is the line in the file
    unknown: list[str]


def read_table(
    path: Path,
    is_header: Callable[[Sequence[str]], bool],
    is_row: Callable[[Sequence[str]], bool] = lambda cells: False,
    *,
    expected: str = "",
) -> RawTable:
    """Read a csv file in UTF-8, with or without a byte order mark, and with or without a header.

    Its delimiter is the comma, semicolon, tab or bar that makes the first line that is not blank a
    header, else the one that makes it a row; where none does, and all lines are rows of what stands
    before the last run of blanks and after it, these blanks; else a semicolon or tab that stands in
    all lines while no comma stands in the first; else the comma. Blank lines are passed over, and
    so is a first line `sep=;`.

    Args:
        path: the file.
        is_header: tells whether the cells of the first line name the columns.
        is_row: tells whether the cells of a line seem to be those of an item.
        expected: what the file may look like, for the messages.

    Raises:
        BenchError: the file is missing, empty, of another kind, not UTF-8 or not csv, or a line has
            more or fewer cells than the first.
    """
    text = _text(path, expected)
    delimiter = _delimiter(text, is_header, is_row)
    lines = _blank_separated(text) if delimiter == " " else _lines(path, text, delimiter)
    number, first = next(lines, (0, []))
    if not first:
        raise BenchError(f"{path} is empty: {expected}")
    names = list(first) if is_header(first) else []
    rows, numbers, line = ([], [], number) if names else ([first], [number], number)
    for number, cells in lines:
        if len(cells) != len(first):
            if not names and is_header(cells):
                raise _no_first_line(path, line, first, expected)
            raise BenchError(
                f"{path}:{number}: expected {len(first)} cells, found {len(cells)}: "
                f"put a value that contains a {_DELIMITERS[delimiter]} in double quotes"
            )
        rows.append(cells)
        numbers.append(number)
    if not rows:
        raise BenchError(f"{path} has a header but no lines below it: add one for every item")
    frame = pd.DataFrame(rows, index=pd.Index(numbers, name="line"), dtype=object)
    return RawTable(names, frame, line)


def read_csv(path: Path, known: Sequence[str], *, required: Sequence[str] = ()) -> CsvTable:
    """Read a csv file whose header names columns, in any case; further ones are only named.

    Args:
        path: the file.
        known: columns that are returned where the file has them.
        required: columns without which the first line is no header.

    Raises:
        BenchError: as `read_table`; a column is missing, there twice, or its name is a slip for one
            that is missing.
    """

    def is_header(cells: Sequence[str]) -> bool:
        columns = [cell.lower() for cell in cells]
        known_ones = set(columns) & set(known)
        return set(required) <= set(columns) or bool(known_ones and slip(columns, known))

    expected = f"its first line names the columns {','.join(required or known)}"
    names, frame, line = read_table(path, is_header, expected=expected)
    if not names:
        raise _no_first_line(path, line, frame.iloc[0], expected)
    columns = [name.lower() for name in names]
    for column in known:
        if columns.count(column) > 1:
            raise BenchError(f"{path}:{line}: column '{column}' is there twice: remove one")
    if told := slip(columns, known):
        raise BenchError(f"{path}:{line}: {told}")
    places = {column: place for place, column in enumerate(columns) if column in known}
    found = frame[list(places.values())].set_axis(list(places), axis=1)
    return CsvTable(found, [name for name in columns if name and name not in known])


def _no_first_line(path: Path, line: int, cells: Iterable[str], expected: str) -> BenchError:
    shown = ",".join(cells)[:SHOWN]
    return BenchError(f"{path}:{line}: '{shown}' is not the first line of such a list: {expected}")


def _text(path: Path, expected: str) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BenchError(f"{path}: there is no such file: correct the name") from None
    except IsADirectoryError:
        raise BenchError(f"{path} is a folder: name a csv file") from None
    except OSError as error:
        raise BenchError(f"{path}: cannot be read ({error.strerror or error})") from None
    if told := no_csv(path, content):
        raise BenchError(f"{path} {told}{expected}")
    if content.startswith(_UTF16):
        raise BenchError(f"{path} is UTF-16 text: save it as UTF-8 (in Excel: 'CSV UTF-8')")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if is_binary(content):
            raise BenchError(f"{path} is a binary file, not a csv: {expected}") from None
        line = content.count(b"\n", 0, error.start) + 1
        raise BenchError(
            f"{path}:{line}: byte 0x{content[error.start]:02x} is not UTF-8: save the file as "
            f"UTF-8, or convert it: iconv -f latin1 -t utf-8 {path.name} > utf8.csv"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise BenchError(f"{path}:{line}: a null byte is no text: save the file as csv in UTF-8")
    return _SEP.sub("", text)


def _delimiter(
    text: str,
    is_header: Callable[[Sequence[str]], bool],
    is_row: Callable[[Sequence[str]], bool],
) -> str:
    lines = [line.strip() for line in io.StringIO(text) if line.strip()]
    first = lines[0] if lines else ""
    for fits in (is_header, is_row):
        for delimiter in _DELIMITERS:
            cells = [cell.strip().strip('"').strip() for cell in first.split(delimiter)]
            if len(cells) > 1 and fits(cells):
                return delimiter
    in_two = [line.rsplit(maxsplit=1) for line in lines]
    if all(len(cells) == 2 and is_row(cells[:1]) for cells in in_two):
        return " "
    if "," not in first:
        for delimiter in (";", "\t"):
            if all(delimiter in line for line in lines):
                return delimiter
    return ","


def _blank_separated(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield number and two cells of every line not blank: what is before its last blank, after."""
    for number, line in enumerate(io.StringIO(text), 1):
        if line.strip():
            yield number, line.strip().rsplit(maxsplit=1)


def _lines(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the line where it starts, and its cells, of every row not blank."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    number = 1
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if stripped not in ([], [""]):
                yield number, stripped
            number = reader.line_num + 1
    except csv.Error as error:
        raise BenchError(
            f"{path}:{number}: not a csv line ({error}): correct its quotes"
        ) from error


def slip(columns: Sequence[str], known: Sequence[str]) -> str:
    """Say which column seems to be a known one that is not there; nothing where none does."""
    missing = [column for column in known if column not in columns]
    for column in columns:
        near = nearest(column, missing, alike=_ALIKE)
        if near is not None and column not in known:
            return f"column '{column}': did you mean '{near}'?"
    return ""
