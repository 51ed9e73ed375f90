"""What reading official index files has in common: text lines, MATLAB files, halves of classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stt_bench.benchmark.system.errors import BenchError


def subfolder(root: Path, *names: str) -> Path:
    """Return the first of the named folders that exists in `root`, else `root` itself."""
    return next((root / name for name in names if (root / name).is_dir()), root)


def in_first_half(classes: pd.Series) -> pd.Series:
    """Return whether each item's class is in the first half of the sorted classes."""
    ordered = sorted(classes.unique())
    return classes.isin(ordered[: len(ordered) // 2])


def read_lines(file: Path) -> Iterator[tuple[str, str]]:
    """Yield `FILE:NUMBER` and the stripped text of every line that is not blank."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(
            f"{file} cannot be read ({error}): the official index files are needed"
        ) from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield f"{file}:{number}", line.strip()


def read_rows(file: Path, columns: str, skip: int = 0) -> pd.DataFrame:
    """Return the lines of a text file, without the first `skip`, as a table of strings.

    Blanks separate the columns, whose names are given in one string; the last may hold blanks.
    """
    names = columns.split()
    rows = []
    for where, line in islice(read_lines(file), skip, None):
        cells = line.split(maxsplit=len(names) - 1)
        if len(cells) != len(names):
            raise BenchError(
                f"{where}: '{line}' is not a line '{columns}': get the official file again"
            )
        rows.append(cells)
    if not rows:
        raise BenchError(f"{file} lists nothing: get the official file again")
    return pd.DataFrame(rows, columns=names)


def read_mat(file: Path, kinds: Mapping[str, type[str] | type[int]]) -> dict[str, list[Any]]:
    """Return variables of a MATLAB file as lists of strings or ints, by name.

    A variable is a vector or a cell array; `annotations.class` is a field of a struct array.
    """
    from scipy.io import loadmat

    try:
        content = loadmat(file, squeeze_me=True)
        return {name: _values(content, name, kind) for name, kind in kinds.items()}
    except Exception as error:  # damaged files raise nearly anything, from zlib.error to KeyError
        reason = f"{type(error).__name__}: {error}".partition("\n")[0].rstrip(".")
        raise BenchError(
            f"{file} cannot be read as the official MATLAB file with {', '.join(kinds)} "
            f"({reason}): get it again"
        ) from error


def _values(content: dict[str, Any], name: str, kind: type[str] | type[int]) -> list[Any]:
    variable, _, field = name.partition(".")
    values = np.atleast_1d(content[variable][field] if field else content[variable]).tolist()
    if any(isinstance(value, str) != (kind is str) for value in values):
        raise TypeError(f"{name} holds other values than {kind.__name__}")
    return [kind(value) for value in values]
