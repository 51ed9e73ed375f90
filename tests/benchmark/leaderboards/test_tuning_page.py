"""What a tuned table shows of its searches, against values that were worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from test_evidence import TRIPLET
from test_leaderboard import record
from tuned_tables import failed, final, searched, tried

from stt_bench.benchmark.leaderboards.board import Leaderboard, build_leaderboard
from stt_bench.benchmark.leaderboards.markdown import markdown
from stt_bench.benchmark.leaderboards.report import report
from stt_bench.benchmark.leaderboards.searches import RowSearch, read_searches
from stt_bench.benchmark.leaderboards.tuning_figure import draw_best_of_n
from stt_bench.benchmark.leaderboards.tuning_page import tuning_page
from stt_bench.benchmark.statistics.best_of_n import BestOf
from stt_bench.benchmark.statistics.search_spread import SearchSpread, search_spread
from stt_bench.benchmark.store.records import Record, record_path
from stt_bench.benchmark.store.trials import DEFAULT, append_trials, journal_path
from stt_bench.benchmark.tuning.space import space_of

STUDIES = [[0.2, 0.4, 0.3], [0.1, 0.5, 0.3]]
SETTINGS: dict[str, dict[str, Any]] = {"softmax": {}, "triplet": TRIPLET}


def experiment_of(row: str) -> Any:
    return record(row, 0, {"map@r": 0.5}, **SETTINGS[row]).experiment


def written(results: Path, row: str, studies: Sequence[Sequence[float]] = STUDIES) -> list[Record]:
    """Write a row's journal and return its records of four seeds."""
    trials = [tried(experiment_of(row), 0, DEFAULT, 0.25)]
    trials += searched(experiment_of(row), studies)
    append_trials(journal_path(results, "t", row), trials)
    return [final(row, seed, 0.5, trials, **SETTINGS[row]) for seed in range(4)]


def tuned_board(results: Path) -> tuple[Leaderboard, list[RowSearch]]:
    records = [one for row in SETTINGS for one in written(results, row)]
    board = build_leaderboard("t", records, [])
    return board, read_searches(results, board)


def test_the_page_shows_trials_default_winners_and_the_best_of_n(tmp_path: Path) -> None:
    board, searches = tuned_board(tmp_path)
    page = tuning_page(board, searches)
    (line,) = [one for one in page.splitlines() if one.startswith("| triplet | 6 in 2")]
    # 0.3 is the mean of each study; seven trials of 6 s, four runs of 1 s.
    assert line.split(" | ")[1:6] == ["6 in 2", "0", "25.0", "45.0 (40.0 to 50.0)", "+20.0"]
    assert line.split(" | ")[6:8] == ["30.0 (30.0 to 30.0)", "45.0 (40.0 to 50.0)"]
    assert line.endswith("| 0.7 | 0.1 |")
    # The best of two: (0.3 + 0.4 + 0.4) / 3 and (0.3 + 0.5 + 0.5) / 3.
    assert searches[1].best_of(2) == pytest.approx(BestOf(0.4, 1.1 / 3, 1.3 / 3))
    rows = [one for one in page.splitlines() if one.startswith("| triplet | 1 | 1 | 50.0 | 100")]
    assert len(rows) == 1
    assert "| loss.margin | 0.01 | 1 | log | triplet |" in page
    assert "| optimizer.lr | 1e-05 | 0.1 | log | all |" in page
    assert "Price: 1.4 core-minutes for 14 trials, 0.1 for the training of 8 final runs." in page


def test_the_leaderboard_says_it_in_short_and_leads_there(tmp_path: Path) -> None:
    board, searches = tuned_board(tmp_path)
    page = markdown(board, searches)
    assert page.index("| Row |") < page.index("## Tuning") < page.index("[t: tuning](t_tuning.md)")
    assert "2 rows, 2 studies × 3 trials each" in page
    assert "MAP@R on 3 class-disjoint folds" in page
    assert "the luck of the search, here two of them, is part of the spread over seeds." in page
    assert "2 rows, 2 studies" not in tuning_page(board, searches)  # it is told once
    assert "## Tuning" not in markdown(board)


