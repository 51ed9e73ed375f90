"""A leaderboard in three or four sentences, with intervals that scipy finds by another way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special, stats
from test_leaderboard import record

from stt_bench.benchmark.cli.reports import show_leaderboards
from stt_bench.benchmark.leaderboards.answer import answer, headline
from stt_bench.benchmark.leaderboards.board import build_leaderboard
from stt_bench.benchmark.leaderboards.markdown import markdown
from stt_bench.benchmark.leaderboards.plans import plan_of
from stt_bench.benchmark.store.class_records import ClassRetrieval
from stt_bench.benchmark.store.records import Record

TRIPLET = {"loss": "semi_hard_triplet"}
OTHER = {"loss": "hard_triplet"}
UNTRAINED = {"train": {"steps": 0}}
HERE = "significant for new seeds on these test classes, not for new classes"
EVERYWHERE = "significant for new seeds and new classes"


def rows(metric: str, values: dict[str, tuple[dict[str, Any], list[float]]]) -> list[Record]:
    return [
        record(name, seed, {metric: value}, **settings)
        for name, (settings, by_seed) in values.items()
        for seed, value in enumerate(by_seed)
    ]


def said(records: list[Record]) -> list[str]:
    return answer(build_leaderboard("t", records, []))


def test_what_leads_by_how_much_how_sure_and_what_is_missing() -> None:
    ours, next_row, softmax = [0.50, 0.52, 0.54], [0.49, 0.53, 0.51], [0.30, 0.33, 0.33]
    what, how_sure, untrained, surer = said(
        rows(
            "map@r",
            {
                "softmax": ({}, softmax),
                "hard": (OTHER, next_row),
                "semi": (TRIPLET, ours),
                "none": (UNTRAINED, [0.1, 0.1, 0.1]),
            },
        )
    )
    assert what == "semi leads by MAP@R with 52.0 %, 20.0 points above softmax (32.0 %)."
    # Three ranked rows and an untrained one have 3 + 3 pairs of which any could have been picked.
    level = 1 - 0.05 / 6
    low, high = 100 * np.array(stats.ttest_rel(ours, next_row).confidence_interval(level))
    assert f"{low:+.1f} to {high:+.1f} points over hard, the next row (not significant)" in how_sure
    # Both rows' differences to Softmax have the variance 10⁻⁴: it is pooled, and has 4 · 2 degrees
    # of freedom at most; pooling logarithms corrects for their bias, E ln(χ²₂/2) = ψ(1).
    error = (1e-4 / np.exp(special.digamma(1)) / 3) ** 0.5
    # The larger of two differences: Holm holds it against 0.05 / 2.
    low, high = 100 * np.array(stats.t.interval(1 - 0.05 / 2, 8, loc=0.2, scale=error))
    assert f"{low:+.1f} to {high:+.1f} points over softmax ({HERE})" in how_sure
    assert "corrected for all comparisons of the table, is" in how_sure
    low, high = 100 * np.array(
        stats.ttest_1samp(np.array(ours) - 0.1, 0).confidence_interval(level)
    )
    assert untrained == (
        "semi is 42.0 points above the untrained network "
        f"(10.0 %; {low:+.1f} to {high:+.1f} points, {HERE})."
    )
    assert surer == (
        "Nothing is known of new classes: run the rows again, whose records hold no values of "
        "single classes; no row was tuned, so that each may stand elsewhere at its own best."
    )


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
    how_sure = said(records)[1]
    # The choice among three rows has three pairs; semi − hard is 0.2 + spread/2 in each class.
    level = 1 - 0.05 / 3
    low, high = 100 * np.array(stats.t.interval(level, 11, 0.2, stats.sem(0.5 * spread)))
    assert f"{low:+.1f} to {high:+.1f} points over hard, the next row ({EVERYWHERE})" in how_sure
    # Equal t-values of both rows: Holm holds the larger against 0.05 / 2.
    assert f"over softmax ({EVERYWHERE})" in how_sure
    assert how_sure.endswith("; for new seeds and new classes no other ranked row may be the best.")


def test_two_tests_of_unequal_strength_are_not_told_as_one() -> None:
    """Between their limits the one-sided test for the best leaves one row, the interval two."""
    spread = np.linspace(-0.05, 0.05, 12)
    by_row = {"softmax": ({}, 0.2, 0.0), "semi": (TRIPLET, 0.6, 1.0), "hard": (OTHER, 0.576, 0.0)}
    records = [
        with_classes(record(name, seed, {}, **settings), mean + share * spread)
        for name, (settings, mean, share) in by_row.items()
        for seed in range(3)
    ]
    how_sure = said(records)[1]
    assert f"over hard, the next row ({HERE}); the test for the best, which looks to " in how_sure
    assert "may be the best" not in how_sure


def test_without_classes_of_its_own_a_row_says_nothing_of_new_ones() -> None:
    spread = np.linspace(-0.05, 0.05, 12)
    records = [
        with_classes(record(name, seed, {}, **settings), mean + share * spread)
        for name, (settings, mean, share) in {
            "softmax": ({}, 0.2, 0.0), "semi": (TRIPLET, 0.6, 1.0)
        }.items()
        for seed in range(3)
    ]  # fmt: skip
    records += [record("hard", s, {"map@r": 0.4 + 0.01 * s}, **OTHER) for s in range(3)]
    how_sure = said(records)[1]
    assert f"over softmax ({EVERYWHERE})" in how_sure
    assert f"over hard, the next row ({HERE})" in how_sure
    assert "may be the best" not in how_sure


def test_the_plan_of_the_page_is_what_would_make_it_surer() -> None:
    spread = np.linspace(-0.05, 0.05, 12)
    records = [
        with_classes(record(name, seed, {}, **settings), mean + share * spread * (1 + seed))
        for name, (settings, mean, share) in {
            "softmax": ({}, 0.2, 0.0), "semi": (TRIPLET, 0.6, 1.0)
        }.items()
        for seed in range(3)
    ]  # fmt: skip
    board = build_leaderboard("t", records, [])
    plan = plan_of(board, "map@r")
    assert plan is not None
    assert plan.startswith("With 3 seeds and 12 classes a typical difference is known to ±")
    assert answer(board)[-1].startswith(plan.removesuffix("."))
    assert plan in markdown(board).replace("\\", "")


def test_one_unsteady_row_does_not_move_the_plan() -> None:
    spread = np.linspace(-0.05, 0.05, 12)
    rows = dict.fromkeys(("a", "b", "c"), (TRIPLET, 0.5, 1.0)) | {"softmax": ({}, 0.2, 0.0)}
    made = [
        with_classes(record(name, seed, {}, **settings), mean + share * spread * (1 + seed))
        for name, (settings, mean, share) in rows.items()
        for seed in range(3)
    ]
    unsteady = [
        with_classes(record("d", seed, {}, **TRIPLET), 0.4 * seed + spread) for seed in range(3)
    ]
    plan = plan_of(build_leaderboard("t", made, []), "map@r")
    assert plan is not None
    assert plan_of(build_leaderboard("t", made + unsteady, []), "map@r") == plan


def test_one_seed_says_nothing_of_certainty() -> None:
    what, how_sure, surer = said(rows("map@r", {"softmax": ({}, [0.3]), "semi": (TRIPLET, [0.9])}))
    assert what == (
        "Nothing can be told apart yet by MAP@R: semi has the highest mean, 90.0 %, 60.0 points "
        "above softmax (30.0 %)."
    )
    assert how_sure == "One seed cannot say how sure that is."
    assert surer == "To know how sure that is, run more seeds, such as --seeds 0,1,2."


def test_where_nothing_differs_that_is_said_first() -> None:
    noisy = [0.50, 0.56, 0.47]
    values = {"softmax": ({}, [0.5, 0.52, 0.49]), "semi": (TRIPLET, noisy)}
    what, how_sure, _ = said(rows("map@r", values))
    assert what.startswith(
        "No loss is shown to be better than Softmax by MAP@R: semi has the highest mean, 51.0 %, "
        "0.7 points above softmax (50.3 %)"
    )
    assert "(not significant)" in how_sure
    values = {"softmax": ({}, noisy), "semi": (TRIPLET, [0.5, 0.5, 0.5])}
    what, how_sure, _ = said(rows("map@r", values))
    assert what.startswith("Nothing can be told apart by MAP@R: softmax has the highest mean, 51.0")
    assert "over semi (not significant)" in how_sure
    assert headline(build_leaderboard("t", rows("map@r", values), [])) == ("", what)


def test_picked_seeds_are_no_assurance() -> None:
    """The answer says no more than the marks: seed 1 was left out."""
    records = rows("map@r", {"softmax": ({}, [0.3, 0.31, 0.3]), "semi": (TRIPLET, [0.9] * 3)})
    records = [one for one in records if (one.row, one.seed) != ("semi", 1)]
    what, how_sure, _ = said(records)
    assert what.startswith("Nothing can be told apart yet by MAP@R: semi has the highest mean")
    assert how_sure.startswith("How sure that is cannot be said: semi lacks some of the table's")
    assert "or has others, or was made by other code" in how_sure
    assert "significant" not in how_sure
    both = [one for one in records if (one.row, one.seed) != ("softmax", 1)]
    assert "softmax lack some of the table's seeds, or have others, or were" in said(both)[1]


def test_seeds_that_two_rows_do_not_share_are_not_compared() -> None:
    records = rows("map@r", {"softmax": ({}, [0.3]), "semi": (TRIPLET, [0.9])})
    records.append(record("semi", 7, {"map@r": 0.9}, **TRIPLET))
    assert said(records)[1] == "One seed cannot say how sure that is."


def test_the_untrained_network_may_lead_and_trained_rows_lose_to_it() -> None:
    values = {
        "softmax": ({}, [0.3, 0.31]),
        "semi": (TRIPLET, [0.5, 0.52]),
        "none": (UNTRAINED, [0.6, 0.61]),
    }
    what, _, untrained, _ = said(rows("map@r", values))
    assert what.startswith(
        "No trained row is above the untrained network (60.5 %) by MAP@R: semi has the "
        "highest mean, 51.0 %, 20.5 points above softmax (30.5 %)"
    )
    assert untrained.startswith("semi is 9.5 points below the untrained network (60.5 %; ")
    assert untrained.endswith("; softmax is below it, too.")
    alone = said(rows("map@r", {"none": (UNTRAINED, [0.6]), "softmax": ({}, [0.5])}))[2]
    assert alone == "softmax is 10.0 points below the untrained network (60.0 %)."
    many = {f"row{n}": ({**TRIPLET, "optimizer": {"lr": 0.1 + n}}, [0.5, 0.5]) for n in range(5)}
    above = {"hard": (OTHER, [0.7, 0.7]), "none": (UNTRAINED, [0.6, 0.6])}
    untrained = said(rows("map@r", {**many, **above}))[2]
    assert untrained.endswith("; 5 of the 6 trained rows are below it.")
    wide = {"wide": ({**UNTRAINED, "model": {"embedding_dim": 256}}, [0.65, 0.65])}
    untrained = said(rows("map@r", {**many, **above, **wide}))[2]
    assert untrained.startswith("hard is 5.0 points above the best untrained network, wide (65.0 %")


def test_softmax_may_lead_and_be_compared_with_the_next_row_alone() -> None:
    """The interval is the page's, of semi − softmax, turned round."""
    softmax, semi = [0.8, 0.9], [0.5, 0.61]
    records = rows("map@r", {"softmax": ({}, softmax), "semi": (TRIPLET, semi)})
    what, how_sure, _ = said(records)
    assert (
        what == "softmax leads by MAP@R with 85.0 %, 29.5 points above the next row, semi (55.5 %)."
    )
    low, high = 100 * np.array(stats.ttest_rel(softmax, semi).confidence_interval())
    assert f"{low:+.1f} to {high:+.1f} points over semi ({HERE})" in how_sure
    assert headline(build_leaderboard("t", records, [])) == ("△", what)


