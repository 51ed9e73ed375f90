"""The three sentences under a leaderboard, with intervals that scipy finds by another way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special, stats
from test_leaderboard import record

from stt_bench.benchmark.cli.main import _show
from stt_bench.benchmark.leaderboards.answer import answer
from stt_bench.benchmark.leaderboards.board import build_leaderboard
from stt_bench.benchmark.store.class_records import ClassRetrieval
from stt_bench.benchmark.store.records import Record

TRIPLET = {"loss": "semi_hard_triplet"}
OTHER = {"loss": "hard_triplet"}
UNTRAINED = {"train": {"steps": 0}}


def rows(metric: str, values: dict[str, tuple[dict[str, Any], list[float]]]) -> list[Record]:
    return [
        record(name, seed, {metric: value}, **settings)
        for name, (settings, by_seed) in values.items()
        for seed, value in enumerate(by_seed)
    ]


def said(records: list[Record]) -> list[str]:
    return answer(build_leaderboard("t", records, []))


def test_what_leads_by_how_much_and_how_sure() -> None:
    ours, next_row, softmax = [0.50, 0.52, 0.54], [0.49, 0.53, 0.51], [0.30, 0.33, 0.33]
    what, how_much, how_sure = said(
        rows(
            "map@r",
            {
                "softmax": ({}, softmax),
                "hard": (OTHER, next_row),
                "semi": (TRIPLET, ours),
                "untrained": (UNTRAINED, [0.1, 0.1, 0.1]),
            },
        )
    )
    assert what == "semi leads by MAP@R with 52.0."
    assert how_much == (
        "That is 20.0 points above softmax (32.0), 1.0 points above hard (51.0) "
        "and 42.0 points above untrained (10.0)."
    )
    # Three ranked rows and an untrained one have 3 + 3 pairs of which any could have been picked.
    level = 1 - 0.05 / 6
    low, high = 100 * np.array(stats.ttest_rel(ours, next_row).confidence_interval(level))
    assert f"{low:+.1f} to {high:+.1f} over hard (not significant)" in how_sure
    # Both rows' differences to Softmax have the variance 10⁻⁴: it is pooled, and has 4 · 2 degrees
    # of freedom at most; pooling logarithms corrects for their bias, E ln(χ²₂/2) = ψ(1).
    error = (1e-4 / np.exp(special.digamma(1)) / 3) ** 0.5
    # The larger of two differences: Holm holds it against 0.05 / 2.
    low, high = 100 * np.array(stats.t.interval(1 - 0.05 / 2, 8, loc=0.2, scale=error))
    assert f"{low:+.1f} to {high:+.1f} over softmax (significant on these classes)" in how_sure
    assert "in points, corrected for all comparisons of the table, is" in how_sure
    assert how_sure.endswith("; new classes would widen it.")


def with_classes(one: Record, values: np.ndarray) -> Record:
    """Put (12,) class values of one query each, whose mean is the metric, into a record."""
    held = ClassRetrieval.model_validate(
        {
            "groups": list(range(12)),
            "counts": [1] * 12,
            "weighting": "query",
            "metrics": {"map@r": {"sums": values.tolist(), "values": values.tolist()}},
        }
    )
    metrics = one.metrics | {"map@r": float(values.mean())}
    return one.model_copy(update={"class_values": held, "metrics": metrics})


def test_the_interval_is_of_new_classes_where_the_records_tell_them() -> None:
    """With one seed effect and no residual the crossed error is that of the class means alone."""
    spread = np.linspace(-0.05, 0.05, 12)
    by_row = {"softmax": ({}, 0.2, 0.0), "semi": (TRIPLET, 0.6, 1.0), "hard": (OTHER, 0.4, 0.5)}
    records = [
        with_classes(record(name, seed, {}, **settings), mean + share * spread)
        for name, (settings, mean, share) in by_row.items()
        for seed in range(3)
    ]
    how_sure = said(records)[2]
    # The choice among three rows has three pairs; semi − hard is 0.2 + spread/2 in each class.
    level = 1 - 0.05 / 3
    low, high = 100 * np.array(stats.t.interval(level, 11, 0.2, stats.sem(0.5 * spread)))
    assert f"{low:+.1f} to {high:+.1f} over hard (significant also on new classes)" in how_sure
    # Equal t-values of both rows: Holm holds the larger against 0.05 / 2.
    assert "over softmax (significant also on new classes)" in how_sure
    assert "would widen" not in how_sure


def test_where_one_of_two_intervals_is_of_new_classes_the_other_is_named() -> None:
    """Without classes of its own a row's difference says nothing of new ones."""
    spread = np.linspace(-0.05, 0.05, 12)
    records = [
        with_classes(record(name, seed, {}, **settings), mean + share * spread)
        for name, (settings, mean, share) in {
            "softmax": ({}, 0.2, 0.0), "semi": (TRIPLET, 0.6, 1.0)
        }.items()
        for seed in range(3)
    ]  # fmt: skip
    records += [record("hard", s, {"map@r": 0.4 + 0.01 * s}, **OTHER) for s in range(3)]
    how_sure = said(records)[2]
    assert "over softmax (significant also on new classes)" in how_sure
    assert how_sure.endswith("; new classes would widen that over hard.")


def test_one_seed_says_nothing_of_certainty() -> None:
    *_, how_sure = said(rows("map@r", {"softmax": ({}, [0.3]), "semi": (TRIPLET, [0.9])}))
    assert "One seed cannot say" in how_sure
    assert "significant" not in how_sure


