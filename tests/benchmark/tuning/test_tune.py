"""The command that tunes a table, and what runs of the table make of it."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from command_line import Command
from filelock import FileLock

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.datasets.training_items import training_items
from stt_bench.benchmark.jobs import pool
from stt_bench.benchmark.jobs.pool import Pool
from stt_bench.benchmark.jobs.work import Maker, Task
from stt_bench.benchmark.leaderboards.rows import build_row
from stt_bench.benchmark.store.records import (
    checksum,
    read_record,
    read_table_records,
    record_path,
)
from stt_bench.benchmark.store.runs import open_run
from stt_bench.benchmark.store.trials import Trial, journal_path, read_trials
from stt_bench.benchmark.suite import load_table, run_table
from stt_bench.benchmark.system.errors import BenchError, TrainingStopped
from stt_bench.benchmark.system.progress import Bar, Reporter
from stt_bench.benchmark.tuning import tasks, winners
from stt_bench.benchmark.tuning import tune as tuning
from stt_bench.benchmark.tuning.winners import Winners, tuned_run, winner

QUIET = Reporter(quiet=True)


def tune(table: Path, results: Path, **options: object) -> None:
    read = load_table(str(table))
    assert read.tuning is not None
    tuning.tune(read, read.tuning, results, QUIET, **options)  # type: ignore[arg-type]


def trials_of(results: Path, row: str) -> list[Trial]:
    return read_trials(results, "tuned", row).trials


def same(one: list[Trial], other: list[Trial]) -> bool:
    return len(one) == len(other) and all(a.agrees(b) for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, tuned_text: str) -> Path:
    """Return a folder with tuned.yaml and all its trials in results/."""
    root = tmp_path_factory.mktemp("searched")
    (root / "tuned.yaml").write_text(tuned_text)
    tune(root / "tuned.yaml", root / "results")
    return root


@pytest.fixture
def copied(searched: Path, tmp_path: Path) -> Path:
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_the_rows_own_settings_never_count_as_the_best(tmp_path: Path) -> None:
    shown: list[str | None] = []
    bar = Bar(lambda _done, note, _total: shown.append(note))
    row = tuning._Row("row", tmp_path / "journal.jsonl", [], bar, None)
    trial = Trial(
        study=0, index=-1, point={}, base_digest="0" * 64, every=1, patience=1,
        curves=[[0.9], [0.9]], objective=0.9, steps=1, seconds=2.0, commit="", data_hash=None,
    )  # fmt: skip
    row.keep(trial)
    row.keep(trial.model_copy(update={"index": 0, "objective": 0.5}))
    row.keep(trial.model_copy(update={"index": 1, "objective": 0.4}))
    assert shown == ["2.0 s a trial", "best 50.0, 2.0 s a trial", "best 50.0, 2.0 s a trial"]


def test_every_row_gets_the_same_number_of_trials(searched: Path) -> None:
    wanted = [(0, -1), (0, 0), (0, 1), (1, 0), (1, 1)]
    for row in ("softmax", "hard"):
        assert [(t.study, t.index) for t in trials_of(searched / "results", row)] == wanted
    assert trials_of(searched / "results", "untrained") == []


def test_any_shards_in_any_order_find_the_same(searched: Path, tmp_path: Path) -> None:
    parts = [tmp_path / str(number) for number in range(3)]
    for number in (3, 1, 2):
        tune(searched / "tuned.yaml", parts[number - 1], shard=(number, 3))
    merged = tmp_path / "merged" / "tuning" / "tuned"
    merged.mkdir(parents=True)
    for part in parts:  # merging is copying files
        for file in (part / "tuning" / "tuned").glob("*.jsonl"):
            assert not (merged / file.name).exists()
            shutil.copy(file, merged)
    for row in ("softmax", "hard"):
        assert same(trials_of(tmp_path / "merged", row), trials_of(searched / "results", row))
    sizes = [len(list(part.rglob("*.jsonl"))) for part in parts]
    assert sizes == [2, 2, 2]


def test_it_goes_on_where_it_was_killed(searched: Path, copied: Path) -> None:
    path = journal_path(copied / "results", "tuned", "hard")
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"\n") + 200])  # in the second line
    tune(copied / "tuned.yaml", copied / "results")
    assert path.read_bytes().startswith(whole[: whole.index(b"\n") + 1])
    assert same(trials_of(copied / "results", "hard"), trials_of(searched / "results", "hard"))


def test_two_processes_write_the_journals_of_one(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "START", "fork")
    tune(searched / "tuned.yaml", tmp_path / "results", executor=Pool(2))
    for row in ("softmax", "hard"):
        one, two = (
            [json.loads(line) for line in journal_path(results, "tuned", row).open()]
            for results in (searched / "results", tmp_path / "results")
        )
        for line in (*one, *two):
            del line["seconds"]
        assert two == one


def test_what_is_made_before_a_slow_trial_is_kept_when_it_is_stopped(
    tuned: Path, tmp_path: Path
) -> None:
    class Backwards:
        """Makes the trials from the last to the first, and is stopped before the first."""

        jobs = 2

        def run(
            self, make: Maker, todo: Sequence[Task], reporter: Reporter, **_: object
        ) -> Iterator[tuple[Task, Trial]]:
            for task in todo[:0:-1]:
                yield task, make(reporter).do(task.content)
            assert not trials_of(tmp_path / "results", "softmax")
            raise TrainingStopped

    with pytest.raises(TrainingStopped, match="the search stopped"):
        tune(tuned, tmp_path / "results", rows=["softmax"], executor=Backwards())
    kept = [(t.study, t.index) for t in trials_of(tmp_path / "results", "softmax")]
    assert kept == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_trial_that_is_there_is_not_made_again(
    searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "run_trial", lambda *_args, **_options: pytest.fail("made again"))
    tune(searched / "tuned.yaml", searched / "results")


def test_it_can_be_stopped_between_trials(
    tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = tuning.append_trials

    def signalled(path: Path, trials: list[Trial]) -> None:
        signal.raise_signal(signal.SIGINT)
        append(path, trials)

    monkeypatch.setattr(tuning, "append_trials", signalled)
    with pytest.raises(TrainingStopped, match="tuned/softmax"):
        tune(tuned, tmp_path / "results")
    assert len(trials_of(tmp_path / "results", "softmax")) == 1


def test_a_trial_that_is_under_way_ends_at_once(
    tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is: it may read images, or encode them, for long."""
    run_trial = tasks.run_trial

    def signalled(*args: Any, **options: Any) -> Trial:
        if args[0].loss.name == "softmax" and options["index"] == 1:
            signal.raise_signal(signal.SIGTERM)
            pytest.fail("it went on")
        return run_trial(*args, **options)

    monkeypatch.setattr(tasks, "run_trial", signalled)
    with pytest.raises(TrainingStopped, match="tuned/softmax: the search stopped"):
        tune(tuned, tmp_path / "results", rows=["softmax"])
    assert 0 < len(trials_of(tmp_path / "results", "softmax")) < 5


