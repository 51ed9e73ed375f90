"""Arrays of embeddings in files, opened in place: they may be larger than the memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.kinds import kind_of

_MAGIC = b"\x93NUMPY"
_HOW = "save the numbers with numpy.save('X.npy', array), an array (N, D)"


def read_array(path: Path) -> np.ndarray:
    """Open the (N, D) numbers of a ``.npy`` file memory-mapped, in the type they have there.

    Raises:
        BenchError: the file is missing or damaged, or holds anything else.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(16)
        if not start.startswith(_MAGIC):
            kind = kind_of(path, start)
            kind += " (as .npz and .pt are), " if kind == "a zip archive" else ", " if kind else ""
            raise BenchError(f"{path}: is {kind}no NumPy array file: {_HOW}")
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except IsADirectoryError:
        raise BenchError(f"{path} is a folder: name the .npy or .h5 file in it") from None
    except FileNotFoundError:
        raise BenchError(f"{path}: there is no such file") from None
    except (OSError, ValueError, EOFError, MemoryError, OverflowError) as error:
        reason = str(error).partition("\n")[0]
        if "pickle" in reason or "object" in reason.lower():  # NumPy advises to load it unsafely
            reason = "it holds Python objects, not numbers"
        raise BenchError(f"{path}: cannot be read as a NumPy array ({reason}): {_HOW}") from None
    return checked_array(path, array)


def checked_array(path: Path, array: np.ndarray) -> np.ndarray:
    """Return a file's array if it is (N, D) real numbers, none of it empty."""
    check_shape(path, array.shape, array.dtype)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def check_shape(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raise where a shape and a type are not those of embeddings; no number is read."""
    if len(shape) != 2 or dtype.kind not in "fiu":
        flags = len(shape) == 2 and dtype.kind == "b"
        how = "save codes as 0 and 1, numpy.save('X.npy', array.astype('uint8'))" if flags else _HOW
        raise BenchError(
            f"{path}: holds {dtype} of shape {shape}; (N, D) numbers are expected: {how}"
        )
    if 0 in shape:
        raise BenchError(f"{path}: holds an empty array of shape {shape}: {_HOW}")