def test_rows_that_tie_lead_together_and_are_compared_with_those_below() -> None:
    tied = {"a": (TRIPLET, [0.5, 0.6]), "b": (OTHER, [0.6, 0.5])}
    softmax = {"softmax": ({}, [0.1, 0.2])}
    what, how_sure = said(rows("map@r", {**softmax, **tied}))[:2]
    assert what == "a and b lead by MAP@R with 55.0 %, 40.0 points above softmax (15.0 %)."
    assert "over b" not in how_sure
    what = said(rows("map@r", {"softmax": ({}, [0.5, 0.6]), **tied, "c": (OTHER, [0.3, 0.3])}))[0]
    assert what == (
        "Nothing can be told apart by MAP@R: softmax, a and b have the highest mean, 55.0 %, 25.0 "
        "points above the next row, c (30.0 %)."
    )
    alike = said(rows("map@r", {"softmax": ({}, [0.5, 0.6]), "a": (TRIPLET, [0.6, 0.5])}))
    assert "All ranked rows have the same mean" in alike[1]


def test_differences_equal_to_the_last_bit_have_an_interval() -> None:
    how_sure = said(rows("map@r", {"softmax": ({}, [0.25, 0.5]), "semi": (TRIPLET, [0.5, 0.75])}))[
        1
    ]
    assert f"+25.0 to +25.0 points over softmax ({HERE})" in how_sure


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
    told = said(records)
    assert told[0].startswith("No loss is shown to be better than Softmax by Accuracy: two has the")
    assert "none" not in " ".join(told).replace("none (untrained)", "")
    below = [row.label for row in build_leaderboard("t", records, []).rows]
    assert "none" in below
    for one in records:
        if one.row == "three":
            one.metrics["map@r"] = 0.05
    assert said(records)[2] == "three is below the untrained network by MAP@R."


