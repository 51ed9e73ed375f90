"""Downloads that break off go on where they were: against a server on this machine."""

from __future__ import annotations

import fcntl
import hashlib
import io
import re
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from stt_bench.benchmark.datasets import archives
from stt_bench.benchmark.datasets.archives import Archive, ArchiveError, Download


def tar_of(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


NOISE = np.random.default_rng(0).bytes(300_000)
ONE, TWO = tar_of("one", NOISE), tar_of("two", NOISE[::-1])


@dataclass
class Site:
    """What a server has, where it breaks off, and what it was asked."""

    files: dict[str, bytes]
    breaks_at: dict[str, int] = field(default_factory=dict)
    has_ranges: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    address: str = ""

    def download(self) -> Download:
        return Download(
            *(
                Archive(f"{self.address}/{name}", f"sha256:{hashlib.sha256(content).hexdigest()}")
                for name, content in (("one.tar", ONE), ("two.tar", TWO))
            )
        )


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    found = Site({"one.tar": ONE, "two.tar": TWO})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name, span = self.path[1:], self.headers["Range"]
            found.asked.append((name, span))
            content, start = found.files[name], 0
            if span and found.has_ranges:
                start = int(re.fullmatch(r"bytes=([0-9]+)-", span)[1])  # type: ignore[index]
                if start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                last = len(content) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : found.breaks_at.pop(name, None)])

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(archives, "_check_https", lambda _: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def fetched(site: Site, folder: Path) -> None:
    root = folder / "data"
    root.mkdir(exist_ok=True)
    site.download()(root, beside=folder / "set")
    assert {path.name: path.read_bytes() for path in root.iterdir()} == {
        "one": NOISE,
        "two": NOISE[::-1],
    }
    assert [path.name for path in folder.iterdir()] == ["data"]


def broken(site: Site, folder: Path, at: int = 100_000) -> None:
    """Fetch all of the first archive, and of the second what comes before it breaks off."""
    site.breaks_at = {"two.tar": at}
    with pytest.raises(OSError, match=rf"broke off after {at:,} of {len(TWO):,} bytes of .*two"):
        fetched(site, folder)
    site.asked.clear()
    kept = sorted(path.name for path in folder.glob(".set.*.download"))
    assert [name.split(".")[2] for name in kept] == ["one", "two"]


def test_it_goes_on_where_it_broke_off(site: Site, tmp_path: Path) -> None:
    broken(site, tmp_path)
    fetched(site, tmp_path)
    assert site.asked == [("two.tar", "bytes=100000-")]


def test_it_begins_anew_where_the_server_cannot_go_on(site: Site, tmp_path: Path) -> None:
    broken(site, tmp_path)
    site.has_ranges = False
    fetched(site, tmp_path)
    assert site.asked == [("two.tar", "bytes=100000-"), ("two.tar", None)]


def test_it_begins_anew_where_the_file_was_another(site: Site, tmp_path: Path) -> None:
    site.files["two.tar"] = TWO[::-1]
    broken(site, tmp_path)
    site.files["two.tar"] = TWO
    fetched(site, tmp_path)
    assert site.asked == [("two.tar", "bytes=100000-"), ("two.tar", None)]
    for path in (tmp_path / "data").iterdir():
        path.unlink()
    site.files["two.tar"] = TWO + TWO
    broken_at = len(TWO) + 5
    site.breaks_at = {"two.tar": broken_at}
    with pytest.raises(OSError, match="broke off"):
        fetched(site, tmp_path)
    site.files["two.tar"] = TWO
    site.asked.clear()
    fetched(site, tmp_path)  # the server has no such bytes
    assert site.asked == [("two.tar", f"bytes={broken_at}-"), ("two.tar", None)]


def test_a_wrong_file_is_not_kept(site: Site, tmp_path: Path) -> None:
    site.files["two.tar"] = TWO[::-1]
    with pytest.raises(ArchiveError, match="is not the file that it was"):
        fetched(site, tmp_path)
    assert [path.name.split(".")[2] for path in tmp_path.glob(".set.*")] == ["one"]


def test_what_another_process_is_fetching_is_left_to_it(site: Site, tmp_path: Path) -> None:
    broken(site, tmp_path)
    (part,) = tmp_path.glob(".set.two*")
    with part.open("ab+") as others:
        fcntl.flock(others, fcntl.LOCK_EX)
        root = tmp_path / "data"
        site.download()(root, beside=tmp_path / "set")
    assert site.asked == [("two.tar", None)]
    assert sorted(path.name for path in root.iterdir()) == ["one", "two"]
    assert part.stat().st_size == 100_000
