"""What `docs/choosing-a-loss.md` and `docs/protocols.md` say is what the records and readers say.

The page has hardly a number, so that it stays true when more rows are run; where a sentence no
longer holds, these tests say which.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from itertools import combinations
from pathlib import Path
from statistics import fmean

import pytest

from stt_bench.benchmark.datasets.catalog import find_dataset
from stt_bench.benchmark.suite import load_table

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "results" / "records"
PAGE = (ROOT / "docs" / "choosing-a-loss.md").read_text(encoding="utf-8")
PROTOCOLS = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
NETWORKS = ("lite0", "mobilenet")


@cache
def scores(table: str, metric: str) -> dict[str, list[float]]:
    """Return a metric of every seed of a table's rows."""
    found: dict[str, list[float]] = {}
    for file in sorted((RECORDS / table).glob("*/seed-*.json")):
        value = json.loads(file.read_text(encoding="utf-8"))["metrics"].get(metric)
        if value is not None:
            found.setdefault(file.parent.name, []).append(value)
    return found


def means(table: str, metric: str) -> dict[str, float]:
    return {row: fmean(values) for row, values in scores(table, metric).items()}


def trained(table: str, metric: str) -> dict[str, float]:
    return {row: v for row, v in means(table, metric).items() if not row.startswith("untrained")}


def text_of(table: str) -> str:
    return (ROOT / "results" / f"{table}.md").read_text(encoding="utf-8")


def at_all_rates(table: str, rows: str) -> list[float]:
    """Return the mean MAP@R of the rows of this name, one for each of their learning rates."""
    found = means(table, "map@r")
    return [value for row, value in found.items() if re.fullmatch(rf"({rows})(_[\d.]+)?", row)]


def softmax_alone(table: str) -> float:
    """Return the best mean MAP@R of a row that has Softmax and no other loss."""
    heads = "fc1024|normalized|unnormalized|pooled|embedding|uniform"
    return max(at_all_rates(table, f"softmax(_({heads}))?"))


def test_training_on_frozen_features_gains_map_but_not_recall() -> None:
    assert "most losses gain MAP@R" in PAGE
    assert "none that was tried gains Recall@1" in PAGE
    for table in ("frozen_cub50_lite0", "frozen_cub50_mobilenet"):
        untrained = means(table, "map@r")["untrained"]
        rows = trained(table, "map@r")
        assert sum(value > untrained for value in rows.values()) > 0.75 * len(rows)
        best = max(trained(table, "recall@1").values())
        assert best <= means(table, "recall@1")["untrained"]


def test_training_on_digits_gains_nothing() -> None:
    assert "no trained row is above the untrained network in MAP@R" in PAGE
    rows = trained("digits_retrieval", "map@r")
    assert max(rows.values()) < means("digits_retrieval", "map@r")["untrained"]


def test_most_rows_may_be_the_best() -> None:
    assert "most rows that train may be the best for new species" in PAGE
    (told,) = set(re.findall(r"(\d+) of (\d+) ranked rows", text_of("frozen_cub50_lite0")))
    assert 2 * int(told[0]) > int(told[1])


def test_the_order_hardly_carries_over() -> None:
    assert "For most pairs of tables the interval includes 0" in PAGE
    front = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    pairs = re.findall(r"(-?\d\.\d\d) \((-?\d\.\d\d) to (-?\d\.\d\d)\), \d+ rows", front)
    assert len(pairs) >= 10
    around = [float(low) <= 0 <= float(high) for _, low, high in pairs]
    assert sum(around) > len(around) / 2


TUNED = [f"frozen_{data}_{network}" for data in ("cub50", "flowers") for network in NETWORKS]
TUNED.append("frozen_omniglot")


@pytest.mark.parametrize(("row", "column"), [*combinations(TUNED, 2)])
def test_the_order_carries_over_between_the_tuned_tables(row: str, column: str) -> None:
    assert "birds and flowers each seen by two networks and drawings, order the losses" in PAGE
    front = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    section = front[front.index("## Does the order") :]
    header = next(line for line in section.splitlines() if line.startswith("| τ"))
    line = next(line for line in section.splitlines() if line.startswith(f"| {row} |"))
    place = [cell.strip() for cell in header.split("|")].index(column)
    found = re.match(r"[ *]+(\d\.\d\d) \((-?\d\.\d\d) to", line.split("|")[place])
    assert found is not None
    assert float(found[1]) > 0.4
    assert float(found[2]) > 0


