"""Comparisons that flatter a loss, planted in records: what the page says of each."""

from __future__ import annotations

from test_evidence import TRIPLET, board_of

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.markdown import markdown
from stt_bench.benchmark.leaderboards.rows import Row


def row_of(board: Leaderboard, name: str) -> Row:
    return next(row for row in board.rows if row.name == name)


def test_a_weak_baseline_gives_its_gain_away() -> None:
    """A Softmax row with a tiny learning rate agrees in all; a better one stands beside it."""
    slow = {"optimizer": {"lr": 1e-7}}
    board = board_of(
        {"weak": slow, "good": {}, "loss": {**TRIPLET, **slow}},
        {
            "weak": [0.30, 0.31, 0.30],
            "good": [0.50, 0.51, 0.50],
            "loss": [0.42, 0.43, 0.42],
        },
    )
    loss = row_of(board, "loss")
    own, best = board.baseline(loss, "map@r").row, board.best_softmax(loss, "map@r")
    assert (own and own.name, best and best.name) == ("weak", "good")
    gain, lead = board.difference(loss, "map@r"), board.verdict(loss, best, "map@r")
    assert gain is not None
    assert lead is not None
    assert gain.mean > 0 > lead.mean
    assert "− best Softmax" in markdown(board)


def test_softmax_that_is_not_trained_is_below_the_untrained_network() -> None:
    board = board_of(
        {"u": {"train": {"steps": 0}}, "ss": {"optimizer": {"lr": 1e-7}}, "loss": TRIPLET},
        {"u": [0.4, 0.4, 0.4], "ss": [0.34, 0.34, 0.34], "loss": [0.39, 0.39, 0.39]},
    )
    assert {row.name for row in board.rows if "↓" in board.marks(row)} == {"ss", "loss"}
    assert "training made the embedding worse" in markdown(board)


def test_frozen_batch_norm_is_credited_to_no_loss() -> None:
    frozen = {"model": {"freeze_batch_norm": True}}
    board = board_of(
        {"s": {}, "loss": {**TRIPLET, **frozen}},
        {"s": [0.2, 0.2, 0.2], "loss": [0.6, 0.6, 0.6]},
    )
    assert board.difference(row_of(board, "loss"), "map@r") is None
    with_own = board_of(
        {"s": {}, "frozen": frozen, "loss": {**TRIPLET, **frozen}},
        {"s": [0.2, 0.2, 0.2], "frozen": [0.55, 0.55, 0.55], "loss": [0.6, 0.6, 0.6]},
    )
    verdict = with_own.difference(row_of(with_own, "loss"), "map@r")
    assert verdict is not None
    assert round(verdict.mean, 6) == 0.05


def test_of_seventeen_rows_of_noise_none_is_marked() -> None:
    """Four of them would be, each by itself: t = 4.33 at two degrees of freedom, p 0.0495."""
    noise = [[0.5 + d * k for k in (0.6, 1.0, 1.4)] for d in (0.01, -0.004, 0.003, 0.002)]
    rows = {f"row{n:02}": TRIPLET for n in range(17)}
    values = {name: noise[n % 4] if n else noise[0] for n, name in enumerate(rows)}
    values |= {name: [0.5, 0.503, 0.498] for n, name in enumerate(rows) if n >= 4}
    board = board_of({"s": {}, **rows}, values)
    assert len(board.verdicts) == 17
    assert not {v.mark for v in board.verdicts.values()} & {"▲", "▼"}
