"""Rows whose settings a search has chosen: each at its own best, whatever the seeds' winners."""

from __future__ import annotations

from typing import Any

import pytest
from test_evidence import TRIPLET
from test_leaderboard import record
from tuned_tables import tuned

from stt_bench.benchmark.config.yaml_lines import parse_value
from stt_bench.benchmark.leaderboards.board import build_leaderboard
from stt_bench.benchmark.leaderboards.rows import build_row
from stt_bench.benchmark.leaderboards.wording import loss_text
from stt_bench.benchmark.store.records import Record
from stt_bench.benchmark.system.errors import BenchError


def triplet(seed: int, value: float = 0.6, **settings: Any) -> Record:
    point = {"optimizer.lr": 0.01 * (seed + 1), "loss.margin": 0.1 + seed / 10}
    return tuned("triplet", seed, value, point, 100 + seed, **{**TRIPLET, **settings})


def softmax(seed: int, value: float = 0.5) -> Record:
    point = {"optimizer.lr": 0.1 / (seed + 1), "loss.label_smoothing": 0.1}
    return tuned("softmax", seed, value, point, 300 - seed)


def test_seeds_with_other_winners_are_one_row_and_have_a_baseline() -> None:
    records = [one for seed in range(3) for one in (triplet(seed), softmax(seed))]
    board = build_leaderboard("t", records, [])
    first, row = board.rows
    assert [first.name, row.name] == ["softmax", "triplet"]
    # Smoothed labels make another method of a row, but not where a search has chosen them.
    assert first.is_baseline
    assert board.baseline(row, "map@r").row is first
    assert board.best_softmax(row, "map@r") is first
    assert board.is_ranked(row, "map@r")
    assert board.difference(row, "map@r").mean == pytest.approx(0.1)
    assert loss_text(row) == "semi_hard_triplet (tuned: margin)"
    assert row.protocol["steps"] == "up to 1000, tuned: 3 × 20 trials on 4 folds"
    assert board.tuned == {"optimizer.lr", "loss.margin", "loss.label_smoothing"}


def test_what_was_not_tuned_must_agree_all_the_same() -> None:
    other = {"model": {"normalize": True}}
    records = [one for seed in range(2) for one in (triplet(seed, **other), softmax(seed))]
    board = build_leaderboard("t", records, [])
    differs = board.baseline(board.rows[1], "map@r").differs
    assert differs == [("model.normalize", True, False)]


def test_a_row_that_was_searched_longer_or_not_at_all_is_not_compared() -> None:
    longer = {"search": {"trials": 40}}
    records = [one for seed in range(2) for one in (triplet(seed, **longer), softmax(seed))]
    records += [record("plain", seed, {"map@r": 0.9}, **TRIPLET) for seed in range(2)]
    board = build_leaderboard("t", records, [])
    names = {row.name: row for row in board.rows}
    for name in ("triplet", "plain"):
        assert board.baseline(names[name], "map@r").row is None
        assert board.best_softmax(names[name], "map@r") is None
    assert not board.is_ranked(names["plain"], "map@r") or not board.is_ranked(
        names["softmax"], "map@r"
    )


def test_records_of_a_row_that_was_tuned_from_other_settings_are_refused() -> None:
    made = triplet(1)
    other = made.model_copy(
        update={"tuning": made.tuning.model_copy(update={"base_digest": "0" * 64})}
    )
    with pytest.raises(BenchError, match="different settings"):
        build_row("t", "triplet", [triplet(0), other])


def test_tuned_rows_stand_by_their_score_inside_baselines_losses_and_two_heads() -> None:
    two = {"softmax_head": True}
    records = [
        tuned("a", 0, 0.3, {}),
        tuned("b", 0, 0.4, {}),
        tuned("lll", 0, 0.5, {}, **TRIPLET),
        tuned("mm", 0, 0.7, {}, **TRIPLET),
        tuned("nnn", 0, 0.9, {}, **TRIPLET, **two),
        tuned("ooo", 0, 0.8, {}, **TRIPLET, **two),
    ]
    rows = build_leaderboard("t", records[::-1], []).rows
    assert [row.name for row in rows] == ["b", "a", "mm", "lll", "nnn", "ooo"]
    scores = {"b": 0.2, "a": 0.1, "mm": 0.3, "lll": 0.9, "nnn": 0.4, "ooo": 0.5}
    by_accuracy = [
        made.model_copy(update={"metrics": {**made.metrics, "accuracy": scores[made.row]}})
        for made in records
    ]
    rows = build_leaderboard("t", by_accuracy, []).rows
    assert [row.name for row in rows] == ["b", "a", "lll", "mm", "ooo", "nnn"]
    plain = [made.model_copy(update={"tuning": None}) for made in records]
    rows = build_leaderboard("t", plain, []).rows
    assert [row.name for row in rows] == ["a", "b", "mm", "lll", "nnn", "ooo"]  # by length: order


def test_parameters_that_are_mappings_stand_on_the_page_as_in_the_table() -> None:
    loss = {
        "name": "pml:TripletMarginLoss",
        "margin": 0.05,
        "swap": True,
        "distance": "LpDistance",
        "miner": {"name": "MultiSimilarityMiner", "epsilon": 0.1, "sizes": [1, None]},
    }
    row = build_row("t", "r", [record("r", 0, {"map@r": 0.5}, loss=loss)])
    text = loss_text(row)
    assert text == (
        "pml:TripletMarginLoss (margin 0.05, swap true, distance LpDistance, "
        "miner {name: MultiSimilarityMiner, epsilon: 0.1, sizes: [1, null]})"
    )
    written = text.partition("miner ")[2].removesuffix(")")
    assert parse_value(written) == loss["miner"]


def test_searches_are_what_was_drawn_not_the_seeds_that_share_a_winner() -> None:
    luck = [0.00, 0.03, 0.06]
    records = [
        one
        for seed in range(6)
        for one in (triplet(seed, 0.6 + luck[seed % 3] + seed // 3 / 1000), softmax(seed))
    ]
    board = build_leaderboard("t", records, [])
    verdict = board.difference(board.rows[1], "map@r")
    # Three means, 0.1005, 0.1305 and 0.1605: ± 4.303 · 0.03 / √3, and no six values of ± 2.571.
    assert verdict.seeds == 3
    assert verdict.mean == pytest.approx(0.1305)
    assert verdict.half_width == pytest.approx(4.303 * 0.03 / 3**0.5, rel=1e-3)
