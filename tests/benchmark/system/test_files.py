"""Files that are whole or absent, whoever else writes them and whatever is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import disk_with

from stt_bench.benchmark.system.atomic import write_atomically
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import read_json, write_json, write_text

WRITER = """
import sys
from pathlib import Path
from stt_bench.benchmark.system.files import write_json
for number in range(100):
    write_json(Path(sys.argv[1]), {"writer": sys.argv[2], "numbers": [number] * 2000})
"""
KILLED = """
import os, sys
from pathlib import Path
from stt_bench.benchmark.system.atomic import write_atomically
write_atomically(Path(sys.argv[1]), lambda stream: (stream.write(b"half"), os._exit(9)))
"""


def python(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)])


def test_two_writers_of_one_file_never_break_it_for_a_reader(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"numbers": [0] * 2000})
    writers = [python(WRITER, path, name) for name in "ab"]
    while any(writer.poll() is None for writer in writers):
        numbers = json.loads(path.read_text())["numbers"]
        assert len(numbers) == 2000
        assert len(set(numbers)) == 1
    assert [writer.returncode for writer in writers] == [0, 0]
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "[x].json"
    path.write_text("old")
    assert python(KILLED, path).wait() == 9
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2

    def write(stream: object) -> None:
        assert len(list(tmp_path.iterdir())) == 2  # the old file, and the part that is written now
        write_text(path, "between")  # another writer while this one is at work

    write_atomically(path, write)  # type: ignore[arg-type]
    assert path.read_bytes() == b""
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_sentence_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_text("old")
    with disk_with(1000), pytest.raises(BenchError, match=r"x\.bin: cannot be written"):
        write_atomically(path, lambda stream: stream.write(bytes(5000)))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xe9", b"[" * 100_000, b'{"x": NaN}', b'{"x": Infinity}', b"9" * 5000],
)
def test_what_is_no_json_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(BenchError, match=r"x\.json: cannot be read as JSON"):
        read_json(path)


def test_an_array_is_written_as_numpy_writes_it(tmp_path: Path) -> None:
    from stt_bench.benchmark.store.embedding_set import _save

    for array in (np.arange(12.0).reshape(3, 4), np.ones((2, 3), np.float16), np.zeros((0, 4))):
        with (tmp_path / "a.npy").open("wb") as stream:
            _save(stream, array)
        np.save(tmp_path / "b.npy", array)
        assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