def test_a_row_of_another_protocol_is_named_where_it_is_above() -> None:
    records = rows("map@r", {"softmax": ({}, [0.3, 0.3]), "semi": (TRIPLET, [0.5, 0.5])})
    wide = {**OTHER, "model": {"embedding_dim": 256}}
    records += rows("map@r", {"wide": (wide, [0.7, 0.7])})
    assert said(records)[0] == (
        "semi leads by MAP@R with 50.0 %, 20.0 points above softmax (30.0 %); wide, of another "
        "protocol and not ranked, has 70.0 %."
    )


def test_one_row_alone_and_no_trained_row() -> None:
    assert said(rows("map@r", {"semi": (TRIPLET, [0.5, 0.5])})) == [
        "semi is the only trained row that is ranked: 50.0 % MAP@R.",
        "There is no other row to compare it with.",
        "Run other rows of its protocol, Softmax first.",
    ]
    untrained = build_leaderboard("t", rows("map@r", {"untrained": (UNTRAINED, [0.5])}), [])
    assert answer(untrained) == []
    assert headline(untrained) is None


def test_a_row_whose_loss_had_nothing_to_learn_from_is_not_named() -> None:
    records = rows("map@r", {"softmax": ({}, [0.3, 0.3]), "semi": (TRIPLET, [0.5, 0.5])})
    for one in rows("map@r", {"idle": (OTHER, [0.9, 0.9])}):
        one.training = one.training.model_copy(update={"inactive": True})
        records.append(one)
    assert "idle" not in " ".join(said(records))