def test_a_failed_trial_counts_as_0(tmp_path: Path) -> None:
    experiment = experiment_of("triplet")
    trials = [tried(experiment, 0, 0, 0.4), failed(experiment, 0, 1)]
    append_trials(journal_path(tmp_path, "t", "triplet"), trials)
    board = build_leaderboard("t", [final("triplet", 0, 0.5, trials, **TRIPLET)], [])
    (search,) = read_searches(tmp_path, board)
    assert (search.failed, search.missing) == (1, 0)
    assert search.best_of(1) == pytest.approx(BestOf(0.2, 0.2, 0.2))
    assert "| triplet | 2 in 1 | 1 | not run | 40.0 (40.0 to 40.0) | – |" in tuning_page(
        board, [search]
    )


def test_the_page_counts_the_trials_of_each_commit(tmp_path: Path) -> None:
    experiment = experiment_of("triplet")
    commits = ["a" * 40, "b" * 40, "b" * 40 + "+changes", "a" * 40, None, "a" * 40]
    trials = [
        tried(experiment, 0, index, 0.4, commit=commit) for index, commit in enumerate(commits)
    ]
    append_trials(journal_path(tmp_path, "t", "triplet"), trials)
    board = build_leaderboard("t", [final("triplet", 0, 0.5, trials, **TRIPLET)], [])
    page = tuning_page(board, read_searches(tmp_path, board))
    told = f"{'a' * 12} (3), {'b' * 12} (1), {'b' * 12}+changes (1), not told (1)"
    assert f"- Trials by commit: {told}." in page


def at_bound(point: dict[str, float], field: str, unit: float) -> dict[str, float]:
    (dimension,) = [one for one in space_of(experiment_of("triplet")) if one.field == field]
    return {**point, field: dimension.bounds.value(unit)}


@pytest.mark.parametrize(
    ("unit", "alarm"), [(0.985, "0.933254"), (0.97, None), (0.01, "0.0104713")]
)
def test_a_winner_at_a_bound_raises_an_alarm(
    tmp_path: Path, unit: float, alarm: str | None
) -> None:
    experiment = experiment_of("triplet")
    (trial,) = searched(experiment, [[0.4]])
    middle = {one.field: one.bounds.value(0.5) for one in space_of(experiment)}
    middle["optimizer.backbone_lr_factor"] = 1.0
    point = at_bound(middle, "loss.margin", unit)
    trials = [trial.model_copy(update={"point": point})]
    append_trials(journal_path(tmp_path, "t", "triplet"), trials)
    board = build_leaderboard("t", [final("triplet", 0, 0.5, trials, **TRIPLET)], [])
    page = tuning_page(board, read_searches(tmp_path, board))
    if alarm is None:
        assert "No winner sits at a bound of its range." in page
        assert "⚠" not in page
    else:
        assert float(alarm) == pytest.approx(point["loss.margin"], rel=1e-5)
        bound = "1" if unit > 0.5 else "0.01"
        assert f"| ⚠ loss.margin {bound} |" in page
        assert "⚠ 1 of 3 tuned values of the winners lie at a bound" in page
        assert "beyond: triplet: loss.margin." in page
        assert "lie beyond, of no row in more than one study." in markdown(
            board, read_searches(tmp_path, board)
        )


def test_the_longest_length_raises_an_alarm(tmp_path: Path) -> None:
    experiment = experiment_of("triplet")
    trials = [tried(experiment, 0, 0, 0.4, steps=experiment.train.steps)]
    append_trials(journal_path(tmp_path, "t", "triplet"), trials)
    board = build_leaderboard("t", [final("triplet", 0, 0.5, trials, **TRIPLET)], [])
    page = tuning_page(board, read_searches(tmp_path, board))
    assert "⚠ 1 of 1 winners are best at `train.steps`" in page
    assert "⚠ longest |" in page


def test_a_seed_that_was_not_trained_with_its_studys_winner_is_named(tmp_path: Path) -> None:
    records = written(tmp_path, "triplet")
    assert records[3].tuning is not None
    better = records[3].tuning.model_copy(update={"index": 0})
    records[3] = records[3].model_copy(update={"tuning": better})
    board = build_leaderboard("t", records, [])
    page = markdown(board, read_searches(tmp_path, board))
    assert "**triplet: not trained with the winners of its studies: seeds 3.**" in page


def test_trials_that_are_not_there_are_told(tmp_path: Path) -> None:
    records = written(tmp_path, "triplet")
    path = journal_path(tmp_path, "t", "triplet")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    board = build_leaderboard("t", records, [])
    assert "**triplet: 1 of its trials are not there.**" in tuning_page(
        board, read_searches(tmp_path, board)
    )
    path.unlink()
    assert "**triplet: its trials are not there**" in tuning_page(
        board, read_searches(tmp_path, board)
    )


