"""The one reader of csv files: encoding, delimiter, quotes, header, and the line of every row."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.names import nearest

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_SHOWN = 80  # characters of a line that is quoted
_ALIKE = 0.75  # 'lable' is a slip for 'label', 'quality' a column of its own


class CsvTable(NamedTuple):
    """The columns of a csv file that its reader knows, and all others."""

    frame: pd.DataFrame  # strings without blanks around them; the index is the line in the file
    others: pd.DataFrame  # the same of the columns it does not know, under the names in the file
    twice: list[str]  # names that several of those have: they are left out


def read_csv(
    path: Path,
    known: Sequence[str],
    *,
    required: Sequence[str] = (),
    exact: Sequence[str] = (),
    aliases: Mapping[str, str] | None = None,
    headerless: Mapping[int, Sequence[str]] | None = None,
    formats: str = "",
) -> CsvTable:
    """Read a csv file in UTF-8, with or without a byte order mark.

    The first line that is not blank is the header where it names all `required` columns, in any
    case. Its delimiter is a comma, or the semicolon or tab that makes it such a header. Blank lines
    and columns without a name, such as pandas' index, are passed over.

    Args:
        path: the file.
        known: columns that are returned where the file has them.
        required: columns without which the first line is no header.
        exact: columns that are returned, too, of which no other name is a slip.
        aliases: other names of known columns.
        headerless: the columns of a file without a header, by their number.
        formats: what the file may look like, for the message where it looks otherwise.

    Raises:
        BenchError: the file is missing, empty, not UTF-8 or not csv, a line has more or fewer cells
            than the first, a column is there twice, or its name is a slip for one that is missing.
    """
    text = _text(path)
    expected = formats or f"its first line names the columns {','.join(required or known)}"
    delimiter = _delimiter(text, required, aliases or {})
    lines = _lines(path, text, delimiter)
    number, first = next(lines, (0, []))
    if not first:
        raise BenchError(f"{path} is empty: {expected}")
    columns = _named(first, aliases or {})
    rows, numbers, where = [], [], f"{path}:{number}"
    if set(required) <= set(columns) or (set(columns) & set(known) and _slip(columns, known)):
        _check_header(where, columns, first, known, exact)
    elif headerless and len(first) in headerless:
        columns = list(headerless[len(first)])
        rows, numbers, first = [first], [number], []
    else:
        shown = delimiter.join(first)[:_SHOWN]
        raise BenchError(f"{where}: '{shown}' is not the first line of such a list: {expected}")
    for number, cells in lines:
        if len(cells) != len(columns):
            raise BenchError(
                f"{path}:{number}: expected {len(columns)} cells, found {len(cells)}: "
                "put a value that contains a comma in double quotes"
            )
        rows.append(cells)
        numbers.append(number)
    if not rows:
        raise BenchError(f"{path} has a header but no lines below it: add one for every item")
    returned = {*known, *exact}
    counts = Counter(first)
    ours = {column: place for place, column in enumerate(columns) if column in returned}
    others = {
        name: place
        for place, name in enumerate(first)
        if name and columns[place] not in returned and counts[name] == 1
    }
    index = pd.Index(numbers, name="line")
    frame, rest = (
        pd.DataFrame(
            {column: [cells[place] for cells in rows] for column, place in places.items()},
            index=index,
            dtype=object,
        )
        for places in (ours, others)
    )
    twice = [name for place, name in enumerate(first) if name and columns[place] not in returned]
    twice = [name for name in dict.fromkeys(twice) if counts[name] > 1]
    return CsvTable(frame, rest, twice)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BenchError(f"{path}: there is no such file: correct the name") from None
    except IsADirectoryError:
        raise BenchError(f"{path} is a folder: name a csv file") from None
    except OSError as error:
        raise BenchError(f"{path}: cannot be read ({error.strerror or error})") from None
    if content.startswith(_UTF16):
        raise BenchError(f"{path} is UTF-16 text: save it as UTF-8 (in Excel: 'CSV UTF-8')")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BenchError(
            f"{path}:{line}: byte 0x{content[error.start]:02x} is not UTF-8: save the file as "
            f"UTF-8, or convert it: iconv -f latin1 -t utf-8 {path.name} > utf8.csv"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise BenchError(f"{path}:{line}: a null byte is no text: save the file as csv in UTF-8")
    return text


def _delimiter(text: str, required: Sequence[str], aliases: Mapping[str, str]) -> str:
    first = next((line for line in io.StringIO(text, newline="") if line.strip()), "")
    for delimiter in (",", ";", "\t"):
        cells = [cell.strip().strip('"') for cell in first.split(delimiter)]
        if required and set(required) <= set(_named(cells, aliases)) and len(cells) > 1:
            return delimiter
    return ","


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


def _named(cells: Sequence[str], aliases: Mapping[str, str]) -> list[str]:
    return [aliases.get(cell.lower(), cell.lower()) for cell in cells]


def _check_header(
    where: str,
    columns: Sequence[str],
    written: Sequence[str],
    known: Sequence[str],
    exact: Sequence[str],
) -> None:
    for column in (*known, *exact):
        if columns.count(column) > 1:
            same = [name for name, own in zip(written, columns, strict=True) if own == column]
            raise BenchError(
                f"{where}: column '{column}' is there twice ({', '.join(same)}): remove one"
            )
    slip = _slip(columns, known)
    if slip:
        raise BenchError(f"{where}: {slip}")


def _slip(columns: Sequence[str], known: Sequence[str]) -> str:
    """Say which column seems to be a known one that is not there; nothing where none does."""
    missing = [column for column in known if column not in columns]
    for column in columns:
        near = nearest(column, missing, alike=_ALIKE)
        if near is not None and column not in known:
            return f"column '{column}': did you mean '{near}'?"
    return ""
