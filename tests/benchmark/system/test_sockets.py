"""A temporary folder with a long name leaves no room for the names of sockets."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.sockets import make_room_for_sockets

WORK = """
from stt_bench.benchmark.jobs.pool import Pool
from stt_bench.benchmark.jobs.work import Task
from stt_bench.benchmark.system.progress import Reporter

class Maker:
    def __init__(self, reporter): pass
    def do(self, content): return content * content

if __name__ == "__main__":
    import work
    tasks = [Task("a", 2), Task("b", 3)]
    print(sorted(found for _, found in Pool(2).run(work.Maker, tasks, Reporter(quiet=True))))
"""


def test_processes_start_whatever_the_length_of_the_temporary_folder(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    (tmp_path / "work.py").write_text(WORK)
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "work.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(long)},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("[4, 9]\n", "")
    assert os.listdir(long) == []


def test_without_another_folder_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = str(tmp_path / ("x" * 100))
    monkeypatch.setattr(tempfile, "tempdir", long)
    with pytest.raises(BenchError, match="set TMPDIR to one of at most 64 bytes"):
        make_room_for_sockets([str(tmp_path / ("y" * 100)), "/nowhere"])
    assert tempfile.tempdir == long
