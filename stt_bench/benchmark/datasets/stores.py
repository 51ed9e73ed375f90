"""Where a dataset's images come from: files below a folder, members of a zip, or an array.

A store reads one image by the path in the item table and names the content that the data hash
covers. It can be sent to other processes.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from PIL import Image

from stt_bench.benchmark.datasets.threads import Progress
from stt_bench.benchmark.system.contents import Stamp, learn, stamp_of
from stt_bench.benchmark.system.errors import BenchError


class Store(Protocol):
    """What a dataset function hands over beside its table."""

    @property
    def arrays(self) -> np.ndarray | None:
        """All images as uint8 (N, H, W) or (N, H, W, C) in the table's order, where they are."""

    def read(self, path: str) -> Image.Image:
        """Return the decoded image, its mode untouched."""

    def identity(self, paths: Sequence[str], progress: Progress | None = None) -> Iterator[bytes]:
        """Yield what identifies the images' content; a missing image is an error."""


def _decode(stream: str | IO[bytes], where: str) -> Image.Image:
    try:
        with Image.open(stream) as image:
            image.load()
            return image
    except Exception as error:  # broken files raise nearly anything, from OSError to struct.error
        reason = str(error).replace(repr(stream), "the file").rstrip(".") or type(error).__name__
        raise BenchError(
            f"{where} cannot be read as an image ({reason}): replace or remove it"
        ) from error


@dataclass(frozen=True)
class FileStore:
    """Image files; paths are relative to `root` or absolute."""

    root: Path
    arrays: None = None

    def read(self, path: str) -> Image.Image:
        """Return the decoded image, its mode untouched."""
        file = os.path.join(self.root, path)
        return _decode(file, file)

    def identity(self, paths: Sequence[str], progress: Progress | None = None) -> Iterator[bytes]:
        """Yield the sha256 of each file; a file that has not changed is not read again."""

        def stamp(path: str) -> Stamp:
            return stamp_of(os.path.join(self.root, path))

        def tell(path: str) -> str:
            with open(os.path.join(self.root, path), "rb") as file:
                return hashlib.sha256(file.read()).hexdigest()

        found = learn(self.root, paths, stamp=stamp, tell=tell, progress=progress)
        failed = [(path, told) for path, told in zip(paths, found, strict=True) if _failed(told)]
        if failed:
            path, error = failed[0]
            absent = isinstance(error, ValueError | FileNotFoundError | NotADirectoryError)
            reason = "do not exist" if absent else f"cannot be read ({error.strerror})"
            raise BenchError(
                f"{len(failed)} of {len(paths)} image files {reason}, the first is "
                f"{os.path.join(self.root, path)}: restore them or correct the list"
            )
        yield from map(bytes.fromhex, found)

    def exists(self, path: str) -> bool:
        """Tell whether there is such a file."""
        return os.path.isfile(os.path.join(self.root, path))


def _failed(told: Any) -> bool:
    return isinstance(told, Exception)


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
            raise BenchError(
                f"{self.file}/{path} cannot be read ({error}): get the zip again"
            ) from error

    def identity(self, paths: Sequence[str], progress: Progress | None = None) -> Iterator[bytes]:
        """Yield the sha256 of each member's content: the same as of the unpacked file."""
        members = set(self.names())
        for path in paths:
            if path not in members:
                raise BenchError(f"{self.file} has no member {path}: get the zip again")

        def tell(path: str) -> str:
            return hashlib.sha256(self._content(path)).hexdigest()

        stamp = stamp_of(self.file)
        found = learn(self.file, paths, stamp=lambda _: stamp, tell=tell, progress=progress)
        yield from map(bytes.fromhex, found)


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

    def identity(self, paths: Sequence[str], progress: Progress | None = None) -> Iterator[bytes]:
        """Yield the pixels."""
        if list(paths) != list(self.paths) or self.arrays.dtype != np.uint8:
            raise BenchError("an array dataset needs uint8 images in the order of its table")
        yield repr(self.arrays.shape).encode()
        yield np.ascontiguousarray(self.arrays).tobytes()
