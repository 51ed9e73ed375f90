"""What counts of a journal that holds more than the table's own trials."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.jobs import pool
from stt_bench.benchmark.store.trials import Trial, append_trials, journal_path, read_trials
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError, TrainingStopped
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.tuning import tasks, winners
from stt_bench.benchmark.tuning import tune as tuning
from stt_bench.benchmark.tuning.space import Dimension, point_of, space_of
from stt_bench.losses.search import Range


def trials(table: Table, count: int, space: list[Dimension] | None = None) -> list[Trial]:
    """Return trials of study 0 of the row softmax, each better than the one before."""
    experiment, config = table.rows["softmax"], table.tuning
    assert config is not None
    space = space or space_of(experiment)
    return [
        Trial(
            study=0,
            index=index,
            point=point_of(space, 0, index),
            base_digest=experiment.digest(),
            every=config.every,
            patience=config.patience,
            curves=[[index / 100]] * config.folds,
            objective=index / 100,
            steps=config.every,
            seconds=1.0,
        )
        for index in range(count)
    ]


def test_no_row_wins_by_more_trials_than_the_table_gives_to_all(tuned: Path) -> None:
    table = load_table(str(tuned))
    assert table.tuning is not None
    experiment = table.rows["softmax"]
    valid, old = winners.valid_trials(experiment, table.tuning, trials(table, 4))
    assert [trial.index for trial in valid] == [0, 1]
    assert old == 0
    best, record = winners.tuned_experiment(experiment, table.tuning, valid, 0)
    assert record.index < record.trials == 2
    assert best.train.steps == table.tuning.every


def test_trials_of_other_ranges_stay_in_the_journal_beside_those_of_today(
    tuned: Path, tmp_path: Path
) -> None:
    table = load_table(str(tuned))
    assert table.tuning is not None
    now = space_of(table.rows["softmax"])
    before = [replace(now[0], bounds=Range(1e-9, 1e-8, "log")), *now[1:]]
    path = journal_path(tmp_path, "tuned", "softmax")
    append_trials(path, [*trials(table, 2, before), *trials(table, 2)])
    journal = read_trials(tmp_path, "tuned", "softmax")
    valid, old = winners.valid_trials(table.rows["softmax"], table.tuning, journal.trials)
    assert (valid, old) == (trials(table, 2), 2)


def test_ctrl_c_ends_the_wait_for_another_process(
    tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, path = load_table(str(tuned)), journal_path(tmp_path, "tuned", "softmax")
    assert table.tuning is not None
    path.parent.mkdir(parents=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"), thread_local=False)
    lock.acquire()
    release = threading.Timer(20, lock.release)  # of a wait that does not end
    release.start()

    def say(_self: Reporter, text: str) -> None:
        if "waits for" in text:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Reporter, "say", say)
    with pytest.raises(TrainingStopped):
        tuning.tune(table, table.tuning, tmp_path, Reporter(quiet=True), rows=["softmax"])
    assert lock.is_locked
    release.cancel()
    lock.release()


def test_a_row_that_fails_does_not_end_the_search_of_the_others(
    tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = load_table(str(tuned))
    assert table.tuning is not None
    tried: list[str] = []

    def fails(experiment: Experiment, *_: object, **__: object) -> None:
        tried.append(experiment.loss.name)
        raise RuntimeError("a loss's own fault") if len(tried) == 1 else BenchError("no such batch")

    monkeypatch.setattr(tasks, "run_trial", fails)
    with pytest.raises(BenchError, match="2 rows could not be tuned, see above: softmax, hard"):
        tuning.tune(table, table.tuning, tmp_path, Reporter(quiet=True))
    assert tried == ["softmax", "hard_triplet"]


def test_a_failure_names_its_row_and_whether_others_go_on(
    tuned: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = load_table(str(tuned))
    assert table.tuning is not None

    def fails(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(tasks, "run_trial", fails)
    fault: Exception = RuntimeError("a loss's\nown fault")
    with pytest.raises(BenchError) as caught:
        tuning.tune(table, table.tuning, tmp_path, Reporter(), rows=["hard"])
    assert str(caught.value) == (
        "tuned/hard: RuntimeError: a loss's own fault; the same command tries it again, and with "
        "STT_BENCH_DEBUG=1 before it shows where"
    )
    assert caught.value.__cause__ is fault
    assert "go on" not in capsys.readouterr().err
    fault = PermissionError(13, "Permission denied", "images/a.png")
    with pytest.raises(BenchError, match="2 rows could not be tuned"):
        tuning.tune(table, table.tuning, tmp_path, Reporter())
    first, last = [x for x in capsys.readouterr().err.splitlines() if "Permission" in x]
    assert "tuned/softmax: images/a.png: Permission denied; the others go on" in first
    assert last.endswith("tuned/hard: images/a.png: Permission denied")


def test_no_more_trials_of_a_row_are_begun_when_one_has_failed(
    tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In two processes a row has two trials at once; three more would follow."""
    table = load_table(str(tuned))
    assert table.tuning is not None

    def fails(experiment: Experiment, *_: object, study: int, index: int, **__: object) -> None:
        (tmp_path / f"{experiment.loss.name} {study} {index}").touch()
        raise BenchError("no such batch")

    monkeypatch.setattr(tasks, "run_trial", fails)
    monkeypatch.setattr(pool, "START", "fork")
    with pytest.raises(BenchError, match="2 rows could not be tuned, see above: softmax, hard"):
        tuning.tune(
            table, table.tuning, tmp_path / "results", Reporter(quiet=True), executor=pool.Pool(2)
        )
    tried = [path.name.split()[0] for path in tmp_path.glob("* * *")]
    assert tried.count("softmax") == 2
    assert tried.count("hard_triplet") in (1, 2)