def test_the_screen_ends_with_the_sentences_and_the_path_of_the_page(
    capsys: pytest.CaptureFixture[str],
) -> None:
    records = rows("map@r", {"softmax": ({}, [0.3, 0.4]), "semi": (TRIPLET, [0.5, 0.5])})
    board = build_leaderboard("t", records, [])
    show_leaderboards([board], Path("results"), quiet=False)
    end = [*answer(board), str(Path("results/t.md"))]
    assert capsys.readouterr().out.splitlines()[-len(end) :] == end
    show_leaderboards([board], Path("results"), quiet=True)
    assert capsys.readouterr().out.splitlines() == [str(Path("results/t.md"))]


def test_the_metric_that_a_table_names_is_what_it_is_judged_by() -> None:
    records = []
    for name, settings, nmi in (("softmax", {}, 0.5), ("semi", TRIPLET, 0.4)):
        for seed in range(3):
            made = record(name, seed, {"map@r": 0.9 - nmi, "nmi": nmi + seed / 100}, **settings)
            display = made.display.model_copy(update={"compare_by": "nmi"})
            records.append(made.model_copy(update={"display": display}))
    what, _, surer = said(records)
    assert (
        what == "softmax leads by NMI with 51.0 %, 10.0 points above the next row, semi (41.0 %)."
    )
    assert surer.startswith("Nothing is known of new classes: no class has a share of its own")
    assert "| Row | NMI | − best Softmax |" in markdown(build_leaderboard("t", records, []))


def test_a_softmax_row_below_one_that_leads_is_not_the_best_of_them() -> None:
    high, low, other = [0.60, 0.62, 0.64], [0.50, 0.52, 0.51], [0.30, 0.33, 0.33]
    records = rows("map@r", {"a": ({}, high), "bb": ({}, low), "semi": (TRIPLET, other)})
    assert said(records)[0] == (
        "a leads by MAP@R with 62.0 %, 11.0 points above the next row, bb (51.0 %)."
    )
    first = said(rows("map@r", {"a": ({}, other), "bb": ({}, low), "semi": (TRIPLET, high)}))[0]
    assert "11.0 points above the best Softmax row, bb (51.0 %)" in first