def test_trials_of_other_settings_or_searches_are_left_out(tmp_path: Path) -> None:
    records = written(tmp_path, "triplet")
    path = journal_path(tmp_path, "t", "triplet")
    other = record("triplet", 0, {"map@r": 0.5}, **{**TRIPLET, "model": {"normalize": True}})
    append_trials(path, searched(other.experiment, [[0.9, 0.9]]))
    patient = [
        one.model_copy(update={"patience": 9})
        for one in searched(experiment_of("triplet"), [[0.9]])
    ]
    append_trials(path, patient)
    own = experiment_of("triplet")
    append_trials(path, [tried(own, 0, 3, 0.9), tried(own, 2, 0, 0.9)])  # more than all rows get
    ranges = [
        one.model_copy(update={"point": {**one.point, "optimizer.lr": 9.0}})
        for one in searched(own, [[0.9]])
    ]
    append_trials(path, ranges)
    (search,) = read_searches(tmp_path, build_leaderboard("t", records, []))
    assert [trial.objective for trial in search.winners.values()] == [0.4, 0.5]
    assert len(search.tried) == 6
    assert search.default is not None
    assert search.strays == []


def test_a_row_that_was_not_tuned_is_named(tmp_path: Path) -> None:
    records = written(tmp_path, "triplet")
    records += [record("plain", seed, {"map@r": 0.5}, **TRIPLET) for seed in range(4)]
    board = build_leaderboard("t", records, [])
    page = markdown(board, read_searches(tmp_path, board))
    assert "Not tuned, and so not compared: plain." in page


def test_the_spread_between_searches_is_that_of_an_analysis_of_variance() -> None:
    rows = [[[1.0, 3.0], [5.0, 7.0]], [[0.0, 2.0], [0.0, 2.0]]]
    # Within: squares of ±1, 2 degrees of freedom of each row. Between: row 1 (2 · 4 · 2 − 2) / 2,
    # row 2 (0 − 2) / 2.
    assert search_spread(rows) == pytest.approx(
        SearchSpread(((16 - 2) / 2 - 1) ** 0.5 / 2**0.5, 2**0.5)
    )
    assert search_spread([[[1.0], [2.0]]]) is None
    assert search_spread([[[1.0, 2.0]]]) is None
    rng = np.random.default_rng(0)
    many = [
        [
            (search + 0.5 * rng.standard_normal(n)).tolist()
            for n, search in zip((4, 3, 3), searches, strict=True)
        ]
        for searches in 2.0 * rng.standard_normal((500, 3))
    ]
    assert search_spread(many) == pytest.approx(SearchSpread(2.0, 0.5), rel=0.05)


def test_seeds_of_one_search_are_not_independent() -> None:
    rng = np.random.default_rng(0)
    counts, spread = (4, 3, 3), SearchSpread(2.0, 1.0)
    seeds = np.repeat(2.0 * rng.standard_normal((20_000, 3)), counts, axis=1)
    seeds += rng.standard_normal(seeds.shape)
    factor = (seeds.mean(axis=1).var() / (seeds.var(axis=1, ddof=1).mean() / 10)) ** 0.5
    assert spread.shortfall(counts) == pytest.approx(factor, rel=0.02)
    assert SearchSpread(0.0, 1.0).shortfall(counts) == pytest.approx(1.0)
    assert SearchSpread(1.0, 0.0).shortfall([1, 1, 1]) == pytest.approx(1.0)
    assert SearchSpread(0.0, 0.0).shortfall(counts) == 1.0


def test_the_figure_has_a_panel_of_the_curve_for_each_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, searches = tuned_board(tmp_path)
    made: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: made.append(figure))
    draw_best_of_n(searches, tmp_path / "a.png")
    axis = made[0].axes[1]
    assert axis.get_title() == "triplet"
    curve, default = axis.get_lines()
    assert curve.get_xydata().tolist() == [
        [1, pytest.approx(30.0)], [2, pytest.approx(40.0)], [3, pytest.approx(45.0)]
    ]  # fmt: skip
    assert set(default.get_ydata()) == {25.0}


def test_report_writes_the_pages_of_a_tuned_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = written(tmp_path, "triplet")
    for one in records:
        one.save(record_path(tmp_path, "t", "triplet", one.seed))
    monkeypatch.setattr(
        "stt_bench.benchmark.leaderboards.report.read_table_records", lambda *_: records
    )
    report(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"t.md", "t_tuning.md", "t_tuning.png"} <= names
    assert "t_tuning" not in (tmp_path / "README.md").read_text()
