"""Two processes on the same folders: one works on a run, the other goes on with the next."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import ROOT, Command

from stt_bench.benchmark.store.locks import RunInUseError, held
from stt_bench.benchmark.store.records import read_table_records, record_path
from stt_bench.benchmark.store.runs import run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError

HOLDER = """
import sys, time
from pathlib import Path
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
time.sleep(100)
"""


SECOND = """
import sys
from pathlib import Path
from stt_bench.benchmark.suite import load_table, run_table
from stt_bench.benchmark.system.progress import Reporter
table = load_table(sys.argv[1], ["evaluation.clustering=false"])
runs, results = map(Path, sys.argv[2:])
rows = ["softmax", "hard"]
outcome = run_table(
    table, rows=rows, seeds=None, runs=runs, results=results, force=False, reporter=Reporter()
)
assert outcome.done == ["tiny/hard/seed-0", "tiny/softmax/seed-0"], outcome
"""


def test_a_run_is_held_by_one_process_and_by_none_that_was_killed(
    tiny: Path, tmp_path: Path, stt_bench: Command
) -> None:
    run = run_of(load_table(str(tiny)), "hard", 0, tmp_path / "runs")
    with held(run), pytest.raises(RunInUseError, match=r"seed-0 is in use by another"), held(run):
        pass
    file = run.folder.with_name(".seed-0.lock")
    command = [sys.executable, "-c", HOLDER, str(file)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    for more in ((), ("--force",)):
        train = ("train", tiny, "--row", "hard", "--runs", tmp_path / "runs", "-q", *more)
        code, _, said = stt_bench(*train)
        assert (code, said.count("\n")) == (2, 1)
        assert "in use by another stt-bench" in said
    other.kill()
    other.communicate()
    with held(run):
        pass
    assert not run.folder.exists()


def test_force_discards_nothing_while_another_process_works_on_one_of_the_runs(
    tiny: Path, tmp_path: Path, stt_bench: Command
) -> None:
    where = ("--runs", tmp_path / "runs", "--results", tmp_path / "results", "-q")
    rows = ("--rows", "softmax,hard")
    assert stt_bench("run", tiny, *rows, *where).returncode == 0
    run = run_of(load_table(str(tiny)), "hard", 0, tmp_path / "runs")
    with held(run):
        assert stt_bench("run", tiny, *rows, *where, "--force").returncode == 2
        assert stt_bench("run", tiny, *rows, *where).returncode == 0  # nothing is left to do
    assert len(read_table_records(tmp_path / "results", "tiny")) == 2
    assert run.weights.exists()


def test_the_second_run_goes_on_with_the_next_row_and_comes_back(
    tiny: Path, tmp_path: Path
) -> None:
    run = run_of(load_table(str(tiny)), "softmax", 0, tmp_path / "runs")
    results = tmp_path / "results"
    command = [sys.executable, "-c", SECOND, tiny, tmp_path / "runs", results]
    with held(run):
        second = subprocess.Popen(
            [str(part) for part in command], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 120
        while not record_path(results, "tiny", "hard", 0).exists():
            assert second.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert not run.folder.exists()
    _, said = second.communicate(timeout=120)
    assert second.returncode == 0
    assert "tiny/softmax/seed-0 is run by another stt-bench" in said
    assert [record.row for record in read_table_records(results, "tiny")] == ["softmax", "hard"]


def test_a_folder_that_cannot_be_locked_is_one_sentence(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = run_of(load_table(str(tiny)), "hard", 0, tmp_path / "file")
    with pytest.raises(BenchError, match="cannot be locked"), held(run):
        pass