def test_picked_seeds_are_no_assurance() -> None:
    """Three sentences say no more than the marks: seed 1 was left out."""
    records = rows("map@r", {"softmax": ({}, [0.3, 0.31, 0.3]), "semi": (TRIPLET, [0.9] * 3)})
    records = [one for one in records if (one.row, one.seed) != ("semi", 1)]
    how_sure = said(records)[2]
    assert how_sure.startswith("How sure that is cannot be said: semi lacks some of the table's")
    assert "significant" not in how_sure


def test_seeds_that_two_rows_do_not_share_are_not_compared() -> None:
    records = rows("map@r", {"softmax": ({}, [0.3]), "semi": (TRIPLET, [0.9])})
    records.append(record("semi", 7, {"map@r": 0.9}, **TRIPLET))
    assert "One seed cannot say" in said(records)[2]


def test_the_untrained_network_may_lead() -> None:
    values = {
        "softmax": ({}, [0.3, 0.31]),
        "semi": (TRIPLET, [0.5, 0.52]),
        "untrained": (UNTRAINED, [0.6, 0.61]),
    }
    what, how_much, _ = said(rows("map@r", values))
    assert what.startswith("The untrained network leads by MAP@R with 60.5: of the trained rows, ")
    assert "9.5 points below untrained (60.5)" in how_much


def test_softmax_may_lead_and_be_compared_with_the_next_row_alone() -> None:
    what, how_much, _ = said(
        rows("map@r", {"softmax": ({}, [0.8, 0.9]), "semi": (TRIPLET, [0.5, 0.6])})
    )
    assert what == "softmax leads by MAP@R with 85.0."
    assert how_much == "That is 30.0 points above semi (55.0)."


def test_rows_that_tie_lead_together_and_are_compared_with_those_below() -> None:
    tied = {"a": (TRIPLET, [0.5, 0.6]), "b": (OTHER, [0.6, 0.5])}
    softmax = {"softmax": ({}, [0.1, 0.2])}
    what, how_much, how_sure = said(rows("map@r", {**softmax, **tied}))
    assert what == "a and b lead by MAP@R with 55.0."
    assert how_much == "That is 40.0 points above softmax (15.0)."
    assert "over b" not in how_sure
    leads, below = said(
        rows("map@r", {"softmax": ({}, [0.5, 0.6]), **tied, "c": (OTHER, [0.3, 0.3])})
    )[:2]
    assert leads == "softmax, a and b lead by MAP@R with 55.0."
    assert below == "That is 25.0 points above c (30.0)."


def test_differences_equal_to_the_last_bit_have_an_interval() -> None:
    _, _, how_sure = said(
        rows("map@r", {"softmax": ({}, [0.25, 0.5]), "semi": (TRIPLET, [0.5, 0.75])})
    )
    assert "+25.0 to +25.0 over softmax (significant on these classes)" in how_sure


def test_accuracy_is_the_metric_where_most_rows_have_it() -> None:
    classifies = {"softmax_head": True}
    records = rows(
        "accuracy",
        {
            "softmax": ({}, [0.7, 0.8]),
            "two": ({**TRIPLET, **classifies}, [0.9, 0.8]),
            "three": ({**OTHER, **classifies}, [0.6, 0.8]),
        },
    )
    for one in records:
        one.metrics["map@r"] = 0.5
    records += rows("map@r", {"alone": (TRIPLET, [0.9, 0.9]), "none": (UNTRAINED, [0.1, 0.1])})
    what, how_much, _ = said(records)
    assert what == "two leads by Accuracy with 85.0."
    assert "none" not in how_much


def test_a_row_of_another_protocol_is_named_where_it_is_above() -> None:
    records = rows("map@r", {"softmax": ({}, [0.3, 0.3]), "semi": (TRIPLET, [0.5, 0.5])})
    wide = {**OTHER, "model": {"embedding_dim": 256}}
    records += rows("map@r", {"wide": (wide, [0.7, 0.7])})
    assert said(records)[0] == (
        "semi leads by MAP@R with 50.0 among the rows of one protocol (wide, of another, has 70.0)."
    )


def test_one_row_alone_and_no_trained_row() -> None:
    assert said(rows("map@r", {"semi": (TRIPLET, [0.5, 0.5])}))[1:] == [
        "There is no row below to compare with.",
        "So there is no difference to be sure of.",
    ]
    assert said(rows("map@r", {"untrained": (UNTRAINED, [0.5])})) == []


def test_a_row_whose_loss_had_nothing_to_learn_from_is_not_named() -> None:
    records = rows("map@r", {"softmax": ({}, [0.3, 0.3]), "semi": (TRIPLET, [0.5, 0.5])})
    for one in rows("map@r", {"idle": (OTHER, [0.9, 0.9])}):
        one.training = one.training.model_copy(update={"inactive": True})
        records.append(one)
    assert said(records)[0] == "semi leads by MAP@R with 50.0."


def test_the_screen_ends_with_the_sentences_and_the_path_of_the_page(
    capsys: pytest.CaptureFixture[str],
) -> None:
    records = rows("map@r", {"softmax": ({}, [0.3, 0.4]), "semi": (TRIPLET, [0.5, 0.5])})
    board = build_leaderboard("t", records, [])
    _show([board], Path("results"), quiet=False)
    assert capsys.readouterr().out.splitlines()[-4:] == [*answer(board), str(Path("results/t.md"))]
    _show([board], Path("results"), quiet=True)
    assert capsys.readouterr().out.splitlines() == [str(Path("results/t.md"))]
