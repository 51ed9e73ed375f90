"""What `run`, `eval` and `report` keep of the code and of the tries, from end to end."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Done

from stt_bench.benchmark.scoring.probe import metrics_probe
from stt_bench.benchmark.store.ledger import read_ledger
from stt_bench.benchmark.store.records import Record, read_record, record_path
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.machine import commit
from stt_bench.benchmark.training.probe import training_probe
from stt_bench.losses.hard_triplet import HardTripletLoss

Command = Callable[..., Done]


@pytest.fixture
def places(tmp_path: Path) -> tuple[object, ...]:
    return ("--runs", tmp_path / "runs", "--results", tmp_path / "results", "-q")


def record_of(folder: Path, row: str, seed: int = 0) -> Record:
    return read_record(record_path(folder / "results", "tiny", row, seed))


def test_run_names_the_rows_of_other_code_and_how_to_renew_them(
    stt_bench: Command,
    tiny: Path,
    tmp_path: Path,
    places: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = ("run", tiny, "--rows", "softmax,hard", *places)
    assert stt_bench(*run).stderr == ""
    experiment = load_table(str(tiny)).rows["hard"]
    record = record_of(tmp_path, "hard")
    assert record.commit == commit()
    trained = training_probe(experiment)
    assert trained is not None
    assert record.probe == trained | metrics_probe(experiment.evaluation)
    compute = HardTripletLoss.compute

    def wrong(self: Any, *batch: Any) -> Any:
        loss, diagnostics = compute(self, *batch)
        return 1.5 * loss, diagnostics

    with monkeypatch.context() as patch:
        patch.setattr(HardTripletLoss, "compute", wrong)
        done = stt_bench(*run)
        assert done.returncode == 0
        assert "made by earlier code, which computes otherwise than today's: hard (loss_0" in (
            done.stderr
        )
        assert f"`stt-bench run {shlex.quote(str(tiny))} --rows hard --force`" in done.stderr
        assert "softmax" not in done.stderr
        assert "| Hard¶ |" in (tmp_path / "results/tiny.md").read_text()
        assert record_of(tmp_path, "hard") == record  # only told
        assert stt_bench("run", tiny, "--rows", "hard", "--force", *places).stderr == ""
        assert "¶" not in (tmp_path / "results/tiny.md").read_text()
    assert record_of(tmp_path, "hard").metrics != record.metrics


def test_starts_and_readings_are_counted(
    stt_bench: Command, tiny: Path, tmp_path: Path, places: tuple[object, ...]
) -> None:
    run = ("run", tiny, "--rows", "hard", *places)
    assert stt_bench(*run, "--seeds", "0,1").returncode == 0
    assert stt_bench(*run, "--seeds", "0", "--force").returncode == 0  # no other number comes of it
    other = (*run, "--seeds", "1", "--set", "optimizer.lr=0.5", "--force")
    assert "different settings" in stt_bench(*other).stderr
    effort = record_of(tmp_path, "hard", 1).effort
    assert effort is not None
    assert effort.model_dump() == {"seeds_started": 1, "test_readings": 3, "trials": 0}
    assert stt_bench(*run, "--seeds", "1", "--force").returncode == 0
    effort = record_of(tmp_path, "hard", 1).effort
    assert effort is not None
    assert effort.model_dump() == {"seeds_started": 2, "test_readings": 3, "trials": 0}
    page = (tmp_path / "results/tiny.md").read_text()
    assert "results on the test split were read 3 times, of which 2 are shown" in page
    record_path(tmp_path / "results", "tiny", "hard", 1).unlink()
    assert stt_bench("report", "--results", tmp_path / "results").returncode == 0
    page = (tmp_path / "results/tiny.md").read_text()
    assert "Hard: seed 1 was started and has no record." in page


def test_a_training_that_died_was_started(
    stt_bench: Command,
    tiny: Path,
    tmp_path: Path,
    places: tuple[object, ...],
    at_step: Any,
) -> None:
    def die(_: object) -> None:
        raise RuntimeError

    for _ in range(2):
        with at_step(7, die):
            assert stt_bench("run", tiny, "--rows", "hard", *places).returncode == 1
    started, failed = read_ledger(tmp_path / "results", "tiny")
    assert (started.event, failed.event, failed.seed) == ("start", "failed", 0)
    assert failed.told == "RuntimeError: (all of it in tiny/hard/seed-0/error.txt)"
    assert stt_bench("run", tiny, "--rows", "hard", *places).returncode == 0  # goes on
    events = [one.event for one in read_ledger(tmp_path / "results", "tiny")]
    assert events == ["start", "failed", "reading"]


def test_a_training_is_not_continued_by_code_that_computes_otherwise(
    stt_bench: Command,
    tiny: Path,
    places: tuple[object, ...],
    at_step: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(_: object) -> None:
        raise RuntimeError

    run = ("run", tiny, "--rows", "hard", *places)
    with at_step(7, die):
        assert stt_bench(*run).returncode == 1
    compute = HardTripletLoss.compute

    def wrong(self: Any, *batch: Any) -> Any:
        loss, diagnostics = compute(self, *batch)
        return 1.5 * loss, diagnostics

    monkeypatch.setattr(HardTripletLoss, "compute", wrong)
    done = stt_bench(*run)
    assert done.returncode == 1
    assert "begun by code that computes otherwise than today's; train it again" in done.stderr


def test_a_training_that_was_started_alone_is_noted_there_and_where_it_is_measured(
    stt_bench: Command, tiny: Path, tmp_path: Path
) -> None:
    runs, results = tmp_path / "runs", tmp_path / "results"
    folder = runs / "tiny/hard/seed-4"
    train = ("train", tiny, "--row", "hard", "--seed", "4", "--runs", runs, "-q")
    for _ in range(2):  # the second time nothing begins
        assert stt_bench(*train, "--results", tmp_path / "alone").returncode == 0
    started = read_ledger(tmp_path / "alone", "tiny")
    assert [(one.event, one.row, one.seed) for one in started] == [("start", "hard", 4)]
    assert stt_bench("embed", folder, "-q").returncode == 0
    for _ in range(2):
        assert stt_bench("eval", folder, "--results", results, "-q").returncode == 0
    events = [(one.event, one.seed) for one in read_ledger(results, "tiny")]
    assert events == [("start", 4), ("reading", 4), ("reading", 4)]
    effort = record_of(tmp_path, "hard", 4).effort
    assert effort is not None
    assert effort.model_dump() == {"seeds_started": 1, "test_readings": 1, "trials": 0}
