"""Refusals: every argument is checked once, here, with a message of one sentence."""

from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from stt_bench.names import did_you_mean

ROWS_AT_ONCE = 65_536


class NoPositiveError(ValueError):
    """No query has a positive, so that nothing can be measured."""


def blocks(length: int, size: int) -> Iterator[slice]:
    """Cut `range(length)` into slices of at most `size`."""
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def evenly(length: int, most: int) -> int:
    """Return the size of as few blocks as there can be, of at most `most`, that are alike."""
    return -(-length // max(1, -(-length // most)))


def as_array(name: str, values: Any) -> np.ndarray:
    """Return `values` as an array of any kind, or say that they are none."""
    try:
        return np.asarray(values)
    except Exception as error:  # whatever a tensor on a GPU or a ragged list raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ValueError(f"{name} cannot be read as an array: {reason[:200]}.") from None


def check_matrix(name: str, values: ArrayLike) -> np.ndarray:
    """Return `values` as a non-empty matrix of finite numbers that float64 holds.

    It is looked at in blocks and neither converted nor copied: it may be a memory map.
    """
    matrix = as_array(name, values)
    if matrix.dtype.kind not in "fiu":
        raise ValueError(f"{name} must hold real numbers, not {matrix.dtype}.")
    if matrix.ndim != 2:
        raise ValueError(f"{name} must have shape (N, D), not {matrix.shape}.")
    if 0 in matrix.shape:
        raise ValueError(f"{name} is empty: its shape is {matrix.shape}.")
    bad = bad_rows(matrix)
    if bad.any():
        what = "beyond 2**53" if matrix.dtype.kind in "iu" else "NaN or infinite"
        raise ValueError(
            f"{name} holds values that are {what} in {bad.sum()} of {len(bad)} rows, "
            f"first in row {bad.argmax()} (from 0): mend or remove them."
        )
    return matrix


def bad_rows(matrix: np.ndarray) -> np.ndarray:
    """Tell which rows of a matrix, (N,), hold NaN, infinity or an integer that float64 does not.

    It is looked at in blocks: it may be a memory map.
    """
    size = max(1, 2**17 // matrix.shape[1])
    return np.concatenate([_bad_rows(matrix[rows]) for rows in blocks(len(matrix), size)])


def _bad_rows(rows: np.ndarray) -> np.ndarray:
    """Tell which rows, (N,), hold a number that float64 does not."""
    if rows.dtype.kind == "f":
        with np.errstate(over="ignore"):
            wide = rows.astype(np.float64) if rows.dtype.itemsize > 8 else rows
        return ~np.all(np.isfinite(wide), axis=1)
    if rows.dtype.itemsize < 8:
        return np.zeros(len(rows), dtype=bool)
    return np.any((rows > 2**53) | (rows < (-(2**53) if rows.dtype.kind == "i" else 0)), axis=1)


def check_labels(name: str, values: ArrayLike, length: int) -> np.ndarray:
    """Return `values` as a vector of `length` int64 numbers or of strings.

    Floats that are whole numbers are integers.
    """
    labels = as_array(name, values)
    if labels.ndim != 1:
        raise ValueError(f"{name} must have shape (N,), not {labels.shape}.")
    if len(labels) != length:
        raise ValueError(f"{name} has {len(labels)} entries for {length} rows.")
    kind = labels.dtype.kind
    if kind == "T" or (kind == "U" and isinstance(values, np.ndarray)):
        return labels.astype(str)
    if kind in "ib":
        return labels.astype(np.int64)
    entries = values if isinstance(values, list | tuple) else labels.tolist()
    kinds = [_kind_of_label(one) for one in entries]
    if set(kinds) <= {"string"}:
        return labels.astype(str)
    if set(kinds) == {"integer"}:
        return labels.astype(np.int64)
    odd = next(i for i, one in enumerate(kinds) if one is None or one != kinds[0])
    raise ValueError(
        f"{name} must be all integers or all strings: row {odd} is {entries[odd]!r:.80}."
    )


def _kind_of_label(label: Any) -> str | None:
    """Tell strings and integers that int64 holds; a float that is a whole number is one."""
    if isinstance(label, str):
        return "string"
    if isinstance(label, Integral):
        return "integer" if -(2**63) <= int(label) < 2**63 else None
    whole = isinstance(label, Real) and float(label).is_integer()
    return "integer" if whole and abs(float(label)) < 2**63 else None


def check_same_kind(name: str, values: np.ndarray, other_name: str, others: np.ndarray) -> None:
    """Refuse integers beside strings: none of them could ever match."""
    if values.dtype.kind != others.dtype.kind:
        kinds = {"i": "integers", "U": "strings"}
        raise ValueError(
            f"{name} are {kinds[values.dtype.kind]} "
            f"but {other_name} are {kinds[others.dtype.kind]}."
        )


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return `value` if it is one of `choices`."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string, not {type(value).__name__}.")
    if value not in choices:
        raise ValueError(f"Unknown {name} '{value}': {did_you_mean(value, choices)}")
    return value


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Return `value` as an int of at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ValueError(f"{name} must be an integer, not {value!r:.80}.")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}.")
    return int(value)


def check_ks(ks: Any) -> list[int]:
    """Return the cut-offs K of Recall@K, each at least 1."""
    scalar = isinstance(ks, np.ndarray) and ks.ndim == 0
    if scalar or isinstance(ks, str) or not isinstance(ks, Iterable):
        raise ValueError(f"ks must be a sequence of integers, not {ks!r:.80}.")
    counts = [check_count("Every K of ks", k) for k in ks]
    if max(counts, default=0) >= 2**31:
        raise ValueError(f"Every K of ks must be below 2**31, not {max(counts)}.")
    return counts
