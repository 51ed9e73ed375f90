"""Which Softmax row is the baseline, and what a page says of the evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from test_leaderboard import record

from stt_bench.benchmark.leaderboards.baseline import baseline_of, best_softmax
from stt_bench.benchmark.leaderboards.board import Leaderboard, build_leaderboard
from stt_bench.benchmark.leaderboards.class_shares import class_shares
from stt_bench.benchmark.leaderboards.comparisons import Pair
from stt_bench.benchmark.leaderboards.front_page import front_page
from stt_bench.benchmark.leaderboards.markdown import markdown
from stt_bench.benchmark.statistics.adjustment import holm
from stt_bench.benchmark.statistics.crossed import crossed
from stt_bench.benchmark.statistics.moderated import moderated
from stt_bench.benchmark.store.class_records import ClassRetrieval, ClassScores, ClassShare
from stt_bench.benchmark.store.records import Record

TRIPLET = {"loss": {"name": "semi_hard_triplet", "margin": 0.2}}


def board_of(rows: dict[str, dict[str, Any]], values: dict[str, list[float]]) -> Leaderboard:
    records = [
        record(name, seed, {"map@r": value}, **rows[name])
        for name in rows
        for seed, value in enumerate(values.get(name, [0.5, 0.5, 0.5]))
    ]
    return build_leaderboard("t", records, [])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": {"head": "fc1024"}}, "head linear (not fc1024)"),
        ({"model": {"normalize": True}}, "normalisation False (not True)"),
        ({"model": {"freeze": ["net"]}}, "frozen layers [] (not ['net'])"),
        ({"model": {"freeze_batch_norm": True}}, "frozen batch norm False (not True)"),
        ({"optimizer": {"lr": 0.5}}, "learning rate 0.001 (not 0.5)"),
        ({"optimizer": {"name": "sgd"}}, "optimizer.name adam (not sgd)"),
        ({"sampler": {"name": "uniform"}}, "sampler pxk (not uniform)"),
        ({"input": {"flip": True}}, "input.flip False (not True)"),
        ({"train": {"steps": 9}}, "steps 1000 (not 9)"),
        ({"phases": [{"steps": 9, "loss": "softmax", "lr": 0.5}]}, "phases [] (not [(9, 0.5)])"),
    ],
)
def test_whatever_is_not_the_loss_must_agree(settings: dict[str, Any], said: str) -> None:
    board = board_of({"s": {}, "row": {**TRIPLET, **settings}}, {"row": [0.6, 0.6, 0.6]})
    row = next(row for row in board.rows if row.name == "row")
    assert board.baseline(row, "map@r").row is None
    assert board.difference(row, "map@r") is None
    page = markdown(board)
    assert f"No baseline for row: no Softmax row agrees in all but the loss: s has {said}" in (
        page.replace("\\", "")
    )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"softmax_head": True, "loss_weight": 0.5},
        {"train": {"log_every": 7, "threads": 3}},
        {"phases": [{"steps": 9, "loss": "priming"}]},
        {"evaluation": {"ks": [1], "memory_mib": 9}},
    ],
)
def test_the_loss_and_bookkeeping_may_differ(settings: dict[str, Any]) -> None:
    board = board_of({"s": {}, "row": {**TRIPLET, **settings}}, {})
    row = next(row for row in board.rows if row.name == "row")
    assert board.baseline(row, "map@r").row is board.rows[0]


def test_the_baseline_is_the_row_that_agrees_and_the_best_softmax_another() -> None:
    rows = {"a": {}, "bb": {"optimizer": {"lr": 0.5}}, "ccc": TRIPLET}
    board = board_of(
        rows, {"a": [0.3, 0.31, 0.32], "bb": [0.6, 0.61, 0.62], "ccc": [0.5, 0.5, 0.5]}
    )
    row = board.rows[2]
    assert baseline_of(row, board.rows).row is board.rows[0]
    assert best_softmax(board.rows, "map@r") is board.rows[1]
    assert board.pairs == [Pair("ccc", "a", "map@r"), Pair("ccc", "bb", "map@r")]
    lines = [line for line in markdown(board).splitlines() if line.startswith("| ccc")]
    # Both differences have the standard deviation 0.01: pooled by logarithms with 4 (S − 1) degrees
    # of freedom, ± 2.306 · 1 point / √3 · exp(γ / 2) = 1.78, γ Euler's constant.
    assert "| +19.0 ± 1.8 △ | -11.0 ± 1.8 ▽ | a | 3 |" in lines[1]
    assert lines[0] == (
        "| ccc | 50.0 ± 0.0 | -11.0 ± 1.8 ▽ | below, on these classes | 3 | 1.0 s |"
    )
    assert baseline_of(board.rows[0], board.rows).row is None


def test_every_softmax_row_that_might_have_been_the_best_counts() -> None:
    softmax = {name: {"optimizer": {"lr": lr}} for name, lr in (("a", 0.1), ("b", 0.2), ("c", 0.3))}
    scores = {"a": [0.3, 0.32, 0.33], "b": [0.31, 0.3, 0.33], "c": [0.2, 0.23, 0.21]}
    scores |= {"loss": [0.28, 0.29, 0.31]}
    loss = {**TRIPLET, **softmax["c"]}
    board = board_of({**softmax, "loss": loss}, scores)
    assert [pair.other for pair in board.pairs] == ["c", "a"]
    assert {pair.other for pair in board.family} == {"a", "b", "c"}
    by_seed = np.array([np.subtract(scores["loss"], scores[name]) for name in "abc"])
    by_hand = holm(moderated(by_seed).p_value())
    rows = {row.name: row for row in board.rows}
    verdict = board.verdict(rows["loss"], rows["a"], "map@r")
    assert verdict is not None
    assert verdict.classes is not None
    assert verdict.classes.adjusted == pytest.approx(by_hand[0])
    assert verdict.classes.adjusted > holm(moderated(by_seed[[0, 2]]).p_value())[0]
    assert "best (3 in all), are one family" in markdown(board)


@pytest.mark.parametrize("head", [{}, {"normalize": True}, {"features": "flattened"}])
def test_for_accuracy_two_heads_stand_beside_softmax_on_the_same_features(
    head: dict[str, Any],
) -> None:
    two_heads = {**TRIPLET, "softmax_head": True, "model": head}
    rows = {"pooled": {"model": {"head": "none"}}, "row": two_heads}
    rows["one_head"] = {**two_heads, "softmax_on": "embedding"}
    board = board_of(rows, {})
    scores = board.rows[0].scores["map@r"]
    for row in board.rows:
        row.scores["accuracy"] = scores
    named = {row.name: row for row in board.rows}
    assert baseline_of(named["row"], board.rows, "accuracy").row is named["pooled"]
    assert baseline_of(named["row"], board.rows, "map@r").row is None
    assert baseline_of(named["one_head"], board.rows, "accuracy").row is None


def test_softmax_of_other_data_or_weights_is_no_baseline() -> None:
    board = board_of({"s": {}, "row": TRIPLET}, {})
    softmax, row = board.rows
    softmax.protocol["weights"] = "file:abc"
    assert baseline_of(row, board.rows).differs == [("weights", None, "file:abc")]


def test_a_trained_row_below_the_untrained_network_is_marked_and_advised() -> None:
    rows = {"u": {"train": {"steps": 0}}, "ss": {}, "low": TRIPLET}
    board = board_of(rows, {"u": [0.4] * 3, "ss": [0.5] * 3, "low": [0.3] * 3})
    assert {row.name: board.marks(row) for row in board.rows}["low"] == "↓"
    assert {row.name: board.marks(row) for row in board.rows}["ss"] == ""
    page = markdown(board)
    assert "- ↓ low: below the untrained network in MAP@R, u (40.0)" in page
    for advice in ("lower learning rate of the backbone", "fewer steps", "unit length"):
        assert advice in page
    assert "freeze batch norm" not in page  # its statistics are those of random weights
    for row in board.rows:
        row.protocol["weights"] = "torchvision:IMAGENET1K_V1"
    assert "freeze batch norm" in markdown(board)


def test_only_what_a_row_can_change_is_advised() -> None:
    frozen = {"freeze": "all", "normalize": True, "head_start": "orthogonal"}
    rows = {"u": {"train": {"steps": 0}}, "low": {**TRIPLET, "model": frozen}}
    page = markdown(board_of(rows, {"low": [0.3] * 3}))
    helps = "a lower learning rate, fewer steps, a head that starts as the PCA of the features."
    assert f"What usually helps: {helps}" in page


def test_old_records_answer_the_second_question_and_the_page_says_what_is_missing() -> None:
    board = board_of({"a": {}, "bb": TRIPLET}, {"bb": [0.6, 0.61, 0.62]})
    assert board.difference(board.rows[1], "map@r").mark == "△"
    page = markdown(board)
    assert "MAP@R gets no ▲▼: its records hold no values of single classes" in page
    assert "▲ |" not in page


def test_a_table_names_the_one_metric_that_rows_are_compared_by() -> None:
    rows = {"a": {}, "bb": TRIPLET}
    scores = {"a": [0.5, 0.5, 0.5], "bb": [0.6, 0.61, 0.62]}
    made = [
        record(name, seed, {"map@r": 0.5, "nmi": value}, **rows[name])
        for name in rows
        for seed, value in enumerate(scores[name])
    ]
    assert build_leaderboard("t", made, []).leads == ["map@r"]
    by_nmi = [
        one.model_copy(update={"display": one.display.model_copy(update={"compare_by": "nmi"})})
        for one in made
    ]
    board = build_leaderboard("t", by_nmi, [])
    assert board.pairs == [Pair("bb", "a", "nmi")]
    verdict = board.difference(board.rows[1], "nmi")
    assert (verdict.mark, verdict.mean) == ("△", pytest.approx(0.11))
    page = markdown(board)
    assert "| NMI − baseline | NMI − best Softmax |" in page
    assert "NMI gets no ▲▼: it is of all clusters at once" in page
    assert "MAP@R −" not in page
    assert "run the rows again" not in page
    assert "compare_by" not in made[0].model_dump(mode="json")["display"]
    assert by_nmi[0].model_dump(mode="json")["display"]["compare_by"] == "nmi"


def scored(row: str, seed: int, recall: np.ndarray, **settings: Any) -> Record:
    made = record(row, seed, {"map@r": 0.5, "accuracy": float(recall.mean())}, **settings)
    items = 1000
    confusion = np.zeros((len(recall), len(recall)))
    right = np.round(recall * items)
    confusion[np.diag_indices(len(recall))] = right
    confusion[np.arange(len(recall)), np.arange(len(recall)) - 1] = items - right
    labels = [f"c{i}" for i in range(len(recall))]
    return made.model_copy(update={"per_class": ClassScores.of(labels, confusion)})


def test_records_with_class_values_answer_the_first_question() -> None:
    rng = np.random.default_rng(0)
    base = np.round(0.5 + 0.1 * rng.standard_normal((3, 12)), 3)
    gain = np.round(0.2 + 0.01 * rng.standard_normal((3, 12)), 3)
    odd = np.round(0.01 + 0.1 * rng.standard_normal(12) + 0.001 * rng.standard_normal((3, 12)), 3)
    two_heads = {**TRIPLET, "softmax_head": True}
    records = [scored("a", seed, base[seed]) for seed in range(3)]
    records += [scored("bb", seed, (base + gain)[seed], **two_heads) for seed in range(3)]
    records += [scored("ccc", seed, (base + odd)[seed], **two_heads) for seed in range(3)]
    board = build_leaderboard("t", records, [])
    better, other = (board.difference(row, "accuracy") for row in board.rows[1:])
    estimate = crossed(gain)
    assert (better.mark, better.mean) == ("▲", pytest.approx(gain.mean()))
    assert better.half_width == pytest.approx(float(estimate.half_width()))
    assert other.mark not in ("▲", "▼")
    page = markdown(board)
    assert "Cannot be told from the best in Accuracy for new seeds and classes (95 %" in page
    assert "Gupta and Hsu): bb." in page
    assert "Accuracy may be best" in page
    assert "Accuracy: With 3 seeds and 12 classes a typical difference is known to ±" in page
    assert "Accuracy gets no" not in page
    assert "All 4 comparisons of the page are one family" in page
    few = [
        one.model_copy(update={"per_class": scored("a", 0, base[one.seed][:9]).per_class})
        for one in records
    ]
    few_classes = build_leaderboard("t", few, [])
    assert "Accuracy gets no ▲▼: 9 test classes are too few" in markdown(few_classes)


def test_class_values_of_a_record_are_read_in_one_form() -> None:
    held = ClassRetrieval(
        groups=["x", "y"],
        counts=[2, 3],
        weighting="query",
        metrics={"map@r": ClassShare(sums=[1.0, 2.0], values=[0.4, 0.8])},
    )
    made = record("a", 0, {"map@r": 0.6})
    found = class_shares(made.model_copy(update={"class_values": held}), "map@r")
    assert found is not None
    assert (found.groups, found.values.tolist(), found.weighting) == (
        ("x", "y"),
        [0.4, 0.8],
        "query",
    )
    assert class_shares(made.model_copy(update={"class_values": held}), "recall@1") is None
    assert class_shares(made, "accuracy") is None


def test_the_front_page_shows_rows_that_tables_share_and_their_mean() -> None:
    values = [{"bb": [0.6, 0.61, 0.62]}, {"bb": [0.5, 0.53, 0.53]}, {"bb": [0.45, 0.46, 0.46]}]
    boards = []
    for place, (source, one) in enumerate(zip(("digits", "sop", "dogs"), values, strict=True)):
        of = {"data": {"name": source}}
        board = board_of({"a": of, "bb": TRIPLET | of}, one)
        rows = [replace(row, protocol=row.protocol | {"data": source}) for row in board.rows]
        boards.append(replace(board, table=f"t{place}", rows=rows))
    alone = board_of({"a": {}, "only": TRIPLET}, {"only": [0.6, 0.6, 0.6]})
    page = front_page([*boards, alone], [], timing=False)
    (line,) = [line for line in page.splitlines() if line.startswith("| bb")]
    means = np.array([0.61 - 0.5, 0.52 - 0.5, 1.37 / 3 - 0.5])
    reach = stats.t.isf(0.025, 2) * means.std(ddof=1) / 3**0.5
    assert line.endswith(f"| {100 * means.mean():+.1f} ± {100 * reach:.1f} | 2 of 3 (p 1) |")
    assert line.count(" ± ") == 4
    assert "| Row | [t0](t0.md) | [t1](t1.md) | [t2](t2.md) | Mean over data sources | " in page
    assert "3 tables over 3 data sources. Rows of one name" in page
    assert "only" not in page.partition("## MAP@R")[2].partition("## Each table")[0]
    assert "table by table" not in front_page([alone], [], timing=False)


def test_a_row_whose_seeds_may_have_been_picked_gets_no_verdict() -> None:
    records = [record("a", seed, {"map@r": 0.5}) for seed in range(3)]
    records += [record("bb", seed, {"map@r": 0.6}, **TRIPLET) for seed in (0, 2, 7)]
    records += [record("ccc", seed, {"map@r": 0.6}, **TRIPLET) for seed in (0, 1)]
    board = build_leaderboard("t", records, [])
    assert [pair.row for pair in board.pairs] == ["ccc"]
    page = markdown(board)
    assert "No difference of bb: its seeds are 0, 2, 7, not 0 to 2" in page
    assert "ccc has seeds 0, 1 only, others up to 2." in page


def test_settings_that_were_tuned_for_every_row_need_not_agree() -> None:
    tuned = {**TRIPLET, "optimizer": {"lr": 0.5}, "model": {"normalize": True}}
    board = board_of({"s": {}, "row": tuned}, {})
    row = next(row for row in board.rows if row.name == "row")
    assert len(baseline_of(row, board.rows).differs) == 2
    assert baseline_of(row, board.rows, tuned={"optimizer.lr"}).differs == [
        ("model.normalize", True, False)
    ]
    assert baseline_of(row, board.rows, tuned={"optimizer.lr", "model.normalize"}).row
