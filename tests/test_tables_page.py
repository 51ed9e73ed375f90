"""What `docs/tables.md` says of choices and marks is what configs, searches and pages hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stt_bench.benchmark.suite import load_table

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
ONE_RECIPE = ("omniglot_mini_retrieval", "digits_classification", "digits_retrieval")


@pytest.mark.parametrize("table", ONE_RECIPE)
def test_a_table_with_one_recipe_has_the_one_that_the_rule_chose(table: str) -> None:
    lines = re.findall(rf"^\| {table}, [\w@]+ \| ([\d.]+) \| (.*) \|$", PAGE, re.MULTILINE)
    means = {
        (float(cell.strip(" *")), float(rate), 50 * number): "*" in cell
        for rate, cells in lines
        for number, cell in enumerate(cells.split(" | "), start=1)
        if cell.strip()
    }
    best = max(means)
    assert [place for place, bold in means.items() if bold] == [best]
    rows = [row for row in load_table(table).rows.values() if row.train.steps]
    assert {(row.optimizer.lr, row.train.steps) for row in rows} == {best[1:]}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("frozen_cub50_lite0", "from 0.000043 to 0.0056,"),
        ("frozen_flowers_lite0", "0.000013 with EfficientNet-Lite0"),
        ("frozen_flowers_mobilenet", "0.000012 with MobileNetV2"),
    ],
)
def test_the_learning_rates_that_won_are_those_of_the_searches(table: str, said: str) -> None:
    assert said in PAGE
    page = (ROOT / "results" / f"{table}_tuning.md").read_text(encoding="utf-8")
    winners = page[page.index("## Winners") : page.index("## Search ranges")]
    found = [float(rate) for rate in re.findall(r"(?<!⚠ )optimizer\.lr ([\d.e-]+)", winners)]
    told = [float(number) for number in re.findall(r"0\.\d+", said)]
    ends = [min(found), max(found)][: len(told)]
    assert told == [float(f"{end:.2g}") for end in ends]


def test_what_is_said_of_second_heads_on_digits_is_what_the_marks_say() -> None:
    page = (ROOT / "results" / "digits_classification.md").read_text(encoding="utf-8")
    lines = page[page.index("| Row | Loss |") :].partition("\n\n")[0].splitlines()
    heads, _, *rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    second = {row[1]: row for row in rows if row[1].startswith("Softmax + ")}
    assert "No second head is shown to gain accuracy or MAP@R" in PAGE
    judged = [number for number, head in enumerate(heads) if " − " in head]
    assert len(judged) == 4
    assert not [name for name, row in second.items() for at in judged if re.search("[▲△]", row[at])]
    at = heads.index("MAP@R − best Softmax")
    level = {name for name, row in second.items() if not re.search("[▽▼]", row[at])}
    assert "six of nine are below that row on these digits (▽), all but hard triplet" in PAGE
    assert level == {
        f"Softmax + {loss}" for loss in ("Hard triplet", "Semi-hard triplet", "N-pairs")
    }
    assert len(second) == 9
    assert "rows that are ranked: Softmax on the embedding, unit length by MAP@R" in page
