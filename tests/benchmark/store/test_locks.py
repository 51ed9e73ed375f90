"""Two processes on the same folders: one works on a run, the other goes on with the next."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import Command

from stt_bench.benchmark.store.locks import InUseError, all_locked, held
from stt_bench.benchmark.store.records import read_table_records, record_path
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import load_table, run_table
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.system.resources import open_files

HOLDER = """
import sys
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
sys.stdin.readline()
lock.release()
"""


@contextmanager
def another_process_holding(run: Run) -> Iterator[subprocess.Popen[str]]:
    """Start a process that holds a run until it is killed or is given a line."""
    file = run.folder.with_name(f".{run.folder.name}.lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", HOLDER, str(file)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield other


def test_a_run_is_held_by_one_process_and_by_none_that_was_killed(
    tiny: Path, tmp_path: Path, stt_bench: Command
) -> None:
    run = run_of(load_table(str(tiny)), "hard", 0, tmp_path / "runs")
    with held(run), pytest.raises(InUseError, match=r"seed-0 is in use by another"), held(run):
        pass
    with another_process_holding(run) as other:
        for more in ((), ("--force",)):
            train = ("train", tiny, "--row", "hard", "--runs", tmp_path / "runs", "-q", *more)
            code, _, said = stt_bench(*train)
            assert (code, said.count("\n")) == (2, 1)
            assert "in use by another stt-bench" in said
        other.kill()
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
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, told = tmp_path / "results", []
    table = load_table(str(tiny), ["evaluation.clustering=false"])
    run = run_of(table, "softmax", 0, tmp_path / "runs")
    with another_process_holding(run) as first:

        def say(_: Reporter, text: str) -> None:
            told.append(text)
            if text == "tiny/softmax/seed-0: waits for the other stt-bench":
                assert record_path(results, "tiny", "hard", 0).exists()
                assert not run.folder.exists()
                first.stdin.write("\n")
                first.stdin.flush()

        monkeypatch.setattr(Reporter, "say", say)
        outcome = run_table(
            table, rows=["softmax", "hard"], seeds=None, runs=tmp_path / "runs", results=results,
            force=False, reporter=Reporter(),
        )  # fmt: skip
    assert outcome.done == ["tiny/hard/seed-0", "tiny/softmax/seed-0"], outcome
    assert "tiny/softmax/seed-0 is run by another stt-bench: left to that one" in told
    assert [record.row for record in read_table_records(results, "tiny")] == ["softmax", "hard"]


def test_a_folder_that_cannot_be_locked_is_one_sentence(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = run_of(load_table(str(tiny)), "hard", 0, tmp_path / "file")
    with pytest.raises(BenchError, match="is a file where a folder is needed"), held(run):
        pass


@pytest.fixture
def few_files() -> Iterator[int]:
    """Let this process open ten more files; return the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 10, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_things_are_held_than_files_were_allowed(few_files: int, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    paths = [tmp_path / str(number) for number in range(40)]
    with all_locked(paths), pytest.raises(InUseError), all_locked(paths[-1:]):
        pass
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
    told = r"open files, and .* are allowed here: name fewer at once"
    if few_files != resource.RLIM_INFINITY:
        with pytest.raises(BenchError, match=told), open_files(few_files):
            pass
