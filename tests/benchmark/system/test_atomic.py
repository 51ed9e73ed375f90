"""Whole files, folders and lines: on a full disk, after a power cut, and beside what was killed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import disk_with

from stt_bench.benchmark.system import atomic
from stt_bench.benchmark.system.atomic import (
    append_lines,
    folder_beside,
    remove_leftovers,
    write_atomically,
)
from stt_bench.benchmark.system.errors import BenchError

GONE = 2**22 + 1  # above the highest process id of Linux


def fails(number: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def nearly_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every disk has 1.5 MiB free."""
    usage = shutil.disk_usage("/")._replace(free=3 << 19)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


@pytest.mark.usefixtures("nearly_full")
@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, r"3\.0 MiB or more, and the disk of {there} has 1\.5 MiB free: make room"),
        (errno.EDQUOT, r"3\.0 MiB or more, and your quota on the disk of {there} is used up"),
        (errno.EFBIG, r"limit of file sizes \(`ulimit -f unlimited`\), then the same command"),
    ],
)
def test_a_full_disk_tells_where_how_much_is_needed_and_how_much_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    path = tmp_path / "new" / "x.bin"
    monkeypatch.setattr(atomic.os, "fsync", fails(number))
    with pytest.raises(BenchError, match=said.format(there=path.parent)) as caught:
        write_atomically(path, lambda stream: [stream.write(bytes(1 << 20)) for _ in range(3)])
    assert "\n" not in str(caught.value)
    assert list(path.parent.iterdir()) == []


def test_what_is_less_than_a_mebibyte_is_told_in_kibibytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=1025)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(atomic.os, "fsync", fails(errno.ENOSPC))
    with pytest.raises(BenchError, match=r"takes 3 KiB or more, .* has 2 KiB free"):
        write_atomically(tmp_path / "x.bin", lambda stream: stream.write(bytes(3000)))


def test_lines_for_which_there_is_no_room_leave_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    append_lines(path, ["one", "two"])
    with disk_with(20), pytest.raises(BenchError, match=r"x\.jsonl: cannot be written"):
        append_lines(path, ["three", "f" * 100])
    assert path.read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize("last", ["", "x" * 5, "x" * 200_000])
def test_a_last_line_that_was_cut_short_is_removed_unless_it_is_whole(
    tmp_path: Path, last: str
) -> None:
    for whole in (False, True):
        path = tmp_path / f"{whole}.jsonl"
        path.write_text(f"one\n{last}")
        append_lines(path, ["two"], lambda line, whole=whole: whole and line == last.encode())
        kept = [last] if whole and last else []
        assert path.read_text().split("\n") == ["one", *kept, "two", ""]


class Disk:
    """What a power cut would leave: a name is lost until its folder is flushed after it.

    Files are those whose content was flushed before they got their name.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.sound: set[Path] = set()  # files with their content
        self.names: set[Path] = set()  # new names not flushed yet
        fsync, replace, mkdir = os.fsync, os.replace, Path.mkdir

        def watched_fsync(descriptor: int) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            if path.is_dir():
                self.names = {name for name in self.names if name.parent != path}
            else:
                self.sound.add(path)
            fsync(descriptor)

        def watched_replace(source: Path, target: Path) -> None:
            assert source in self.sound, f"{target} gets its name before its content"
            self.names.add(target)
            replace(source, target)

        def watched_mkdir(path: Path, *args: object, **options: object) -> None:
            self.names.add(path)
            mkdir(path, *args, **options)  # type: ignore[arg-type]

        patch.setattr(os, "fsync", watched_fsync)
        patch.setattr(os, "replace", watched_replace)
        patch.setattr(Path, "mkdir", watched_mkdir)


def test_what_is_written_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    write_atomically(tmp_path / "a" / "b" / "x", lambda stream: stream.write(b"1"))
    append_lines(tmp_path / "c" / "y", ["1"])
    assert not disk.names
    assert tmp_path / "c" / "y" in disk.sound


def part(folder: Path, host: str, pid: int) -> Path:
    return folder / f".x.npy.{host}-{pid}-0a1b2c3d.part"


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    here, there = atomic._host(), "0" * 8
    left = [part(tmp_path, here, GONE), part(tmp_path, there, 1)]
    kept = [part(tmp_path, here, os.getpid()), part(tmp_path, there, 2), tmp_path / ".x.part"]
    for path in (*left, *kept):
        path.write_text("half")
    os.utime(left[1], (0, 0))
    folder = part(tmp_path, here, GONE + 1)
    (folder / "deep").mkdir(parents=True)
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_writer_in_another_container_of_the_same_host_name_is_not_asked_for_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number may be nobody's here, or another process's."""
    here = atomic._beside(tmp_path / "x").name
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "pid_namespace", lambda: "pid:[1]")
        atomic._host.cache_clear()
        there = atomic._beside(tmp_path / "x").name.replace(f"-{os.getpid()}-", f"-{GONE}-")
    atomic._host.cache_clear()
    gone = here.replace(f"-{os.getpid()}-", f"-{GONE}-")
    for name in (gone, there):
        (tmp_path / name).write_text("half")
    remove_leftovers(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == [there]


def test_a_folder_beside_is_gone_after_the_block_and_after_a_kill(tmp_path: Path) -> None:
    target = tmp_path / "data"
    child = os.fork()
    if not child:
        with folder_beside(target) as beside:
            (beside / "half").write_text("1")
            os._exit(9)
    os.waitpid(child, 0)
    assert len(list(tmp_path.iterdir())) == 1
    with folder_beside(target) as beside:
        assert list(tmp_path.iterdir()) == [beside]
        (beside / "whole").write_text("1")
        (beside / "whole").rename(target)
    assert list(tmp_path.iterdir()) == [target]