def test_a_sampler_that_does_not_fit_the_folds_is_told_before_the_first_trial(
    tuned: Path, tmp_path: Path, stt_bench: Command
) -> None:
    """The five training classes of the digits are enough for p: 4, those of a fold are not."""
    text = tuned.read_text().replace("loss: {name: hard", "sampler: {p: 4}\n    loss: {name: hard")
    tuned.write_text(text + "  center: {loss: center, sampler: {p: 4}}\n")
    done = stt_bench("tune", tuned, "--results", tmp_path / "results")
    misfit = "the sampler does not fit the folds of the training split: sampler.p is 4, but only"
    assert done.returncode == 2
    assert f"tuned: nothing was tuned: hard, center: {misfit} " in done.stderr
    assert trials_of(tmp_path / "results", "softmax") == []
    plan = stt_bench("run", tuned, "--dry-run", "--seeds", 0, "--results", tmp_path / "results")
    assert f"  hard, center, seed 0: would be refused: {misfit} " in plan.stdout
    first = f"lacks 5 of its 5 trials: run `stt-bench tune {shlex.quote(str(tuned))} --rows"
    assert f"  softmax, seed 0: would be refused: {first} softmax` first\n" in plan.stdout
    told = (
        f"  softmax, hard, center, seed 0: would be refused: {first} softmax,hard,center` first\n"
    )
    tuned.write_text(tuned.read_text().replace("p: 4", "p: 2"))
    plan = stt_bench("run", tuned, "--dry-run", "--seeds", 0, "--results", tmp_path / "results")
    assert told in plan.stdout
    assert "untrained, seed 0: starts" in plan.stdout


