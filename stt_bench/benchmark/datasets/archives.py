"""Fetching the archives of a data set: over https, with a checksum, and unpacked into one folder.

What has come stays until all of it is there and unpacked: whoever is stopped goes on from there.

An archive may say where its members go. None may leave the folder: not by `..`, not by an absolute
path, and not through a link, of which the archives of data sets need none.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import shutil
import tarfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPMessage
from io import BufferedRandom
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple
from urllib.error import HTTPError, URLError

from stt_bench.benchmark.system.atomic import check_room
from stt_bench.benchmark.system.progress import Reporter

TIMEOUT_SECONDS = 30.0
_BLOCK = 1 << 20  # bytes


class Archive(NamedTuple):
    """A file to be fetched: its address, what it must be, and where it goes."""

    url: str
    checksum: str  # `md5:...` or `sha256:...`, as the publisher or a catalogue of data sets says
    into: str = "."  # below the folder of the data set

    @property
    def name(self) -> str:
        """Return the file's name."""
        return PurePosixPath(self.url).name


class ArchiveError(RuntimeError):
    """An archive is not what it should be."""


DAMAGED = (
    *(ArchiveError, tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile),
    *(zlib.error, EOFError),
)
"""What unpacking raises where an archive is none, or half of one."""


class Download:
    """All archives of a data set; called with its folder, fetches and unpacks them into it."""

    def __init__(self, *archives: Archive) -> None:
        """Keep what is to be fetched."""
        self.archives = archives

    def __call__(self, root: Path, beside: Path | None = None) -> None:
        """Fetch all; raise an OSError, ArchiveError or what a damaged archive makes its reader.

        Args:
            root: the folder they are unpacked into.
            beside: a path beside which what has come is kept for a later call; None: in `root`.
        """
        with ExitStack() as stack:
            files = [stack.enter_context(_kept(one, root, beside)) for one in self.archives]
            for archive, file in zip(self.archives, files, strict=True):
                fetch(archive, file)
            try:
                for archive, file in zip(self.archives, files, strict=True):
                    _unpack_copy(Path(file.name), root / archive.into, archive.name)
            except DAMAGED:  # and would be the next time
                _discard(files)
                raise
            _discard(files)


def fetch(archive: Archive, file: BufferedRandom) -> None:
    """Write what lies at the archive's address into a file, after what it holds of that already.

    Raises:
        ArchiveError: its checksum is not right; the file is empty then.
        OSError: the connection ended too soon; the file holds what had come.
    """
    kind, _, expected = archive.checksum.partition(":")
    file.seek(0)
    digest = hashlib.file_digest(file, kind)
    if digest.hexdigest() == expected:
        return None
    with _opened(archive.url, file) as stream:
        if not (start := file.tell()):
            digest = hashlib.new(kind)
        left = int(stream.headers.get("Content-Length") or 0)
        check_room(Path(file.name), left)
        with Reporter().bar(f"download {archive.name}", start + left or 1, start) as bar:
            while block := stream.read(_BLOCK):
                digest.update(block)
                file.write(block)
                bar.to(file.tell())
        file.flush()
    if file.tell() < start + left:
        raise ConnectionError(
            f"the connection broke off after {file.tell():,} of {start + left:,} bytes of "
            f"{archive.url}; the same command goes on from there"
        )
    if digest.hexdigest() == expected:
        return None
    file.truncate(0)
    if start:  # it has changed since
        return fetch(archive, file)
    raise ArchiveError(
        f"{archive.url} is not the file that it was: its {kind} is {digest.hexdigest()}, not "
        f"{expected}"
    )


def _opened(url: str, file: BufferedRandom) -> Any:
    """Open an address where a file ends; it is emptied where that cannot be."""
    if start := file.seek(0, os.SEEK_END):
        try:
            stream = open_url(url, start)
        except HTTPError as error:
            if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
        else:
            span = stream.headers.get("Content-Range") or ""
            if stream.status == HTTPStatus.PARTIAL_CONTENT and span.startswith(f"bytes {start}-"):
                return stream
            stream.close()
        file.truncate(0)
        file.seek(0)
    return open_url(url)


def open_url(url: str, start: int = 0) -> Any:
    """Open an address, from a byte on; neither it nor where it leads may be other than https."""
    _check_https(url)
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    return urllib.request.build_opener(_HttpsOnly).open(request, timeout=TIMEOUT_SECONDS)


@contextmanager
def _kept(archive: Archive, root: Path, beside: Path | None) -> Iterator[BufferedRandom]:
    """Open the file of what has come of an archive, for this process alone; none stays empty."""
    address = hashlib.sha256(archive.url.encode()).hexdigest()[:8]
    name = f"{archive.name}.{address}.download"
    places = [] if beside is None else [beside.with_name(f".{beside.name}.{name}")]
    with ExitStack() as stack:
        for place in (*places, root / name):
            file = stack.enter_context(place.open("ab+"))
            if _is_ours(file):
                break  # else another process fetches it too
        try:
            yield file
        finally:
            if not file.seek(0, os.SEEK_END):
                _discard([file])


def _is_ours(file: BufferedRandom) -> bool:
    """Tell whether no other process has an open file, or had it and is done with it."""
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))
    return False


def _discard(files: list[BufferedRandom]) -> None:
    for file in files:
        Path(file.name).unlink(missing_ok=True)


def _unpack_copy(file: Path, folder: Path, name: str) -> None:
    """Unpack a file by its name into a folder; it stays where it is, if there can be two names."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, folder / name)
    except OSError:
        os.replace(file, folder / name)
    unpack(folder / name, folder)


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        _check_https(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_https(url: str) -> None:
    if not url.startswith("https://"):
        raise URLError(f"{url} is not https")


def unpack(file: Path, folder: Path) -> None:
    """Unpack a tar, zip or gzip file into a folder and remove it; leave any other as it is.

    Raises:
        ArchiveError: a member is no plain file or folder, or would lie outside of the folder.
    """
    suffix = next((one for one in _UNPACK if file.name.endswith(one)), None)
    if suffix is None:
        return
    _UNPACK[suffix](file, folder)
    file.unlink()


def _unpack_tar(file: Path, folder: Path) -> None:
    with tarfile.open(file) as archive:
        archive.extractall(folder, filter=_plain)


def _plain(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """Refuse links, devices and whatever would lie elsewhere, as the data filter does too."""
    if not (member.isfile() or member.isdir()):
        raise ArchiveError(f"its member {member.name} is neither a file nor a folder")
    _check_inside(member.name)
    return tarfile.data_filter(member, folder)


def _unpack_zip(file: Path, folder: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            kind = member.external_attr >> 28  # of a Unix mode; 0 where another system made it
            if kind not in (0, 0o04, 0o10):
                raise ArchiveError(f"its member {member.filename} is neither a file nor a folder")
            _check_inside(member.filename)
        archive.extractall(folder)


def _unpack_gzip(file: Path, folder: Path) -> None:
    with gzip.open(file) as source, (folder / file.stem).open("wb") as target:
        shutil.copyfileobj(source, target)
        if not target.tell():
            raise ArchiveError(f"{file.name} is empty")


def _check_inside(name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    drive = path.parts and path.parts[0].endswith(":")  # C:/ of Windows
    if path.is_absolute() or drive or ".." in path.parts:
        raise ArchiveError(f"its member {name} would lie outside of the folder")


_UNPACK: dict[str, Callable[[Path, Path], None]] = {
    ".tar.gz": _unpack_tar,
    ".tgz": _unpack_tar,
    ".tar": _unpack_tar,
    ".zip": _unpack_zip,
    ".gz": _unpack_gzip,
}
