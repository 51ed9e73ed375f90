"""Fetching the archives of a data set: over https, with a checksum, and unpacked into one folder.

An archive may say where its members go. None may leave the folder: not by `..`, not by an absolute
path, and not through a link, of which the archives of data sets need none.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tarfile
import urllib.request
import zipfile
from collections.abc import Callable
from http.client import HTTPMessage
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple
from urllib.error import URLError

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


class Download:
    """All archives of a data set; called with its folder, fetches and unpacks them into it."""

    def __init__(self, *archives: Archive) -> None:
        """Keep what is to be fetched."""
        self.archives = archives

    def __call__(self, root: Path) -> None:
        """Fetch all; raise an OSError, ArchiveError or what a damaged archive makes its reader."""
        for archive in self.archives:
            folder = root / archive.into
            folder.mkdir(parents=True, exist_ok=True)
            fetch(archive, folder / archive.name)
            unpack(folder / archive.name, folder)


def fetch(archive: Archive, target: Path) -> None:
    """Write what lies at the archive's address into a file, if its checksum is right."""
    kind, _, expected = archive.checksum.partition(":")
    digest = hashlib.new(kind)
    with open_url(archive.url) as stream, target.open("wb") as file:
        total = int(stream.headers.get("Content-Length") or 0)
        check_room(target, total)
        with Reporter().bar(f"download {archive.name}", total or 1) as bar:
            while block := stream.read(_BLOCK):
                digest.update(block)
                file.write(block)
                bar.to(file.tell())
    if digest.hexdigest() != expected:
        raise ArchiveError(
            f"{archive.url} is not the file that it was: its {kind} is {digest.hexdigest()}, not "
            f"{expected}"
        )


def open_url(url: str) -> Any:
    """Open an address; neither it nor where it leads may be other than https."""
    _check_https(url)
    return urllib.request.build_opener(_HttpsOnly).open(url, timeout=TIMEOUT_SECONDS)


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