def test_a_row_that_another_process_tunes_comes_last(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = copied / "results"
    for row in ("softmax", "hard"):
        path = journal_path(results, "tuned", row)
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    busy = journal_path(results, "tuned", "softmax")
    lock = FileLock(busy.with_name(f".{busy.name}.lock"))
    lock.acquire()
    told: list[str] = []

    def say(_self: Reporter, text: str) -> None:
        told.append(text)
        if "waits for" in text:
            assert len(trials_of(results, "hard")) == 5
            lock.release()

    monkeypatch.setattr(Reporter, "say", say)
    tune(copied / "tuned.yaml", results)
    assert len(trials_of(results, "softmax")) == 5
    assert any("softmax is tuned by another" in text for text in told)


@pytest.mark.parametrize("rows", ["hard", "softmax,hard"])
def test_why_the_last_row_failed_is_told_once(
    tuned: Path, stt_bench: Command, monkeypatch: pytest.MonkeyPatch, rows: str
) -> None:
    def fails(experiment: Experiment, *_args: object, **_options: object) -> Trial:
        raise BenchError(f"no room for {experiment.loss.name}")

    monkeypatch.setattr(tasks, "run_trial", fails)
    done = stt_bench("tune", tuned, "--results", tuned.parent / "results", "--rows", rows)
    assert done.returncode == 2
    assert done.stderr.count("tuned/hard: no room for hard_triplet") == 1


def test_the_price_is_told_before_and_after(copied: Path, stt_bench: Command) -> None:
    table, results = copied / "tuned.yaml", copied / "results"
    first = stt_bench("tune", table, "--results", copied / "new", "--trials", 1, "--studies", 1)
    assert first.returncode == 0
    assert "4 trial(s) of 2 folds to run; the price is told" in first.stderr
    assert "core-minutes by the first trial" in first.stderr
    again = stt_bench("tune", table, "--results", copied / "new", "--studies", 1)
    assert "2 trial(s) of 2 folds to run, about" in again.stderr
    assert "core-minutes by the trials that are there" in again.stderr
    end = stt_bench("tune", table, "--results", results)
    assert "tuned: every trial is there" in end.stderr
    part = stt_bench("tune", table, "--results", results, "--shard", "2/3")
    assert "tuned: every trial of part 2 of 3 of the chosen rows is there" in part.stderr
    spent = sum(t.seconds for row in ("softmax", "hard") for t in trials_of(results, row))
    assert f"{spent / 60:,.1f} core-minutes" in end.stderr


def test_a_winner_near_a_bound_is_not_said_to_be_at_it(
    copied: Path, stt_bench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winners, "at_bounds", lambda *_: [("optimizer.lr", 0.01)])
    done = stt_bench("tune", copied / "tuned.yaml", "--results", copied / "results")
    told = "study 0: the winner's optimizer.lr is near the bound 0.01 of its range, and the best"
    assert f"warning: tuned/hard, {told} may lie beyond it\n" in done.stderr


def test_show_prints_the_points_and_their_outcome(searched: Path, stt_bench: Command) -> None:
    table = searched / "tuned.yaml"
    shown = stt_bench("tune", table, "--results", searched / "results", "--show", "--rows", "hard")
    assert "loss.margin: 0.01 to 1, log" in shown.stdout
    assert "not run" not in shown.stdout
    best = winner(trials_of(searched / "results", "hard"), 1)
    assert best is not None
    line = next(x for x in shown.stdout.splitlines() if f"study 1, trial {best.index}:" in x)
    assert line.endswith(f"{100 * best.objective:.2f} at step {best.steps} *")
    assert "the row's own: loss.margin 1," in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tune", "{table}", "--shard", "3/2"], "write it as 2/8"),
        (["tune", "{table}", "--rows", "sofmax"], "did you mean 'softmax'"),
        (["tune", "digits_retrieval"], "says nothing of tuning"),
        (["run", "{table}", "--results", "{empty}"],
         "tuned/softmax lacks 5 of its 5 trials: run `stt-bench tune {quoted} --rows softmax`"),
        (["train", "{table}", "--row", "hard", "--results", "{empty}"], "tuned/hard lacks 5"),
        (["run", "{table}", "--results", "{results}", "--set", "optimizer.weight_decay=0.1"],
         "tuned/softmax lacks 5 of its 5 trials; 5 are of other settings than the row's present "
         "ones: run `stt-bench tune {quoted} --set optimizer.weight_decay=0.1 --rows softmax`"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_told_in_a_sentence(
    searched: Path, tmp_path: Path, stt_bench: Command, arguments: list[str], said: str
) -> None:
    places = {
        "table": searched / "tuned.yaml",
        "results": searched / "results",
        "empty": tmp_path / "none",
    }
    done = stt_bench(*(argument.format(**places) for argument in arguments))
    assert done.returncode == 2
    quoted = shlex.quote(str(places["table"]))
    assert said.format(**places, quoted=quoted) in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("train: {steps: 7,", "optimizer: {schedule: linear}\ntrain: {steps: 7,",
         "line 6: row 'softmax': a table with tuning needs optimizer.schedule: constant"),
        ("train: {steps: 7,", "train: {steps: 7, validate_every: 2,", "train.validate_every"),
        ("folds: 2", "fold: 2", "line 8: tuning: unknown field 'fold'; did you mean 'folds'?"),
        ("folds: 2", "folds: 1", "line 8: tuning: folds: input should be greater"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_table_is_told(tuned: Path, old: str, new: str, said: str) -> None:
    text = tuned.read_text().replace("retrieval}", "retrieval, validation: 0.4}")
    tuned.write_text(text.replace(old, new))
    with pytest.raises(BenchError, match=said.replace("?", r"\?")):
        load_table(str(tuned))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("optimizer.schedule=linear", "needs optimizer.schedule: constant"),
        ("train.validate_every=2", "chooses the length a second time"),
    ],
)
def test_a_mistake_by_an_override_is_told_there(tuned: Path, change: str, said: str) -> None:
    tuned.write_text(tuned.read_text().replace("retrieval}", "retrieval, validation: 0.4}"))
    with pytest.raises(BenchError, match=f"^--set {change.partition('=')[0]}: row '.*': .*{said}"):
        load_table(str(tuned), [change])


@pytest.mark.parametrize(
    "change",
    [
        ("margin: 1}", "margin: 2}"),
        ("every: 3", "every: 4"),
        ("folds: 2", "folds: 3"),
        ("patience: 2", "patience: 3"),
        ("steps: 7", "steps: 8"),
    ],
)
def test_trials_of_other_settings_do_not_count(copied: Path, change: tuple[str, str]) -> None:
    table = copied / "tuned.yaml"
    table.write_text(table.read_text().replace(*change))
    read = load_table(str(table))
    assert read.tuning is not None
    (hard,) = tuning.searches(read, read.tuning, copied / "results", rows=["hard"])
    assert hard.valid == []
    assert len(hard.missing) == 5
    assert hard.notes == [
        "tuned/hard: 5 trial(s) are of earlier settings of the row or of the search and count no "
        "more"
    ]


def test_trials_on_other_data_do_not_count_and_those_that_do_not_tell_do(copied: Path) -> None:
    table = load_table(str(copied / "tuned.yaml"))
    assert table.tuning is not None
    hard = table.rows["hard"]
    path = journal_path(copied / "results", "tuned", "hard")
    text, now = path.read_text(), training_items(hard.data).data_hash
    assert text.count(f'"data_hash":"{now}"') == 5
    path.write_text(text.replace(now, "0" * 64))
    (search,) = tuning.searches(table, table.tuning, copied / "results", rows=["hard"])
    assert (search.valid, len(search.missing)) == ([], 5)
    assert search.notes == [
        "tuned/hard: 5 trial(s) are of other training data than lie here now and count no more"
    ]
    with pytest.raises(BenchError, match="of its 5 trials; 5 are of other training data than lie"):
        Winners(table, copied / "results").of("hard", 0)
    path.write_text(text.replace(f'"data_hash":"{now}",', ""))
    Winners(table, copied / "results").of("hard", 0)


def test_a_point_that_the_search_did_not_choose_does_not_count(copied: Path) -> None:
    path = journal_path(copied / "results", "tuned", "hard")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]["point"]["optimizer.lr"] = 0.123
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(BenchError, match="lacks 1 of its 5 trials"):
        Winners(load_table(str(copied / "tuned.yaml")), copied / "results").of("hard", 0)


