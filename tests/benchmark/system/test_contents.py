"""Contents are told by what files hold, whatever their size and times say."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from stt_bench.benchmark.datasets.stores import FileStore
from stt_bench.benchmark.system import atomic, blocks, contents
from stt_bench.benchmark.system.contents import learn, stamp_of


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def files(tmp_path) -> Path:
    """Make three files whose last change is, for the cache, long ago."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in "abc":
        (folder / name).write_bytes(name.encode() * 100)
    return folder


@pytest.fixture
def settled(monkeypatch) -> None:
    monkeypatch.setattr(contents, "_SETTLED", -1)


class Reader:
    """Tells the sha256 of files and counts what it reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.read: list[str] = []

    def tell(self, name: str) -> str:
        self.read.append(name)
        return hashlib.sha256((self.folder / name).read_bytes()).hexdigest()

    def __call__(self, *names: str) -> list[str]:
        self.read.clear()
        return learn(
            "sums",
            self.folder,
            names,
            stamp=lambda name: stamp_of(self.folder / name),
            tell=self.tell,
        )


def sums(folder: Path, *names: str) -> list[str]:
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]


def wait_for_the_clock(file: Path) -> None:
    """Return when a change of the file would get another time stamp than it has."""
    probe = file.with_name(".probe")
    while True:
        probe.write_bytes(b"")
        if probe.stat().st_ctime_ns > file.stat().st_ctime_ns:
            break
        time.sleep(0.001)
    probe.unlink()


def test_unchanged_files_are_read_once(files, cache, settled):
    reader = Reader(files)
    assert reader("a", "b") == sums(files, "a", "b")
    assert sorted(reader.read) == ["a", "b"]
    assert reader("b", "c") == sums(files, "b", "c")
    assert reader.read == ["c"]
    assert reader("c", "b", "a") == sums(files, "c", "b", "a")
    assert reader.read == []


def test_other_contents_of_the_same_size_and_mtime_are_seen(files, cache, settled):
    reader = Reader(files)
    reader("a", "b")
    before = (files / "a").stat()
    wait_for_the_clock(files / "a")
    with (files / "a").open("r+b") as stream:  # the same inode
        stream.write(b"x")
    os.utime(files / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    after = (files / "a").stat()
    assert (after.st_size, after.st_ino, after.st_mtime_ns) == (
        before.st_size, before.st_ino, before.st_mtime_ns,
    )  # fmt: skip
    assert reader("a", "b") == sums(files, "a", "b")
    assert reader.read == ["a"]


def test_files_that_have_just_changed_are_not_believed(files, cache, monkeypatch):
    monkeypatch.setattr(contents, "_SETTLED", 10**15)
    reader = Reader(files)
    reader("a")
    assert not cache.exists()
    assert reader("a") == sums(files, "a")
    assert reader.read == ["a"]


def test_a_file_that_changes_while_it_is_read_is_not_kept(files, cache, settled):
    class Disturbed(Reader):
        def tell(self, name: str) -> str:
            told = super().tell(name)
            (self.folder / name).write_bytes(b"another length")
            return told

    Disturbed(files)("a")
    reader = Reader(files)
    assert reader("a") == sums(files, "a")
    assert reader.read == ["a"]


def test_what_a_killed_process_left_is_removed_by_one_that_only_reads(files, cache, settled):
    Reader(files)("a")
    part = atomic._beside(only_file(cache))
    left = part.with_name(part.name.replace(f"-{os.getpid()}-", f"-{2**22 + 1}-"))
    for path in (part, left):
        path.write_bytes(b"half")
    atomic.look_again()  # as another process
    reader = Reader(files)
    reader("a")
    assert reader.read == []
    assert part.exists()  # this process lives
    assert not left.exists()


def only_file(cache: Path) -> Path:
    (file,) = (path for path in cache.rglob("*") if path.is_file())
    return file


@pytest.mark.parametrize("how", ["cut", "bit", "empty", "text", "folder"])
def test_a_damaged_cache_is_done_without(files, cache, settled, how):
    reader = Reader(files)
    reader("a")
    file = only_file(cache)
    whole = file.read_bytes()
    if how == "folder":
        file.unlink()
        file.mkdir()
    else:
        damaged = {"cut": whole[:-9], "bit": whole[:-9] + b"0" * 9, "empty": b"", "text": b"{}"}
        file.write_bytes(damaged[how])
    assert reader("a") == sums(files, "a")
    assert reader.read == ["a"]


def test_a_cache_that_cannot_be_written_is_done_without(files, tmp_path, monkeypatch, settled):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert Reader(files)("a") == sums(files, "a")
    monkeypatch.delenv("XDG_CACHE_HOME")

    def homeless(_: type[Path]) -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", classmethod(homeless))
    assert Reader(files)("a") == sums(files, "a")


def test_what_stands_in_the_way_is_told_for_each_file(files, cache):
    found = Reader(files)("a", "missing", "b", "c\0")
    assert [found[0], found[2]] == sums(files, "a", "b")
    assert isinstance(found[1], FileNotFoundError)
    assert isinstance(found[3], ValueError)


def test_progress_reaches_the_end(files, cache, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 2)
    seen: list[tuple[int, int]] = []
    reader = Reader(files)
    learn(
        "sums",
        files,
        ["a", "b", "c"],
        stamp=lambda name: stamp_of(files / name),
        tell=reader.tell,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(2, 3), (3, 3)]


def test_the_cache_holds_nothing_but_stamps_and_what_is_told(files, cache, settled):
    store = FileStore(files)
    list(store.contents(["a"]).identity)
    entries = json.loads(only_file(cache).read_bytes().partition(b"\n")[2])
    assert list(entries) == ["a"]
    assert entries["a"][0] == stamp_of(files / "a")
