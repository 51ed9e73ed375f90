"""Rows of frozen networks, by the content that they are of: in memory, and on disk.

A network has a folder, named by the sha256 of its key; in it lie ``key.json`` and files of rows, in
NumPy's format: id (32 bytes), CRC-32 of the values, values. Files are written whole and never
changed. A process that finds several writes one with the rows of all, then removes those; whoever
has them open keeps them. So any number of processes may write at once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from stt_bench.benchmark.system.atomic import look_at, write_atomically
from stt_bench.benchmark.system.contents import cache_folder
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import read_mapping, write_json
from stt_bench.benchmark.system.progress import Reporter

MEMORY_LIMIT = 2 << 30  # bytes of rows that are on no disk and in no present use
_ID = 32  # bytes
_CHUNK = 64 << 20  # bytes of rows that are copied at once
_open: dict[str, FeatureStore] = {}


def features_folder() -> Path | None:
    """Return where the rows of all networks lie, or None where the user has no home."""
    return cache_folder("features")


def open_store(key: dict[str, Any]) -> FeatureStore:
    """Return the rows of a network, the same to all in this process that ask for it."""
    text = json.dumps(key, sort_keys=True, separators=(",", ":"))
    name = hashlib.sha256(text.encode()).hexdigest()[:32]
    folder = features_folder()
    place = str(folder)
    store = _open.pop(f"{place} {name}", None) or FeatureStore(key, folder and folder / name)
    while _open and sum(other.in_memory for other in _open.values()) > MEMORY_LIMIT:
        del _open[next(iter(_open))]
    _open[f"{place} {name}"] = store
    return store


class FeatureStore:
    """The rows of one network.

    Attributes:
        folder: where they lie; None: in memory alone.
        no_room: why rows could not be written, in a sentence; None: they could.
        tried: whether some rows of the disk were compared with those of this process.
    """

    def __init__(self, key: dict[str, Any], folder: Path | None) -> None:
        """Open what lies on the disk."""
        self.key, self.folder = key, folder
        self.tried = True
        self._parts: list[np.ndarray] = []
        self._index: dict[bytes, tuple[int, int]] = {}
        self._sound: set[bytes] = set()
        self._read = False
        self.no_room: str | None = None

    @property
    def in_memory(self) -> int:
        """Return how many bytes are in memory alone."""
        return sum(part.nbytes for part in self._parts if not isinstance(part, np.memmap))

    def open(self, reporter: Reporter) -> None:
        """Read which rows lie on the disk; a damaged file is told and removed."""
        if self.folder is not None:
            look_at(self.folder)
        while not self._read and self.folder is not None:
            self._parts, self._index, self._read = [], {}, True
            for file in sorted(self.folder.glob("*.npy")):
                try:
                    part = _load(file)
                    if self._parts and part.dtype != self._parts[0].dtype:
                        raise ValueError
                except FileNotFoundError:  # merged by another process, unless it is a dead link
                    self._read = self._read and file.is_symlink()
                except OSError as error:
                    why = f"cannot be read ({error.strerror or error})"
                    reporter.warn(f"{file}: {why}; its features are computed again")
                except ValueError:
                    reporter.warn(f"{file}: is damaged; its features are computed again")
                    with suppress(OSError):
                        file.unlink()
                else:
                    self._append(part)
                    self.tried = False

    def missing(self, ids: Sequence[bytes], reporter: Reporter) -> set[bytes]:
        """Return the ids whose rows are not here, or not as they were written, which is told."""
        self.open(reporter)
        wanted = set(ids)
        absent = wanted - self._index.keys()
        damaged = [i for i in wanted - absent - self._sound if not self._is_sound(i)]
        if damaged:
            reporter.warn(
                f"{self.folder}: {len(damaged)} of its rows are damaged; all are computed again"
            )
            self.discard()
            return wanted
        self._sound |= wanted - absent
        return absent

    def add(self, ids: Sequence[bytes], rows: np.ndarray) -> None:
        """Keep the (N, ...) float32 rows of some ids, on disk where that can be written."""
        part = np.empty(len(rows), dtype=_dtype(rows.shape[1:]))
        part["id"] = np.frombuffer(b"".join(ids), dtype=f"V{_ID}")
        part["row"] = rows
        part["crc"] = [zlib.crc32(row.tobytes()) for row in part["row"]]
        if self._parts and self._parts[0].dtype != part.dtype:  # those on the disk are not ours
            self.discard()
        written = self._written(part["id"], part.dtype, lambda: iter([part]))
        self._append(part if written is None else written)
        self._sound.update(ids)

    def settle(self) -> None:
        """Make one array, and one file, of all rows.

        No more than 64 MiB of them are copied to memory at once where the disk can be written.
        """
        if len(self._parts) < 2:
            return
        places, dtype = np.array(list(self._index.values())), self._parts[0].dtype
        ids = np.frombuffer(b"".join(self._index), dtype=dtype["id"])
        step = max(1, _CHUNK // dtype.itemsize)

        def chunks() -> Iterator[np.ndarray]:
            for first in range(0, len(places), step):
                yield self._gathered(places[first : first + step])

        whole = self._written(ids, dtype, chunks)
        if whole is None:
            whole = self._gathered(places)
        if self.folder is not None and isinstance(whole, np.memmap):
            ours = {_name(part) for part in self._parts if isinstance(part, np.memmap)}
            for name in ours - {_name(whole)}:
                (self.folder / name).unlink(missing_ok=True)
        self._parts, self._index = [], {}
        self._append(whole)

    def find(self, ids: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Return all rows, and where among them those of some ids are; see `settle`."""
        self.settle()
        return self._parts[0]["row"], np.array([self._index[i][1] for i in ids], dtype=np.int64)

    def discard(self) -> None:
        """Forget all rows, on disk too."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._parts, self._index, self._sound, self.tried = [], {}, set(), True

    def _append(self, part: np.ndarray) -> None:
        ids = np.ascontiguousarray(part["id"]).tobytes()
        for row in range(len(part)):
            self._index.setdefault(ids[row * _ID : (row + 1) * _ID], (len(self._parts), row))
        self._parts.append(part)

    def _is_sound(self, wanted: bytes) -> bool:
        number, row = self._index[wanted]
        part = self._parts[number]
        return bool(zlib.crc32(part["row"][row].tobytes()) == part["crc"][row])

    def _gathered(self, places: np.ndarray) -> np.ndarray:
        """Return the rows at (N, 2) places, each a part and a row of it."""
        found = np.empty(len(places), dtype=self._parts[0].dtype)
        parts, rows = places.T
        for number in np.unique(parts):
            found[parts == number] = self._parts[number][rows[parts == number]]
        return found

    def _written(
        self, ids: np.ndarray, dtype: np.dtype, chunks: Callable[[], Iterator[np.ndarray]]
    ) -> np.ndarray | None:
        """Write rows to the disk, chunk by chunk; return them as they lie there, or None."""
        if self.folder is None:
            return None
        name = hashlib.sha256(np.ascontiguousarray(ids).tobytes()).hexdigest()[:16]
        file = self.folder / f"{name}.npy"
        described = np.empty(0, dtype=dtype)
        header = np.lib.format.header_data_from_array_1_0(described) | {"shape": (len(ids),)}

        def write(stream: IO[bytes]) -> None:
            np.lib.format.write_array_header_1_0(stream, header)
            for chunk in chunks():
                stream.write(chunk.view(np.uint8).data)

        try:
            if not (self.folder / "key.json").exists():
                write_json(self.folder / "key.json", self.key)
            write_atomically(file, write)
            return np.load(file, mmap_mode="r", allow_pickle=False)
        except (BenchError, OSError, ValueError) as error:
            self.no_room = str(error)
        return None


def _name(part: np.memmap) -> str:
    return Path(str(part.filename)).name


def _dtype(shape: tuple[int, ...]) -> np.dtype:
    return np.dtype([("id", f"V{_ID}"), ("crc", "<u4"), ("row", "<f4", shape)])


def _load(file: Path) -> np.ndarray:
    """Return the rows of a file, memory-mapped; a ValueError says that it holds none."""
    try:
        part = np.load(file, mmap_mode="r", allow_pickle=False)
        sound = part.ndim == 1 and part.dtype == _dtype(part.dtype["row"].shape)
    except OSError:
        raise
    except Exception as error:  # of a damaged header NumPy raises what it likes
        raise ValueError(f"{file}: {error}") from None
    if not sound:
        raise ValueError(f"{file}: holds no rows")
    return part


@dataclass(frozen=True)
class Kept:
    """What lies on the disk of one network."""

    folder: Path
    key: dict[str, Any]
    rows: int
    bytes: int


def kept_on_disk() -> Iterator[Kept]:
    """Yield what lies on the disk, network by network."""
    folder = features_folder()
    for one in sorted(folder.iterdir()) if folder is not None and folder.is_dir() else ():
        files = list(one.glob("*.npy"))
        rows = size = 0
        for file in files:
            with suppress(OSError, ValueError):
                rows += len(_load(file))
                size += file.stat().st_size
        key: dict[str, Any] = {}
        with suppress(BenchError):
            key = read_mapping(one / "key.json")
        if one.is_dir():
            yield Kept(one, key, rows, size)


def clear_disk() -> None:
    """Remove all that lies on the disk; whoever has it open keeps it."""
    folder = features_folder()
    for one in folder.iterdir() if folder is not None and folder.is_dir() else ():
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one, ignore_errors=True)  # another process may just write there
        else:
            one.unlink(missing_ok=True)