@pytest.fixture(scope="module")
def recorded(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the row hard run with three seeds."""
    root = tmp_path_factory.mktemp("recorded")
    shutil.copytree(searched, root, dirs_exist_ok=True)
    outcome = run_table(
        load_table(str(root / "tuned.yaml")), rows=["hard"], seeds=[0, 1, 2],
        runs=root / "runs", results=root / "results", force=False, reporter=QUIET,
    )  # fmt: skip
    assert not outcome.failed
    return root


def test_seed_s_trains_with_the_winner_of_study_s_modulo_the_studies(recorded: Path) -> None:
    base = load_table(str(recorded / "tuned.yaml")).rows["hard"]
    records = read_table_records(recorded / "results", "tuned")
    assert [record.seed for record in records] == [0, 1, 2]
    for record in records:
        best = winner(trials_of(recorded / "results", "hard"), record.seed % 2)
        assert best is not None
        assert record.tuning is not None
        assert (record.tuning.study, record.tuning.index) == (record.seed % 2, best.index)
        assert record.experiment.train.steps == best.steps
        assert record.experiment.loss.params["margin"] == best.point["loss.margin"]
        assert record.tuning.base_digest == base.digest() != record.config_digest
        assert record.effort is not None
        assert (record.effort.seeds_started, record.effort.trials) == (record.seed + 1, 4)
    assert records[0].config_digest == records[2].config_digest != records[1].config_digest
    assert build_row("tuned", "hard", records).seeds == [0, 1, 2]


def test_a_run_s_folder_knows_its_tuning(recorded: Path) -> None:
    run = open_run(recorded / "runs" / "tuned" / "hard" / "seed-1")
    table = load_table(str(recorded / "tuned.yaml"))
    expected = tuned_run(Winners(table, recorded / "results"), "hard", 1, recorded / "runs")
    assert run.tuning == expected.tuning
    assert run.experiment.digest() == expected.experiment.digest()


def test_a_tuned_table_is_planned_and_skipped_as_others_are(
    recorded: Path, stt_bench: Command
) -> None:
    options = ["--results", recorded / "results", "--runs", recorded / "runs", "--seeds", "0,1,2"]
    plan = stt_bench("run", recorded / "tuned.yaml", *options, "--rows", "hard", "--dry-run")
    assert "hard, seed 0, 1, 2: has a record" in plan.stdout
    again = stt_bench("run", recorded / "tuned.yaml", *options, "--rows", "hard")
    assert "3 of tuned already had a record" in again.stderr
    other = [*options, "--set", "optimizer.weight_decay=0.1", "--dry-run"]
    plan = stt_bench("run", recorded / "tuned.yaml", *other)
    assert "hard, seed 0, 1, 2: would be refused: lacks 5" in plan.stdout


Edit = Callable[[dict], object]


def other_point(content: dict) -> None:
    content["tuning"]["point"]["loss.margin"] = 0.5


def other_before(content: dict) -> None:
    content["tuning"]["before"]["loss.margin"] = 0.5


def no_before(content: dict) -> None:
    content["tuning"]["before"] = {}


def other_study(content: dict) -> None:
    content["tuning"]["study"] = 0


def other_base(content: dict) -> None:
    content["tuning"]["base_digest"] = "0" * 64


def other_settings(content: dict) -> None:
    """Change what was not tuned, with all digests and checksums to match."""
    content["experiment"]["model"]["normalize"] = True
    experiment = Experiment.model_validate(content["experiment"])
    content["config_digest"] = experiment.digest()


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (other_point, "loss.margin was chosen as 0.5, the experiment says"),
        (other_before, "tuning.base_digest is not that"),
        (no_before, "tuning.before does not name"),
        (other_study, "seed 1 takes the winner of another"),
        (other_base, "tuning.base_digest is not that"),
        (other_settings, "tuning.base_digest is not that"),
    ],
)
def test_a_record_whose_tuning_was_edited_is_refused(
    recorded: Path, tmp_path: Path, edit: Edit, said: str
) -> None:
    content = json.loads(record_path(recorded / "results", "tuned", "hard", 1).read_text())
    edit(content)
    content["checksum"] = checksum(content)
    path = record_path(tmp_path, "tuned", "hard", 1)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    with pytest.raises(BenchError, match=said):
        read_record(path)