@pytest.mark.parametrize("network", NETWORKS)
def test_more_classes_told_more_losses_apart(network: str) -> None:
    assert "with 51 classes, most losses are above the best Softmax row" in PAGE
    assert "more than half of the rows that train may still be the best" in PAGE
    page = text_of(f"frozen_flowers_{network}")
    (told,) = set(re.findall(r"(\d+) of (\d+) ranked rows", page))
    assert 2 * int(told[0]) > int(told[1])
    shown = page[page.index("| Row | MAP@R") : page.index("\n\nPercent, mean")]
    assert 2 * sum("▲" in line for line in shown.splitlines()) > int(told[1])


NUMBERS = [
    "none",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]


def marks(row: str) -> dict[str, str]:
    """Return the mark of a row's difference to the best Softmax row, by retrieval table.

    Of a table with several learning rates it is the row at the table's own one, chosen by no test.
    """
    front = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    lines = front[front.index("## MAP@R − best Softmax") :].splitlines()
    tables = re.findall(
        r"\]\((\w+)\.md\)", next(line for line in lines if line.startswith("| Row"))
    )
    cells = next(line for line in lines if line.startswith(f"| {row} |")).split("|")[2:]
    found = {t: re.search("[▲△≈▽▼]", cell) for t, cell in zip(tables, cells, strict=False)}
    return {table: mark[0] for table, mark in found.items() if mark}


def test_semi_hard_is_above_in_as_many_tables_as_the_marks_say() -> None:
    found = marks("Semi-hard triplet")
    above = [table for table, mark in found.items() if mark in "▲△"]
    new = {table for table, mark in found.items() if mark == "▲"}
    said = f"best Softmax row in {NUMBERS[len(above)]} of {NUMBERS[len(found)]} retrieval tables"
    assert said in PAGE
    assert f"In {NUMBERS[len(new)]} of them it is for new classes, too (▲)" in PAGE
    assert "Flowers with both networks, Omniglot on frozen features, from scratch, and its" in PAGE
    omniglot = {"frozen_omniglot", "omniglot_retrieval", "omniglot_mini_retrieval"}
    assert new == {*(f"frozen_flowers_{network}" for network in NETWORKS), *omniglot}
    assert "It is below in none" in PAGE
    assert not {"▽", "▼"} & set(found.values())


@pytest.mark.parametrize("table", ["fashion_mnist", "omniglot_retrieval"])
def test_softmax_has_more_rows_than_the_losses_it_is_compared_with(table: str) -> None:
    assert "Softmax has four forms" in PAGE
    assert "twelve rows, of which the best is compared" in PAGE
    assert "hard triplet alone has nine rows, every other loss alone three" in PAGE
    rows = [row for row in load_table(table).rows.values() if row.train.steps]
    alone = Counter(row.loss.name for row in rows if not row.softmax_head)
    assert (alone.pop("softmax"), alone.pop("hard_triplet")) == (12, 9)
    assert set(alone.values()) == {3}


def collapses(table: str) -> dict[str, int]:
    """Return in how many of a row's five runs the page says that the embedding was collapsed."""
    told = re.findall(
        r"^- ‡ (.*?): the embedding was collapsed .* in (\d) of 5 runs",
        text_of(table),
        re.MULTILINE,
    )
    return {label: int(runs) for label, runs in told}


def above_best_softmax(table: str) -> set[str]:
    """Return the losses of which a row is marked ▲ or △ in the first table of a page."""
    page = text_of(table)
    lines = page[page.index("| Row | MAP@R") : page.index("\n\nPercent, mean")].splitlines()
    return {line[2:].partition(", lr")[0] for line in lines if re.search("[▲△]", line)}


@pytest.mark.parametrize(
    ("table", "least", "beside_softmax"),
    [("fashion_mnist", 0.3, 4), ("omniglot_retrieval", 0.19, 15)],
)
def test_hard_triplet_collapses_from_scratch_and_batch_norm_prevents_it(
    table: str, least: float, beside_softmax: int
) -> None:
    assert "Trained from scratch it collapsed to one point at every learning rate" in PAGE
    assert "beside Softmax in some runs on the former, in all on the latter" in PAGE
    assert max(at_all_rates(table, "hard_triplet")) < 0.02
    assert min(at_all_rates(table, "hard_triplet_fc1024")) > least
    told, rates = collapses(table), ("0.0003", "0.001", "0.003")
    assert all(told[f"Hard triplet, lr {rate}"] == 5 for rate in rates)
    runs = (told.get(f"Softmax + Hard triplet, lr {rate}", 0) for rate in rates)
    assert sum(runs) == beside_softmax
    assert not any(label.startswith("Hard triplet, fc1024") for label in told)


