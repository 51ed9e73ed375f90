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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import numpy as np
from PIL import Image

from stt_bench.benchmark.datasets.depth import Depth, bits_of, check_size, depth_of
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

    def bits(self, paths: Sequence[str]) -> int | None:
        """Return how many bits the set's deep grey images use; None if there are none."""

    def identity(self, paths: Sequence[str], progress: Progress | None = None) -> Iterator[bytes]:
        """Yield what identifies the images' content; a missing image is an error."""


_WHAT = "images-1"
_Told = list[Any]  # sha256 and depth as JSON has them


class _Content(NamedTuple):
    """What is known of an image file's content."""

    sha256: bytes
    depth: Depth | None

    @classmethod
    def of(cls, told: _Told) -> _Content:
        sha256, depth = told
        return cls(bytes.fromhex(sha256), None if depth is None else Depth(*depth))


def _tell(content: bytes) -> _Told:
    return [hashlib.sha256(content).hexdigest(), depth_of(content)]


def _decode(stream: str | IO[bytes], where: str) -> Image.Image:
    try:
        with Image.open(stream) as image:
            check_size(image)
            image.load()
            return image
    except Exception as error:  # broken files raise nearly anything, from OSError to struct.error
        reason = str(error).replace(repr(stream), "the file").rstrip(".") or type(error).__name__
        raise BenchError(
            f"{where} cannot be read as an image ({reason}): replace or remove it"
        ) from error


class _Encoded:
    """A store of encoded images; a content that has not changed is not read again."""

    def identity(self, paths: Sequence[str], progress: Progress | None = None) -> Iterator[bytes]:
        """Yield the sha256 of each file's content, the same in a folder and in a zip."""
        for content in self._contents(paths, progress):
            yield content.sha256

    def bits(self, paths: Sequence[str]) -> int | None:
        """Return how many bits the set's deep grey images use; None if there are none."""
        contents = self._contents(paths)
        return bits_of((path, one.depth) for path, one in zip(paths, contents, strict=True))

    def _contents(self, paths: Sequence[str], progress: Progress | None = None) -> list[_Content]:
        raise NotImplementedError


@dataclass(frozen=True)
class FileStore(_Encoded):
    """Image files; paths are relative to `root` or absolute."""

    root: Path
    arrays: None = None

    def read(self, path: str) -> Image.Image:
        """Return the decoded image, its mode untouched."""
        file = os.path.join(self.root, path)
        return _decode(file, file)

    def _contents(self, paths: Sequence[str], progress: Progress | None = None) -> list[_Content]:
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
            raise BenchError(
                f"{len(failed)} of {len(paths)} image files {reason}, the first is "
                f"{os.path.join(self.root, path)}: restore them or correct the list"
            )
        return [_Content.of(told) for told in found]

    def exists(self, path: str) -> bool:
        """Tell whether there is such a file."""
        return os.path.isfile(os.path.join(self.root, path))


@dataclass
class ZipStore(_Encoded):
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

    def _contents(self, paths: Sequence[str], progress: Progress | None = None) -> list[_Content]:
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
        return [_Content.of(told) for told in found]


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

    def bits(self, paths: Sequence[str]) -> None:
        """Return None: an array holds 8 bits a channel."""

    def identity(self, paths: Sequence[str], progress: Progress | None = None) -> Iterator[bytes]:
        """Yield the pixels."""
        if list(paths) != list(self.paths) or self.arrays.dtype != np.uint8:
            raise BenchError("an array dataset needs uint8 images in the order of its table")
        yield repr(self.arrays.shape).encode()
        yield np.ascontiguousarray(self.arrays).tobytes()
