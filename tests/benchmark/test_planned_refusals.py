"""A dry run ends as the run does: in one sentence of what is broken, with its exit code."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command_line import Command

from stt_bench.benchmark.store.ledger import ledger_path
from stt_bench.benchmark.store.records import record_path
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import load_table


@pytest.fixture
def line(tiny: Path, tmp_path: Path) -> tuple[object, ...]:
    """Return the arguments of `run` for three runs of one step each."""
    where = ("--runs", tmp_path / "runs", "--results", tmp_path / "results")
    return ("run", tiny, "--rows", "softmax", "--seeds", "0,1,2", *where)


@pytest.fixture
def finished(stt_bench: Command, line: tuple[object, ...], tiny: Path, tmp_path: Path) -> list[Run]:
    done = stt_bench(*line, "-q")
    assert done.returncode == 0, done.stderr
    return [run_of(load_table(str(tiny)), "softmax", seed, tmp_path / "runs") for seed in (0, 1, 2)]


def planned_and_done(
    stt_bench: Command, line: tuple[object, ...], why: str, code: int, *more: str
) -> tuple[str, str]:
    """Return what a dry run prints and what the run warns of; both tell `why` once."""
    folder = Path(str(line[-1])).parent
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    planned = stt_bench(*line, *more, "--dry-run")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    done = stt_bench(*line, *more)
    assert (planned.returncode, done.returncode) == (code, code), (planned, done)
    assert planned.stdout.count(why) == 1, planned
    assert done.stderr.count(why) == 1, done
    return planned.stdout, done.stderr


def test_a_broken_ledger_of_finished_runs(
    stt_bench: Command, line: tuple[object, ...], finished: list[Run], tmp_path: Path
) -> None:
    ledger = ledger_path(tmp_path / "results", "tiny")
    number = len(ledger.read_text().splitlines()) + 1
    with ledger.open("a") as stream:
        stream.write("xx{\n")
    why = f"{ledger}, line {number}: is no line of a ledger"
    told, _ = planned_and_done(stt_bench, line, why, 2)
    assert f"  the leaderboard would be refused: {why}" in told
    assert "softmax, seed 0, 1, 2: has a record" in told
    shutil.rmtree(finished[1].folder)
    record_path(tmp_path / "results", "tiny", "softmax", 1).unlink()
    told, _ = planned_and_done(stt_bench, line, why, 1)  # by the run that would begin
    assert f"softmax, seed 1: would be refused: {why}" in told


def test_a_broken_record_is_told_of_its_run_alone(
    stt_bench: Command, line: tuple[object, ...], finished: list[Run], tmp_path: Path
) -> None:
    path = record_path(tmp_path / "results", "tiny", "softmax", 0)
    path.write_text("{")
    told, warned = planned_and_done(stt_bench, line, f"{path}: cannot be read as JSON", 1)
    assert "softmax, seed 0: would be refused" in told
    assert "warning: 1 leaderboard not written, as told above\n" in warned
    others = [*line[:5], "1,2", *line[6:]]
    told, _ = planned_and_done(stt_bench, tuple(others), f"{path}: cannot be read as JSON", 2)
    assert "  the leaderboard would be refused: " in told
    assert stt_bench(*line, "--force", "--dry-run").returncode == 0
    assert stt_bench(*line, "--force").returncode == 0


def test_damaged_weights_are_refused_where_they_are_needed(
    stt_bench: Command, line: tuple[object, ...], finished: list[Run], tmp_path: Path
) -> None:
    run = finished[1]
    run.weights.write_bytes(run.weights.read_bytes()[:100])
    record_path(tmp_path / "results", "tiny", "softmax", 1).unlink()
    assert "seed 1: is trained" in stt_bench(*line, "--dry-run").stdout  # its embeddings are here
    shutil.rmtree(run.embeddings())
    why = f"{run.weights} is not what training wrote; train again with --force"
    told, _ = planned_and_done(stt_bench, line, why, 1)
    assert f"softmax, seed 1: would be refused: {why}" in told


@pytest.mark.parametrize("place", ["runs/tiny/softmax/seed-1", "results/records/tiny/softmax"])
def test_a_file_in_the_way_of_a_run_s_folders(
    stt_bench: Command, line: tuple[object, ...], tmp_path: Path, place: str
) -> None:
    file = tmp_path / place
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    line = (*line[:5], "1", *line[6:])
    why = f"{file} is a file where a folder is needed: move it away, or choose another folder"
    for code, more in ((1, []), (2, ["--force"])):
        told, _ = planned_and_done(stt_bench, line, why, code, *more)
        assert f"softmax, seed 1: would be refused: {why}" in told
    assert file.read_text() == "mine"
    assert not list((tmp_path / "runs").rglob("model.safetensors"))


def test_a_file_in_place_of_the_records_is_named(
    stt_bench: Command, line: tuple[object, ...], tmp_path: Path
) -> None:
    file = tmp_path / "results" / "records" / "tiny"
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    line = (*line[:5], "1", *line[6:])
    planned_and_done(stt_bench, line, f"{file} is a file where a folder is needed", 1)


def test_force_removes_nothing_where_one_folder_is_refused(
    stt_bench: Command, line: tuple[object, ...], finished: list[Run], tmp_path: Path
) -> None:
    shutil.rmtree(finished[2].folder)
    finished[2].folder.mkdir()
    (finished[2].folder / "thesis.tex").write_text("mine")
    why = f"{finished[2].folder} holds files that are no run and would be lost"
    planned_and_done(stt_bench, line, why, 2, "--force")
    assert finished[0].is_trained
    assert record_path(tmp_path / "results", "tiny", "softmax", 0).exists()


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("run", "TABLE", "--runs", ""), "--runs is empty: name a folder; the current one is '.'"),
        (("compare", "x", "--out", ""), "--out is empty: name a folder; the current one is '.'"),
        (("run", ""), "the name of a table is empty: name a YAML file (.yaml or .yml), or a table"),
        (("run", "LIST"), "LIST is a csv list, not a table: `stt-bench compare LIST` compares"),
    ],
)  # fmt: skip
def test_names_that_name_nothing_to_run(
    stt_bench: Command, tiny: Path, tmp_path: Path, command: tuple[str, ...], told: str
) -> None:
    listed = tmp_path / "y.csv"
    listed.write_text("path,label\na.png,a\n")
    names = {"TABLE": str(tiny), "LIST": str(listed)}
    done = stt_bench(*(names.get(one, one) for one in command))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {told.replace('LIST', str(listed))}")
    assert done.stderr.count("\n") == 1
