"""What the columns that rules of retrieval name mean: groups, junk, and several labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stt_bench.benchmark.system.errors import ItemsError

_FLAGS = {
    **dict.fromkeys(("true", "1", "yes"), True),
    **dict.fromkeys(("false", "0", "no", ""), False),
}


def group_codes(cells: np.ndarray) -> np.ndarray:
    """Return (N,) integers, equal where the group is; an empty cell equals no other."""
    _, codes = np.unique(cells, return_inverse=True)
    empty = np.flatnonzero(cells == "")
    codes[empty] = len(cells) + empty
    return codes


def junk_flags(column: str, cells: Sequence[str], ids: Sequence[str]) -> np.ndarray:
    """Return (N,) whether an item is junk.

    Raises:
        ItemsError: a cell is neither true nor false, or all items are junk.
    """
    flags = [_FLAGS.get(cell.strip().lower()) for cell in cells]
    if None in flags:
        odd = flags.index(None)
        raise ItemsError(
            f"junk: item '{ids[odd]}' has {column} '{cells[odd]}': write true or false in that "
            "column"
        )
    if all(flags):
        raise ItemsError(f"junk: every item is {column}, and none is left to be found")
    return np.array(flags, dtype=bool)


def labels_apart(labels: np.ndarray, separator: str | None) -> np.ndarray:
    """Return (N,) the labels: strings, or lists of them where items have several."""
    if separator is None:
        return labels
    found = np.empty(len(labels), dtype=object)
    for place, label in enumerate(labels.tolist()):
        found[place] = [part for one in label.split(separator) if (part := one.strip())]
    return found