def test_softmax_collapses_too_at_the_highest_rate() -> None:
    assert "on Omniglot, at the highest rate, some runs collapsed with every head" in PAGE
    told = collapses("omniglot_retrieval")
    rows = {label for label in told if label.startswith("Softmax") and "+" not in label}
    heads = ("", ", unit length", " on the pooled features", ", fc1024 head")
    assert rows == {f"Softmax{head}, lr 0.003" for head in heads}


def test_softmax_at_its_own_rate_and_on_unit_length_is_level_with_the_rest() -> None:
    assert "no ranking loss is shown to be above the best Softmax row" in PAGE
    assert not above_best_softmax("fashion_mnist")
    plain, unit = (
        max(at_all_rates("fashion_mnist", row)) for row in ("softmax", "softmax_normalized")
    )
    assert unit - plain > 0.1


def test_on_many_small_classes_ranking_losses_are_above_softmax() -> None:
    assert "three ranking losses are shown to be above it, for new characters too" in PAGE
    table = "omniglot_retrieval"
    other_heads = {"Priming", "Semi-hard triplet"}
    assert above_best_softmax(table) == {*other_heads, "Hard triplet, fc1024 head"}
    assert "△" not in text_of(table).partition("\n\nPercent, mean")[0]
    assert "without batch norm in the head, Softmax hardly left the untrained network" in PAGE
    without = at_all_rates(table, "softmax(_(normalized|pooled))?")
    assert len(without) == 9
    assert max(without) < means(table, "map@r")["untrained"] + 0.031
    assert softmax_alone(table) > 0.19


def test_no_second_head_is_shown_to_gain_accuracy() -> None:
    assert "no second head is shown to gain accuracy over the best Softmax row" in PAGE
    assert "nor is one on [Flowers-102]" in PAGE
    for table, count in (("cub50_classification", 6), ("flowers_short", 3)):
        page = text_of(table)
        lines = page[page.index("| Row | Accuracy") : page.index("\n\nPercent, mean")].splitlines()
        judged = [line for line in lines if line.startswith("| Softmax + ") and "≈" in line]
        assert len(judged) == count
        assert not re.search("[▲△]", "".join(lines))


def test_the_sizes_of_splits_are_those_that_readers_check() -> None:
    def numbers(name: str) -> set[int]:
        (line,) = re.findall(rf"^\| {name} \|(.*)$", PROTOCOLS, re.MULTILINE)
        return {int(number) for number in re.findall(r"\d+", line.replace(",", ""))}

    for shown, name in (("CUB-200-2011", "cub200"), ("Cars196", "cars196")):
        both = find_dataset(name).counts.values()
        assert numbers(shown) == {number for counts in both for number in counts}
    assert numbers("Online Products") == set(find_dataset("sop").counts["retrieval"])
    train, *query_and_gallery = sorted(numbers("In-Shop"), reverse=True)
    counts = find_dataset("inshop").counts["retrieval"]
    assert (train, sum(query_and_gallery)) == (counts.train, counts.test)


def test_with_a_long_tail_no_second_head_gains_accuracy_and_logit_adjustment_does() -> None:
    assert "No second head is shown there to gain accuracy" in PAGE
    page = text_of("fashion_mnist_long_tail")
    short = page[page.index("| Row | Accuracy") : page.index("\n\nPercent, mean")]
    assert not re.search("[▲△]", short)
    start = page.index("## Frequent and rare classes")
    lines = [line.split(" | ") for line in page[start:].splitlines() if line.startswith("| ")]
    heads, *rows = [[cell.strip("| ") for cell in line] for line in lines]
    halves = [heads.index(f"Accuracy, {half} − best Softmax") for half in ("frequent", "rare")]
    gains = {row[0] for row in rows for half in halves if re.search("[▲△]", row[half])}
    assert gains
    assert all("logit adjustment" in row for row in gains)
    assert any(row[0].startswith("Softmax + ") for row in rows)
