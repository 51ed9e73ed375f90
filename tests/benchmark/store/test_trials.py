"""The journal of trials: what is written is read, in any number of files, whole or not at all."""

from pathlib import Path

import pytest

from stt_bench.benchmark.store.trials import (
    DEFAULT,
    Trial,
    append_trials,
    journal_path,
    mean_curve,
    on_data,
    read_trials,
)
from stt_bench.benchmark.system.errors import BenchError


def a_trial(index: int = 0, study: int = 0, **changes: object) -> Trial:
    content = {
        "study": study,
        "index": index,
        "point": {"optimizer.lr": 0.001},
        "base_digest": "0" * 64,
        "every": 10,
        "patience": 2,
        "curves": [[0.1, 0.5, 0.3], [0.3, 0.3, 0.4]],
        "objective": 0.4,
        "steps": 20,
        "seconds": 1.5,
        **changes,
    }
    return Trial.model_validate(content)


def test_the_mean_curve_is_over_the_folds() -> None:
    assert mean_curve([[0.0, 1.0], [1.0, 0.5]]) == [0.5, 0.75]


def test_what_is_written_is_read_from_any_number_of_files(tmp_path: Path) -> None:
    append_trials(journal_path(tmp_path, "t", "row"), [a_trial(1), a_trial(DEFAULT)])
    append_trials(journal_path(tmp_path, "t", "row", (1, 2)), [a_trial(0), a_trial(1)])
    append_trials(journal_path(tmp_path, "t", "row", (2, 2)), [a_trial(0, 1)])
    append_trials(journal_path(tmp_path, "t", "row.b"), [a_trial(7)])  # another row
    append_trials(journal_path(tmp_path, "t", "row2"), [a_trial(8)])
    journal = read_trials(tmp_path, "t", "row")
    assert journal.trials == [a_trial(DEFAULT), a_trial(0), a_trial(1), a_trial(0, 1)]
    assert journal.notes == []
    assert read_trials(tmp_path, "t", "none").trials == []


def test_a_line_cut_off_by_a_kill_is_left_out_told_and_written_again(tmp_path: Path) -> None:
    path = journal_path(tmp_path, "t", "row")
    append_trials(path, [a_trial(0), a_trial(1)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    journal = read_trials(tmp_path, "t", "row")
    assert journal.trials == [a_trial(0)]
    assert len(journal.notes) == 1
    assert "cut off" in journal.notes[0]
    append_trials(path, [a_trial(1)])
    assert path.read_bytes() == whole


def test_a_damaged_line_before_the_last_is_told(tmp_path: Path) -> None:
    path = journal_path(tmp_path, "t", "row")
    append_trials(path, [a_trial(0), a_trial(1)])
    path.write_bytes(b"{" + path.read_bytes())
    with pytest.raises(BenchError, match="line 1: is no trial"):
        read_trials(tmp_path, "t", "row")


def test_trials_that_stand_twice_must_agree_but_for_time_and_commit(tmp_path: Path) -> None:
    append_trials(journal_path(tmp_path, "t", "row"), [a_trial(0)])
    other = journal_path(tmp_path, "t", "row", (1, 2))
    append_trials(other, [a_trial(0, seconds=9.0, commit="abc")])
    (read,) = read_trials(tmp_path, "t", "row").trials
    assert read.agrees(a_trial(0))
    append_trials(other, [a_trial(0, curves=[[0.5, 0.1], [0.5, 0.1]], objective=0.5, steps=10)])
    with pytest.raises(BenchError, match="line 2: trial 0 of study 0 differs from"):
        read_trials(tmp_path, "t", "row")


def test_trials_on_other_data_are_told_apart_and_those_that_do_not_tell_count(
    tmp_path: Path,
) -> None:
    one, other = "1" * 64, "2" * 64
    lines = [
        a_trial(0),
        a_trial(0, data_hash=one, seconds=9.0),
        a_trial(0, data_hash=other, curves=[[0.5, 0.1], [0.5, 0.1]], objective=0.5, steps=10),
        a_trial(1),
    ]
    append_trials(journal_path(tmp_path, "t", "row"), lines)
    read = read_trials(tmp_path, "t", "row").trials
    assert on_data(read, one) == ([lines[1], lines[3]], 1)
    assert on_data(read, other) == ([lines[2], lines[3]], 1)
    assert on_data(read, "3" * 64) == ([lines[0], lines[3]], 2)
    assert on_data([lines[1]], None) == ([lines[1]], 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objective": 0.45}, "not the highest mean"),
        ({"steps": 30}, "validation 2, not step 30"),
        ({"curves": [[0.4], [0.4, 0.1]]}, "different lengths"),
        ({"curves": [[], []]}, "must say its error"),
        ({"error": "the loss is nan"}, "objective 0"),
        ({"index": DEFAULT, "study": 1}, "belongs to study 0"),
        ({"point": {"optimizer.lr": float("nan")}}, "finite"),
        ({"seed": 1}, "not permitted"),
    ],
)
def test_a_line_that_cannot_be_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        a_trial(**changes)


def test_a_failed_trial_keeps_what_it_measured() -> None:
    failed = a_trial(error="the loss is nan", objective=0.0, steps=0, curves=[[0.5], [0.1]])
    assert failed.curves == [[0.5], [0.1]]
