"""A page is read from the answer down; what is long is folded, counted or shortened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt
from matplotlib.figure import Figure
from test_evidence import TRIPLET
from test_leaderboard import record

from stt_bench.benchmark.leaderboards.board import Leaderboard, build_leaderboard
from stt_bench.benchmark.leaderboards.figures import draw_leaderboard
from stt_bench.benchmark.leaderboards.markdown import markdown
from stt_bench.benchmark.leaderboards.short_table import legend, short_metrics, short_rows
from stt_bench.benchmark.leaderboards.wording import some
from stt_bench.benchmark.store.class_records import ClassRetrieval, ClassShare
from stt_bench.benchmark.store.records import Record

CLASSES = 12


def scored(row: str, seed: int, mean: float, **settings: Any) -> Record:
    rng = np.random.default_rng([seed, *row.encode()])
    values = mean + 0.01 * rng.standard_normal(CLASSES)
    share = ClassShare(sums=(10 * values).tolist(), values=values.tolist())
    held = ClassRetrieval(
        groups=list(range(CLASSES)),
        counts=[10] * CLASSES,
        weighting="query",
        metrics={"map@r": share},
    )
    metrics = {"map@r": held.mean("map@r"), "recall@1": 0.9, "recall@2": 0.95}
    made = record(row, seed, metrics, **settings)
    return made.model_copy(update={"class_values": held})


def many_rows(losses: int = 20) -> Leaderboard:
    rows: dict[str, tuple[float, dict[str, Any]]] = {"softmax": (0.5, {})}
    for place in range(losses):
        two = {"softmax_head": True} if place % 2 else {}
        rows[f"row{place}"] = (0.4 + 0.01 * place, {**TRIPLET, **two})
    records = [
        scored(name, seed, mean, **settings)
        for name, (mean, settings) in rows.items()
        for seed in range(2)
    ]
    return build_leaderboard("t", records, [])


@pytest.fixture(scope="module")
def page() -> str:
    return markdown(many_rows())


def test_the_outcome_stands_first_and_the_settings_are_folded(page: str) -> None:
    places = [
        page.index(text)
        for text in (
            "**row19 leads by MAP@R",
            "| Row | MAP@R | R@1 | − best Softmax | Verdict | Seeds | Cost |",
            "Percent, mean ± standard deviation",
            "![T](t.png)",
            "<details><summary>All metrics, losses, batches and baselines</summary>",
            "| Row | Loss | Batch | R@1 | R@2 | MAP@R | MAP@R − baseline | MAP@R − best Softmax |",
            "</details>",
            "<details><summary>What the numbers and marks mean, and what they rest on</summary>",
            "- Percent, mean",
            "## Where these numbers come from",
        )
    ]
    assert places == sorted(places)


def test_the_rows_stand_by_their_score_whatever_their_kind(page: str) -> None:
    short = page.partition("<details>")[0]
    found = [
        line.split(" | ")[0].removeprefix("| ") for line in short.splitlines() if "| 2 |" in line
    ]
    means = {row.name: row.scores["map@r"].mean for row in many_rows().rows}
    assert found == sorted(means, key=lambda name: -means[name])
    assert {line.count("|") for line in short.splitlines() if line.startswith("|")} == {8}


def test_a_cell_says_the_verdict_of_its_row() -> None:
    records = [
        record(name, seed, {"map@r": mean + seed / 100}, **settings)
        for name, mean, settings in (
            ("untrained", 0.4, {"train": {"steps": 0}}),
            ("softmax", 0.5, {}),
            ("softmax2", 0.45, {"optimizer": {"lr": 0.5}}),
            ("above", 0.6, TRIPLET),
            ("level", 0.5, {"loss": "priming"}),
            ("below", 0.3, {"loss": "lifted"}),
            ("wide", 0.7, {**TRIPLET, "model": {"embedding_dim": 256}}),
        )
        for seed in range(3)
    ]
    records += [record("picked", seed, {"map@r": 0.5}, loss="angular") for seed in (0, 2)]
    idle = record("idle", 0, {"map@r": 0.5}, loss="npairs")
    nothing = idle.training.model_copy(update={"inactive": True})
    records.append(idle.model_copy(update={"training": nothing}))
    board = build_leaderboard("t", records, [])
    assert {one.row.name: (one.difference, one.verdict) for one in short_rows(board)} == {
        "wide": ("–", "not ranked"),
        "above": ("+10.0 ± 0.0 △", "above, on these classes"),
        "softmax": ("–", "best Softmax"),
        "level": ("+0.0 ± 0.0 ≈", "cannot be told apart"),
        "picked": ("–", "not compared"),
        "idle": ("–", "learned nothing"),
        "softmax2": ("–", "not compared"),
        "untrained": ("–", "untrained"),
        "below": ("-20.0 ± 0.0 ▽", "below, on these classes, below untrained"),
    }
    page = markdown(board)
    assert "| below↓ | 31.0 ± 1.0 | -20.0 ± 0.0 ▽ |" in page
    assert "↓: below the untrained network. " not in page.partition("<details>")[2]
    one = markdown(build_leaderboard("t", [r for r in records if r.seed == 0], []))
    assert "| +10.0 | not judged | 1 | 1.0 s |" in one


def test_the_legend_says_what_the_intervals_are_for(page: str) -> None:
    interval = "half its 95 % interval for"
    assert f"{interval} new seeds and new classes. ▲▼" in page
    records = [
        record(name, seed, {"map@r": 0.5 + seed / 10}, **settings)
        for name, settings in (("softmax", {}), ("semi", TRIPLET))
        for seed in range(2)
    ]
    assert f"{interval} new seeds on these classes. ▲▼" in legend(
        build_leaderboard("t", records, [])
    )
    some = [*many_rows(2).records, *(one for one in records if one.row == "semi")]
    told = legend(build_leaderboard("t", some, []))
    assert f"{interval} new seeds and new classes, or new seeds alone where no" in told
    alone = build_leaderboard("t", records[:2], [])
    assert "interval" not in legend(alone)


def test_accuracy_stands_in_place_of_map_at_r_where_it_is_compared() -> None:
    records = [
        record(name, seed, {"map@r": 0.3, "recall@1": 0.4, "accuracy": mean}, **settings)
        for name, mean, settings in (
            ("softmax", 0.5, {}),
            ("two", 0.6, {**TRIPLET, "softmax_head": True}),
        )
        for seed in range(2)
    ]
    board = build_leaderboard("t", records, [])
    assert short_metrics(board) == ["accuracy", "recall@1"]
    assert "| Row | Accuracy | R@1 | − best Softmax | Verdict | Seeds | Cost |" in markdown(board)
    for made in records:
        made.metrics.pop("accuracy")
        made.metrics.pop("map@r")
    assert short_metrics(build_leaderboard("t", records, [])) == ["recall@1"]


def test_rows_that_may_be_the_best_are_ticked(page: str) -> None:
    board = many_rows()
    tied = board.may_be_best("map@r")
    assert tied is not None
    ticked = {
        line.split(" | ")[0].removeprefix("| ") for line in page.splitlines() if "| ✓ |" in line
    }
    assert ticked == {row.name for row in tied}
    assert "row19" in ticked
    labels = ", ".join(row.label for row in board.rows if row.name in ticked)
    assert f"(95 %, Gupta and Hsu): {labels}." in page.replace("\\", "")


def test_the_markdown_is_whole(page: str) -> None:
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(page)
    assert html.count("<table>") == 2
    assert html.count("<details>") == html.count("</details>") == 2


def test_the_budget_stands_on_a_line_of_its_own() -> None:
    board = replace(many_rows(2), description="Birds of a park. Budget: 9 steps of 4 images.")
    assert "\n\nBirds of a park.\n\nBudget: 9 steps of 4 images.\n\n" in markdown(board)


def test_the_figure_shows_the_short_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: made.append(figure))
    board = many_rows(3)
    draw_leaderboard(board, tmp_path / "t.png")
    axes = made[0].axes
    assert [axis.get_title() for axis in axes] == [
        "MAP@R, %",
        "R@1, %",
        "MAP@R − best Softmax, points",
    ]
    rows = short_rows(board)
    assert [text.get_text() for text in axes[0].get_yticklabels()] == [
        one.row.label for one in rows[::-1]
    ]
    drawn = {
        rows[::-1][round(float(y))].row.name: float(x)
        for container in axes[2].containers
        for x, y in zip(*container[0].get_data(), strict=True)
    }
    assert set(drawn) == {"row0", "row1", "row2"}
    for one in rows:
        if one.row.name in drawn:
            assert f"{drawn[one.row.name]:+.1f} ± " in one.difference


def test_a_long_list_of_rows_is_shortened() -> None:
    assert some(list("abcdefgh")) == "a, b, c, d, e, f, g, h"
    assert some(list("abcdefghij"), "; ") == "a; b; c; d; e; f; g and 3 others"


def test_a_row_that_lacks_a_seed_takes_it_from_no_other() -> None:
    """Else seed 0, without which all rows are level, would be left out of all."""
    records = [
        scored(name, seed, mean - (seed == 0) * 0.2 * place, **settings)
        for place, (name, mean, settings) in enumerate(
            (("softmax", 0.9, {}), ("one", 0.9, TRIPLET), ("two", 0.9, TRIPLET))
        )
        for seed in range(3)
    ]
    gap = [scored("gap", seed, 0.5, **TRIPLET) for seed in (1, 2)]
    whole = build_leaderboard("t", records, [])
    board = build_leaderboard("t", [*records, *gap], [])
    tied, known = board.may_be_best("map@r"), whole.may_be_best("map@r")
    assert tied is not None
    assert known is not None
    assert [row.name for row in tied] == [row.name for row in known]
    assert [row.name for row in board.judged("map@r")] == ["softmax", "one", "two"]
    assert "of the 3 ranked rows that may be judged may be the best" in markdown(board)
