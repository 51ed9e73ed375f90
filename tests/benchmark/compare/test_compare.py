"""The command from the data to the answer, on data whose answer is known."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import Command
from small_comparisons import compared, write_vectors

from stt_bench.benchmark.compare import compare as comparing
from stt_bench.benchmark.compare import prices
from stt_bench.benchmark.compare.folder import Folder
from stt_bench.benchmark.compare.plan import Request
from stt_bench.benchmark.compare.rows import BASELINE, CHOSEN, catalogue, chosen_rows
from stt_bench.benchmark.leaderboards.answer import answer
from stt_bench.benchmark.pages.write import read_boards
from stt_bench.benchmark.store.locks import locked
from stt_bench.benchmark.store.trials import read_trials
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError, TrainingStopped
from stt_bench.benchmark.system.progress import Bar, Reporter

ROWS = ["untrained", "untrained_pca", "softmax", "contrastive"]


def everything(folder: Path) -> dict[str, bytes]:
    beside = {".lock", "timing"}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in beside
    }


def test_a_head_that_must_help_is_found_to_help(telling: Path) -> None:
    (board,) = read_boards(telling / "out" / "results", ["out"])
    means = {row.name: row.scores["map@r"].mean for row in board.rows}
    assert sorted(means) == sorted(ROWS)
    assert min(means["softmax"], means["contrastive"]) > means["untrained"] + 0.15
    told = " ".join(answer(board))
    assert re.search(r"points above the [^.]*untrained network.*, significant for new seeds", told)
    assert (telling / "out" / "results" / "out.md").exists()
    assert (telling / "out" / "results" / "out.html").exists()


def test_where_nothing_can_help_the_answer_says_so(quick: None, tmp_path: Path) -> None:
    board = compared(write_vectors(tmp_path, telling=False), tmp_path / "out")
    first = answer(board)[0]
    assert first.startswith(("No trained row is above", "No loss is shown", "Nothing can be told"))


def test_every_row_is_tuned_alike(telling: Path) -> None:
    wanted = [(0, -1), (0, 0), (0, 1), (1, 0), (1, 1)]
    for row in ("softmax", "contrastive"):
        trials = read_trials(telling / "out" / "results", "out", row).trials
        assert [(trial.study, trial.index) for trial in trials] == wanted
    table = load_table(str(telling / "out" / "out.yaml"))
    assert table.tuning is not None
    assert (table.tuning.studies, table.tuning.trials, table.seeds) == (2, 2, (0, 1))


def trials_of(root: Path) -> list[object]:
    found = []
    for row in ("softmax", "contrastive"):
        trials = read_trials(root / "out" / "results", "out", row).trials
        found += [(trial.index, trial.point, trial.curves) for trial in trials]
    return found


def test_the_test_part_decides_nothing(telling: Path, tuned_alone: None, tmp_path: Path) -> None:
    """With other vectors in the test part every trial, and so every choice, is the same."""
    shutil.copy(telling / "X.csv", tmp_path)
    vectors = np.load(telling / "X.npy")
    items = pd.read_csv(telling / "out" / "items.csv")
    tested = items.loc[items["split"] == "test", "row"].to_numpy()
    vectors[tested] = np.random.default_rng(0).standard_normal((len(tested), vectors.shape[1]))
    np.save(tmp_path / "X.npy", vectors)
    compared(tmp_path / "X.npy", tmp_path / "out")
    assert trials_of(tmp_path) == trials_of(telling)


def test_run_takes_the_table_and_finds_everything_done(
    telling: Path, tmp_path: Path, stt_bench: Command
) -> None:
    out = telling / "out"
    places = ("--results", out / "results", "--runs", out / "runs")
    done = stt_bench("run", out / "out.yaml", *places)
    assert done.returncode == 0, done.stderr
    assert "8 of out already had a record" in done.stderr
    grown = tmp_path / "grown.yaml"
    grown.write_text((out / "out.yaml").read_text().replace("seeds: [0, 1]", "seeds: [0, 1, 2]"))
    planned = stt_bench("run", grown, "--dry-run", "--results", tmp_path, "--runs", tmp_path)
    assert planned.returncode == 2, planned.stderr
    assert "would be refused: lacks" in planned.stdout


def test_finished_it_is_not_made_again(
    telling: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = everything(telling / "out" / "results" / "records")
    monkeypatch.setattr(comparing, "look", lambda *_: pytest.fail("looked again"))
    compared(telling / "X.npy", telling / "out")
    assert everything(telling / "out" / "results" / "records") == records


def test_stopped_it_goes_on_to_the_same_end(
    telling: Path, tuned_alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("X.npy", "X.csv"):
        shutil.copy(telling / name, tmp_path)
    tune, calls = comparing.tune, []

    def once(*args: object, **options: object) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise TrainingStopped("stopped")
        tune(*args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(comparing, "tune", once)
        with pytest.raises(TrainingStopped):
            compared(tmp_path / "X.npy", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["spent"] > 0
    monkeypatch.setattr(comparing, "make_plan", lambda *_: pytest.fail("measured again"))
    compared(tmp_path / "X.npy", tmp_path / "out")
    assert trials_of(tmp_path) == trials_of(telling)


def test_at_its_end_the_table_is_the_users(telling: Path, quick: None, tmp_path: Path) -> None:
    shutil.copytree(telling, tmp_path, dirs_exist_ok=True, symlinks=True)
    table, state = tmp_path / "out" / "out.yaml", tmp_path / "out" / "compare.json"
    kept = Folder(tmp_path / "out")
    request = Request(data=str(telling / "X.npy"), rows=("contrastive",))
    text = table.read_text().replace("label: Softmax", "label: Mine")
    table.write_text(text)
    found = kept.state(request)
    assert found is not None
    assert found.done
    kept.save(found)
    assert table.read_text() == text
    state.write_text(state.read_text().replace('"done": true', '"done": false'))
    with pytest.raises(BenchError, match=r"out\.yaml was changed by hand: go on with"):
        kept.state(request)


def test_one_at_a_time(telling: Path, quick: None) -> None:
    with (
        Folder(telling / "out").held(),
        pytest.raises(BenchError, match="in use by another stt-bench"),
    ):
        compared(telling / "X.npy", telling / "out")


def test_force_removes_nothing_that_another_works_on_or_for_data_that_do_not_do(
    tmp_path: Path, stt_bench: Command, quick: None
) -> None:
    data, out = write_vectors(tmp_path, telling=True), tmp_path / "out"
    kept = out / "results" / "kept"
    run = out / "runs" / "out" / "softmax" / "seed-0"
    for folder in (kept, run):
        folder.mkdir(parents=True)
    (out / "compare.json").write_text("{}")
    command = ("compare", data, "--out", out, "--force")
    for place in (out, run):
        with locked(place):
            done = stt_bench(*command)
        assert (done.returncode, kept.exists()) == (2, True)
        assert "in use by another stt-bench" in done.stderr
    data.with_suffix(".csv").unlink()
    assert "the labels of its vectors are missing" in stt_bench(*command).stderr
    assert kept.exists()


def test_force_begins_anew_once_there_is_a_plan(tmp_path: Path, tuned_alone: None) -> None:
    data, out = write_vectors(tmp_path, telling=True), tmp_path / "out"
    (out / "results" / "old").mkdir(parents=True)
    (out / "compare.json").write_text("{}")
    request = Request(data=str(data), rows=("contrastive",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparing._Work, "tune", lambda _work: None)
        comparing.compare(request, Folder(out), Reporter(quiet=True), force=True)
    assert not (out / "results" / "old").exists()
    assert (out / "items.csv").exists()


def test_another_request_is_another_comparison(telling: Path, quick: None) -> None:
    with pytest.raises(BenchError, match=r"a comparison with minutes 30\.0: .*--force"):
        compared(telling / "X.npy", telling / "out", minutes=9.0)
    with pytest.raises(BenchError, match="no comparison: name another folder"):
        compared(telling / "X.npy", telling)
    with pytest.raises(BenchError, match="is a file"):
        compared(telling / "X.npy", telling / "X.csv")


def test_the_plan_alone_writes_nothing(
    telling: Path, quick: None, tmp_path: Path, stt_bench: Command
) -> None:
    before = sorted(os.listdir(telling))
    out = tmp_path / "new"
    done = stt_bench("compare", telling / "X.npy", "--dry-run", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "96 vectors of 12 values" in done.stdout
    assert "train.device: auto is " in done.stderr
    assert "16 classes of 6 to 6 items" in done.stdout
    assert "8 classes (48 items) to learn from, 8 others (48) to retrieve among" in done.stdout
    assert "to tune 8 rows alike (2 studies × 2 trials × 2 folds)" in done.stdout
    assert not out.exists()
    assert sorted(os.listdir(telling)) == before


def test_the_rows_are_of_the_catalogue_and_the_baselines_always_there(tmp_path: Path) -> None:
    assert set(CHOSEN) <= set(catalogue())
    assert 8 <= len(chosen_rows(None, "pca")) <= 10
    few = chosen_rows(["margin", "untrained_head"], "pca")
    assert set(few) == {"untrained", "untrained_pca", BASELINE, "margin"}
    assert "untrained_head" in chosen_rows(None, "orthogonal")
    with pytest.raises(BenchError, match="did you mean 'margin'"):
        chosen_rows(["margim"], "pca")
    with pytest.raises(BenchError, match="did you mean 'margin'"):  # before the data are looked at
        compared(Path("nowhere"), tmp_path / "out", rows=("margim",))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("nan", "in 1 of 96 rows, the first is row 8, X[7] in NumPy, with nan"),
        ("no csv", "the labels of its vectors are missing: name their csv with --labels"),
        ("short", "has 95 items and"),
        ("unique", "all 96 labels are unique"),
        ("gone", "does not exist: give a folder of class folders"),
        ("table", "my.yaml is a table, no data: `stt-bench run "),
    ],
)
def test_vectors_that_do_not_do_are_refused_in_a_sentence(
    change: str, told: str, tmp_path: Path, stt_bench: Command
) -> None:
    data = write_vectors(tmp_path, telling=True)
    csv = data.with_suffix(".csv")
    if change == "nan":
        vectors = np.load(data)
        vectors[7, 3] = np.nan
        np.save(data, vectors)
    elif change == "no csv":
        csv.unlink()
    elif change == "short":
        csv.write_text("".join(csv.read_text().splitlines(keepends=True)[:-1]))
    elif change == "unique":
        csv.write_text("label\n" + "".join(f"{number}\n" for number in range(96)))
    elif change == "table":
        data = tmp_path / "my.yaml"
        data.write_text("rows: {a: {loss: softmax}}\n")
    else:
        data = tmp_path / "nothing"
    done = stt_bench("compare", data, "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    *_, last = done.stderr.splitlines()
    assert last.startswith("error: ")
    assert told in last
    assert not (tmp_path / "out").exists()
    assert not [*tmp_path.glob(".*")]


def test_minutes_that_are_too_few_say_how_many_do(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prices, "price_of_training", lambda *_args, **_more: (1.0, 1.0))
    with pytest.raises(BenchError, match=r"1 min 0 s are too short: .* give --minutes \d+"):
        compared(write_vectors(tmp_path, telling=True), tmp_path / "out", minutes=1.0)


def test_trials_beyond_the_plan_are_counted_among_all() -> None:
    shown: list[tuple[int, int | None]] = []
    counter = comparing._Counter(Bar(lambda done, _note, total: shown.append((done, total))), 3)
    for trials in (2, 3, 2):
        counter.expect(2 * trials)
        with counter.bar("a trial of each row", 2) as bar:
            bar.to(2)
    assert shown == [(2, 4), (4, 6), (6, 6)]
