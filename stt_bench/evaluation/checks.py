"""Refusals: every argument is checked once, here, with a message of one sentence."""

from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from stt_bench.names import did_you_mean

ROWS_AT_ONCE = 65_536


def blocks(length: int, size: int) -> Iterator[slice]:
    """Cut ``range(length)`` into slices of at most ``size``."""
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def check_matrix(name: str, values: ArrayLike, kind: type = np.float32) -> np.ndarray:
    """Return ``values`` as a non-empty matrix that is finite once it is rounded to ``kind``.

    It is looked at in blocks and neither converted nor copied: it may be a memory map.
    """
    matrix = np.asarray(values)
    if matrix.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers, not {matrix.dtype}.")
    if matrix.ndim != 2:
        raise ValueError(f"{name} must have shape (N, D), not {matrix.shape}.")
    if 0 in matrix.shape:
        raise ValueError(f"{name} is empty: its shape is {matrix.shape}.")
    step = max(1, 2**22 // matrix.shape[1])
    with np.errstate(over="ignore"):
        bad = np.concatenate(
            [
                ~np.isfinite(matrix[rows].astype(kind, copy=False)).all(axis=1)
                for rows in blocks(len(matrix), step)
            ]
        )
    if bad.any():
        raise ValueError(
            f"{name} holds values that are NaN, infinite or beyond {kind.__name__} "
            f"in {bad.sum()} of {len(bad)} rows, first in row {bad.argmax()}."
        )
    return matrix


def check_labels(name: str, values: ArrayLike, length: int) -> np.ndarray:
    """Return ``values`` as a vector of ``length`` int64 numbers or of strings."""
    labels = np.asarray(values)
    if labels.ndim != 1:
        raise ValueError(f"{name} must have shape (N,), not {labels.shape}.")
    if len(labels) != length:
        raise ValueError(f"{name} has {len(labels)} entries for {length} rows.")
    if labels.dtype.kind == "O":
        if all(isinstance(label, str) for label in labels):
            return labels.astype(str)
        if all(isinstance(label, Integral) for label in labels):
            return labels.astype(np.int64)
    if labels.dtype.kind in "iub":
        return labels.astype(np.int64)
    if labels.dtype.kind in "UT":
        return labels.astype(str)
    raise TypeError(f"{name} must be all integers or all strings, not {labels.dtype}.")


def check_same_kind(name: str, values: np.ndarray, other_name: str, others: np.ndarray) -> None:
    """Refuse integers beside strings: none of them could ever match."""
    if values.dtype.kind != others.dtype.kind:
        kinds = {"i": "integers", "U": "strings"}
        raise ValueError(
            f"{name} are {kinds[values.dtype.kind]} "
            f"but {other_name} are {kinds[others.dtype.kind]}."
        )


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}.")
    if value not in choices:
        raise ValueError(f"Unknown {name} '{value}': {did_you_mean(value, choices)}")
    return value


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Return ``value`` as an int of at least ``least``."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {value!r}.")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}.")
    return int(value)


def check_ks(ks: Any) -> list[int]:
    """Return the cut-offs K of Recall@K, each at least 1."""
    if isinstance(ks, str) or not isinstance(ks, Iterable):
        raise TypeError(f"ks must be a sequence of integers, not {ks!r}.")
    counts = [check_count("Every K of ks", k) for k in ks]
    if max(counts, default=0) >= 2**31:
        raise ValueError(f"Every K of ks must be below 2**31, not {max(counts)}.")
    return counts
