"""Where a dataset's images come from: files below a folder, members of a zip, or an array.

A store reads one image by the path in the item table and names the content that the data hash
covers. It can be sent to other processes.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from stt_bench.benchmark.datasets.depth import Depth, bits_of, check_size, depth_of
from stt_bench.benchmark.datasets.refusal import LostFilesError, UnreadableError, listed_in_file
from stt_bench.benchmark.datasets.threads import Progress
from stt_bench.benchmark.system.contents import Stamp, learn, stamp_of
from stt_bench.benchmark.system.errors import BenchError

# Far larger images are refused by `check_size`, which names the file; the warning does not.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class Store(Protocol):
    """What a dataset function hands over beside its table."""

    @property
    def arrays(self) -> np.ndarray | None:
        """All images as uint8 (N, H, W) or (N, H, W, C) in the table's order, where they are."""

    def read(self, path: str) -> Image.Image:
        """Return the decoded image, its mode untouched."""

    def contents(self, paths: Sequence[str], progress: Progress | None = None) -> Contents:
        """Return what the images hold; a missing one, or pixels of no known range, are an error."""


@dataclass(frozen=True)
class Contents:
    """What the images of a set hold, as files or as pixels."""

    identity: Sequence[bytes]
    """What the data hash covers: the sha256 of each file, or the array and its shape."""
    bits: int | None = None
    """How many bits the grey images of more than 8 use; None if there are none."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Return the sentence that says which range of grey values is taken."""
        if self.bits is None:
            return ()
        top = (1 << self.bits) - 1
        return (f"grey values of more than 8 bits: 0 to {top:,} is taken for black to white",)


_WHAT = "images-1"
_Told = list[Any]  # sha256 and depth as JSON has them


def _contents(paths: Sequence[str], told: Sequence[_Told]) -> Contents:
    depths = [None if depth is None else Depth(*depth) for _, depth in told]
    return Contents(
        [bytes.fromhex(sha256) for sha256, _ in told], bits_of(zip(paths, depths, strict=True))
    )


def _tell(content: bytes) -> _Told:
    return [hashlib.sha256(content).hexdigest(), depth_of(content)]


def _decode(stream: str | IO[bytes], where: str) -> Image.Image:
    try:
        if isinstance(stream, str):
            stamp_of(stream)  # a pipe would be waited for
        with Image.open(stream) as image:
            check_size(image)
            image.load()
            return image
    except MemoryError:  # of the machine, not of the content
        raise MemoryError(no_memory_for(where)) from None
    except Exception as error:  # broken files raise nearly anything, from OSError to struct.error
        raise UnreadableError(f"{where} cannot be read as an image", _reason(error)) from error


def no_memory_for(where: str) -> str:
    """Return the sentence on an image that the machine has no memory to decode."""
    return f"the machine's memory is too full to decode {where}: end other work, or lower --jobs"


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is empty, or of no format that Pillow reads"
    told = error.strerror if isinstance(error, OSError) else None
    return (told or str(error)).rstrip(".") or type(error).__name__


@dataclass(frozen=True)
class FileStore:
    """Image files; paths are relative to `root` or absolute."""

    root: Path
    arrays: None = None

    def read(self, path: str) -> Image.Image:
        """Return the decoded image, its mode untouched."""
        file = os.path.join(self.root, path)
        return _decode(file, file)

    def contents(self, paths: Sequence[str], progress: Progress | None = None) -> Contents:
        """Return what the files hold; one that has not changed is not read again."""

        def stamp(path: str) -> Stamp:
            return stamp_of(os.path.join(self.root, path))

        def tell(path: str) -> _Told:
            with open(os.path.join(self.root, path), "rb") as file:
                return _tell(file.read())

        found = learn(_WHAT, self.root, paths, stamp=stamp, tell=tell, progress=progress)
        failed = [one for one in zip(paths, found, strict=True) if isinstance(one[1], Exception)]
        if failed:
            path, error = failed[0]
            absent = isinstance(error, ValueError | FileNotFoundError | NotADirectoryError)
            reason = "do not exist" if absent else f"cannot be read ({error.strerror})"
            mend = "write / for \\ in" if "\\" in path else "restore them or correct"
            lost = [os.path.join(self.root, path) for path, _ in failed]
            file = listed_in_file(self.root.name, lost) if lost[1:] else None
            more = f" (all: {file})" if file else ""
            raise LostFilesError(
                f"{len(failed)} of {len(paths)} image files {reason}, the first is "
                f"{lost[0]}{more}: {mend} the list",
                [path for path, _ in failed],
            )
        return _contents(paths, found)

    def exists(self, path: str) -> bool:
        """Tell whether there is such a file."""
        return os.path.isfile(os.path.join(self.root, path))


@dataclass
class ZipStore:
    """Members of a zip file, read without unpacking it."""

    file: Path
    arrays: None = None
    _open: tuple[int, zipfile.ZipFile] | None = field(default=None, init=False, repr=False)

    def _zip(self) -> zipfile.ZipFile:
        """Return the open zip; each process opens its own, since a file position is shared."""
        if self._open is None or self._open[0] != os.getpid():
            try:
                self._open = (os.getpid(), zipfile.ZipFile(self.file))
            except (OSError, zipfile.BadZipFile) as error:
                raise BenchError(
                    f"{self.file} cannot be read as a zip file ({error}): get it again"
                ) from error
        return self._open[1]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind."""
        return {**self.__dict__, "_open": None}

    def names(self) -> list[str]:
        """Return all members' names."""
        return self._zip().namelist()

    def read(self, path: str) -> Image.Image:
        """Return the decoded image, its mode untouched."""
        return _decode(io.BytesIO(self._content(path)), f"{self.file}/{path}")

    def _content(self, path: str) -> bytes:
        try:
            return self._zip().read(path)
        except Exception as error:  # a damaged zip raises as much as a damaged image
            raise UnreadableError(
                f"{self.file}/{path} cannot be read", str(error), "get the zip again"
            ) from error

    def contents(self, paths: Sequence[str], progress: Progress | None = None) -> Contents:
        """Return what the members hold, the same as the unpacked files."""
        members = set(self.names())
        for path in paths:
            if path not in members:
                raise BenchError(f"{self.file} has no member {path}: get the zip again")
        stamp = stamp_of(self.file)
        found = learn(
            _WHAT,
            self.file,
            paths,
            stamp=lambda _: stamp,
            tell=lambda path: _tell(self._content(path)),
            progress=progress,
        )
        return _contents(paths, found)


@dataclass(frozen=True)
class ArrayStore:
    """Images in memory: `paths[i]` names `arrays[i]`."""

    paths: Sequence[str]
    arrays: np.ndarray
    _rows: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Index the paths."""
        object.__setattr__(self, "_rows", {path: row for row, path in enumerate(self.paths)})

    def read(self, path: str) -> Image.Image:
        """Return the image."""
        return Image.fromarray(self.arrays[self._rows[path]])

    def contents(self, paths: Sequence[str], progress: Progress | None = None) -> Contents:
        """Return the pixels."""
        if list(paths) != list(self.paths) or self.arrays.dtype != np.uint8:
            raise BenchError("an array dataset needs uint8 images in the order of its table")
        pixels = np.ascontiguousarray(self.arrays).tobytes()
        return Contents([repr(self.arrays.shape).encode(), pixels])
