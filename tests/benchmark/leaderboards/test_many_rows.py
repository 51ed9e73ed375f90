"""A page of thirty rows is read from the verdicts down; what is long is folded or shortened."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt
from test_evidence import TRIPLET
from test_leaderboard import record

from stt_bench.benchmark.leaderboards.board import Leaderboard, build_leaderboard
from stt_bench.benchmark.leaderboards.markdown import markdown
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
            "row19 leads by MAP@R",
            "| Row | MAP@R | − baseline | − best Softmax | May be best | R@1 |",
            "Baseline of every row that has one: softmax.",
            "<details><summary>Losses, batches and all metrics</summary>",
            "| Row | Loss | Batch | R@1 | R@2 | MAP@R | Seeds | Train, s |",
            "</details>",
            "- Percent, mean",
        )
    ]
    assert places == sorted(places)


def test_rows_stand_in_three_groups(page: str) -> None:
    short = page.partition("<details>")[0]
    found = [line.split(" | ")[0].removeprefix("| ") for line in short.splitlines() if "| " in line]
    groups = ["**Baselines**", "**One loss**", "**A loss beside Softmax**"]
    assert [name for name in found if name in groups] == groups
    one, two = (found.index(group) for group in groups[1:])
    assert set(found[one + 1 : two]) == {f"row{place}" for place in range(0, 20, 2)}
    assert set(found[two + 1 :]) == {f"row{place}" for place in range(1, 20, 2)}


def test_rows_that_may_be_the_best_are_ticked(page: str) -> None:
    board = many_rows()
    tied = board.may_be_best("map@r")
    assert tied is not None
    short = page.partition("<details>")[0]
    ticked = {
        line.split(" | ")[0].removeprefix("| ") for line in short.splitlines() if "| ✓ |" in line
    }
    assert ticked == {row.name for row in tied}
    assert "row19" in ticked
    assert f"{len(tied)} of 21 ranked rows, ✓ above" in page


def test_the_markdown_is_whole(page: str) -> None:
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(page)
    assert html.count("<table>") == 2
    assert html.count("<details>") == html.count("</details>") == 1


def test_up_to_twenty_rows_have_one_table() -> None:
    page = markdown(many_rows(19))
    assert "<details>" not in page
    assert "| Row | Loss | Batch |" in page


def test_a_long_list_of_rows_is_shortened() -> None:
    assert some(list("abcdefgh")) == "a, b, c, d, e, f, g, h"
    assert some(list("abcdefghij"), "; ") == "a; b; c; d; e; f; g and 3 others"
