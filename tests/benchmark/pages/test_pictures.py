"""The pictures of a table's page, against the embeddings and records that they are made of."""

from __future__ import annotations

import base64
import io
import json
import math
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from few_records import records_of
from parsed import Element, parsed
from PIL import Image
from pretend_cuda import pretended_gpus
from toy_runs import HOSTILE, Toy, trained_toy

from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.datasets.image_set import image_set
from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.pages.class_scores import class_lines
from stt_bench.benchmark.pages.confusions import confusions_of, heat_map
from stt_bench.benchmark.pages.cost import costs_of
from stt_bench.benchmark.pages.curves import read_log, thinned
from stt_bench.benchmark.pages.gallery import gallery_section
from stt_bench.benchmark.pages.looked_at import look_at, rows_to_show
from stt_bench.benchmark.pages.pictures import note_of_order, picture_sections
from stt_bench.benchmark.pages.point_map import map_section, row_map
from stt_bench.benchmark.pages.section import Section
from stt_bench.benchmark.pages.table_page import page_of_table
from stt_bench.benchmark.pages.thumbs import Sprite, address, sprite_within
from stt_bench.benchmark.pages.write import read_boards
from stt_bench.benchmark.store.embedding_set import EmbeddingSet, read_embedding_set

IDS = ["curves", "gallery", "classes", "confusions", "map", "cost"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return trained_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def made(toy: Toy) -> list[Section]:
    return picture_sections(toy.board, toy.runs)


@pytest.fixture(scope="module")
def sections(made: list[Section]) -> dict[str, Element]:
    return {one.id: parsed(str(one.html)) for one in made}


def test_a_page_needs_no_gpu(toy: Toy) -> None:
    with pretended_gpus() as seen:
        found, _ = look_at(toy.board, rows_to_show(toy.board), toy.runs)
    assert found
    assert not seen.devices


def stored(toy: Toy, row: str) -> EmbeddingSet:
    return read_embedding_set(toy.runs / "toy" / row / "seed-0" / "embeddings" / "test")


def shown(text: str) -> str:
    """Return a class's name as a page shows it: without the mark that reorders text."""
    return text.replace("‮", "")


def label_of(toy: Toy) -> dict[str, str]:
    return {row.label: row.name for row in toy.board.rows}


def named_in(article: Element) -> tuple[str, list[list[str]]]:
    """Return the names of a query and of its nearest items, row by row: no mouse is needed."""
    query, *answers = article.find("details", "files")[0].find("p")
    return query.find("bdi")[0].text, [[one.text for one in row.find("bdi")] for row in answers]


def plain_nearest(embedded: EmbeddingSet, query: int, k: int) -> list[int]:
    def distance(item: int) -> float:
        a, b = ([float(v) for v in embedded.embeddings[i]] for i in (query, item))
        return math.fsum((p - q) ** 2 for p, q in zip(a, b, strict=True))

    return sorted((i for i in range(len(embedded.ids)) if i != query), key=distance)[:k]


def test_the_sections_are_the_same_each_time_and_nothing_in_them_is_markup_of_others(
    toy: Toy, made: list[Section], sections: dict[str, Element]
) -> None:
    assert [one.id for one in made] == IDS
    page = page_of_table(toy.board, toy.runs)
    for section in made:
        assert str(section.html) in page  # the same bytes from another call
    tree = parsed(page)
    assert len(tree.find("script")) == 1
    assert not [one for one in tree.all if any(name.startswith("on") for name in one.attributes)]
    assert "49" not in sections["classes"].find("th")[3].text  # no template in a template
    ids = [one.attributes["id"] for one in tree.all if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    tested = {shown(label) for label in stored(toy, "hard").labels.tolist()}
    assert tested <= set(map(shown, HOSTILE))
    told = {th.text for th in sections["classes"].find("th") if th.attributes["scope"] == "row"}
    assert told == tested
    for picture in tree.find("img"):
        assert picture.attributes["src"].startswith("data:image/")
        assert picture.attributes["alt"].split(": ")[0] in ("Query", "right", "wrong")


def test_the_gallery_shows_the_nearest_of_a_plain_loop(
    toy: Toy, sections: dict[str, Element]
) -> None:
    rows, asked = label_of(toy), sections["gallery"].find("article")
    kinds = [one.text for one in sections["gallery"].find("h3")]
    assert [kind.split(" by ")[0] for kind in kinds[:3]] == [
        "Answered best",
        "Answered as usual",
        "Answered worst",
    ]
    assert len(asked) >= 6
    for article in asked:
        own, named = named_in(article)
        names = [rows[one.find("bdi")[0].text] for one in article.find("h4")]
        assert {"softmax", "untrained", "hard"} == set(names)
        for row, answers, ids in zip(names, article.find("ol"), named, strict=True):
            embedded = stored(toy, row)
            query = list(map(shown, embedded.ids)).index(own)
            expected = plain_nearest(embedded, query, 8)
            items = answers.find("li")
            assert ids == [shown(embedded.ids[item]) for item in expected]
            for one, item in zip(items, expected, strict=True):
                right = embedded.labels[item] == embedded.labels[query]
                assert one.attributes["class"] == ("right" if right else "wrong")
                assert one.find("b")[0].text == ("✓" if right else "✗")
                told = f"{'right' if right else 'wrong'}: {shown(embedded.labels[item])}"
                assert one.find("img")[0].attributes["alt"] == told


def test_where_lists_were_reordered_the_page_says_that_its_own_are_not(toy: Toy) -> None:
    looked, _ = look_at(toy.board, rows_to_show(toy.board)[:1], toy.runs)
    assert note_of_order(looked) == []
    row = looked[0].row
    reordered = row.experiment.with_values({"evaluation.rerank": {"k1": 3, "k2": 1, "weight": 0.3}})
    looked = [replace(looked[0], row=replace(row, experiment=reordered))]
    assert note_of_order(looked)[0].startswith("The leaderboard's scores are measured with re-rank")


def test_a_picture_is_that_of_its_item(toy: Toy, sections: dict[str, Element]) -> None:
    article = sections["gallery"].find("article")[0]
    own, _ = named_in(article)
    sent = article.find("img")[0].attributes["src"].partition("base64,")[2]
    with Image.open(io.BytesIO(base64.b64decode(sent))) as picture:
        found = np.asarray(picture.convert("RGB")).astype(int)
    match = [path for path in toy.images.rglob("*.png") if shown(str(path)).endswith(own)]
    with Image.open(match[0]) as original:
        assert abs(found - np.asarray(original).astype(int)).mean() < 12


def test_a_budget_is_held_and_told(toy: Toy) -> None:
    looked, _ = look_at(toy.board, rows_to_show(toy.board), toy.runs)
    images = image_set(
        load_items(looked[0].run.experiment.data),
        "test",
        looked[0].run.experiment.input,
        training=False,
    )
    counts, full = [], 0
    for share in (1.0, 0.5, 0.0):
        budget = int(share * full) if full else 10_000_000
        section, spent = gallery_section(looked, images, [], budget)
        found = parsed(str(section.html))
        sources = [one.attributes["src"] for one in found.find("img")]
        assert spent == sum(map(len, sources)) <= budget
        full = full or spent
        counts.append(len(sources))
        assert bool(sources) != ("budget" in found.text)
        assert found.find("li")  # without pictures, the answers are told all the same
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[1] > counts[2] == 0
    for budget in (10_000, 50):
        drawn = parsed(str(map_section(looked[:1], images, [], budget, method="pca").html))
        sprites = [one.attributes["href"] for one in drawn.find("image")]
        assert sum(map(len, sprites)) <= budget
        assert bool(sprites) == (budget > 50) != ("budget" in drawn.text)


def test_confusions_of_the_nearest_are_counted(toy: Toy, sections: dict[str, Element]) -> None:
    shown_rows = rows_to_show(toy.board)
    embedded = stored(toy, shown_rows[0].name)
    plain = Counter(
        (embedded.labels[query], embedded.labels[plain_nearest(embedded, query, 1)[0]])
        for query in range(len(embedded.ids))
    )
    wrong = {pair: count for pair, count in plain.items() if pair[0] != pair[1]}
    lines = sections["confusions"].find("table")[0].find("tr")[1:]
    told = {
        (one.find("th")[0].text, one.find("td")[0].text): one.find("td")[2].text for one in lines
    }
    assert told == {(shown(a), shown(b)): str(count) for (a, b), count in wrong.items()}
    looked, _ = look_at(toy.board, shown_rows, toy.runs)
    found, by_classifier = confusions_of(toy.board, shown_rows, looked)
    assert not by_classifier
    names = found[0][1].classes
    cells = [[cell.count for cell in row] for row in heat_map(found[0][1])]
    assert cells == [[plain[(a, b)] for b in names] for a in names]


def test_confusions_of_a_classifier_are_those_of_its_records(tmp_path: Path) -> None:
    results = records_of(tmp_path, "digits_classification", ("softmax", "contrastive"))
    board = read_boards(results, ["digits_classification"])[0]
    rows = rows_to_show(board)
    found, by_classifier = confusions_of(board, rows, [])
    assert by_classifier
    counts: Counter[tuple[str, str]] = Counter()
    for path in (results / "records/digits_classification" / rows[0].name).glob("*.json"):
        told = json.loads(path.read_text())["per_class"]
        for true, cells in zip(told["labels"], told["confusion"], strict=True):
            for cell in cells.split():
                column, count = cell.split(":")
                counts[(true, told["labels"][int(column)])] += int(count)
    for true, other, count, items in found[0][1].pairs(5):
        assert count == counts[(true, other)]
        assert items == sum(n for (name, _), n in counts.items() if name == true)
    shares = [max(cell.level for cell in row) for row in heat_map(found[0][1])]
    assert set(shares) <= set(range(1, 9))
    section = {one.id: one for one in picture_sections(board, tmp_path / "none")}["confusions"]
    assert "summed over the seeds" in section.html


def test_scores_by_class_are_means_over_the_seeds(tmp_path: Path) -> None:
    results = records_of(tmp_path, "omniglot_mini_retrieval")
    board = read_boards(results, ["omniglot_mini_retrieval"])[0]
    rows = rows_to_show(board)
    assert [row.experiment.is_softmax for row in rows].count(True) == 1
    means: list[dict[str, float]] = []
    for row in rows:
        sums: dict[str, list[float]] = {}
        for path in (results / "records/omniglot_mini_retrieval" / row.name).glob("*.json"):
            held = json.loads(path.read_text())["class_values"]
            for name, count, total in zip(
                held["groups"], held["counts"], held["metrics"]["map@r"]["sums"], strict=True
            ):
                sums.setdefault(name, []).append(total / count)
        means.append({name: sum(each) / len(each) for name, each in sums.items()})
    lines = class_lines(board, rows, "map@r")
    assert {line.name for line in lines} == set(means[0])
    at = next(n for n, row in enumerate(rows) if row.experiment.is_softmax)
    for line in lines:
        assert line.scores == pytest.approx([values[line.name] for values in means])
        assert line.gain == pytest.approx(means[0][line.name] - means[at][line.name])
    gains = [line.gain for line in lines]
    assert gains == sorted(gains, key=lambda gain: -(gain or 0))


def test_cost_is_in_core_minutes_and_its_front_is_that_of_a_plain_search(toy: Toy) -> None:
    costs, unit = costs_of(toy.board, "map@r")
    assert unit == "core-minutes"
    assert {one.row.name for one in costs} == {"softmax", "hard"}  # what was trained
    for one in costs:
        own = [r.training for r in toy.board.records if r.row == one.row.name]
        assert one.cost == pytest.approx(sum(t.seconds * t.threads for t in own) / len(own) / 60)
        beaten = [
            other
            for other in costs
            if other is not one and other.cost <= one.cost and other.score.mean >= one.score.mean
        ]
        assert one.efficient == (not beaten)
    records = [
        r.model_copy(update={"training": r.training.model_copy(update={"device": "NVIDIA H100"})})
        for r in toy.board.records
    ]
    costs, unit = costs_of(replace(toy.board, records=records), "map@r")
    assert unit == "minutes"
    assert costs[0].cost * 60 == pytest.approx(costs[0].row.train_seconds)


def test_a_log_is_read_as_it_is_and_thinned(tmp_path: Path) -> None:
    lines = [
        '{"step": 2, "loss": 0.5, "active": NaN}',
        "[1, 2]",
        '{"step": 1, "loss": 1.0}',
        '{"step": 2, "validation_map@r": 0.25, "word": "x"}',
        '{"step": 3, "lo',
    ]
    (tmp_path / "log").write_text("\n".join(lines))
    assert read_log(tmp_path / "log") == {
        "loss": [(1, 1.0), (2, 0.5)],
        "validation_map@r": [(2, 0.25)],
    }
    long = [(step, float(step)) for step in range(1000)]
    fewer = thinned(long, 10)
    assert (len(fewer), fewer[0], fewer[-1]) == (10, long[0], long[-1])
    assert thinned(long[:7], 10) == long[:7]


def test_a_box_a_row_shows_or_hides_its_curves(toy: Toy, sections: dict[str, Element]) -> None:
    curves = sections["curves"]
    boxes = {one.find("bdi")[0].text: one.find("input")[0] for one in curves.find("label")}
    assert set(boxes) == {"Softmax <b>", "Hard"}
    assert all("checked" in box.attributes for box in boxes.values())  # all, without a script
    titles = [one.text for one in curves.find("figcaption")]
    assert titles[0] == "Loss of the batch"
    drawn = Counter(
        one.attributes["data-row"] for one in curves.find("g") if "data-row" in one.attributes
    )
    assert set(drawn) == {box.attributes["value"] for box in boxes.values()}
    losses = curves.find("figure")[0].find("svg")[0]
    assert len([one for one in losses.find("g") if "data-row" in one.attributes]) == 4  # two seeds
    log = read_log(toy.runs / "toy/hard/seed-0/metrics.jsonl")["loss"]
    assert f"{log[-1][1]:.3g} at step 4" in losses.attributes["aria-label"]


def test_a_map_keeps_the_shape_of_its_points_and_names_them(
    toy: Toy, sections: dict[str, Element]
) -> None:
    points = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 2.0]])
    found = row_map("Row", points, np.array([0, 0, 1]))
    placed = np.array([(float(one.x), float(one.y)) for one in found.points])
    assert ((placed >= 0) & (placed <= 600)).all()
    np.testing.assert_allclose(placed[1, 0] - placed[0, 0], 2 * (placed[1, 1] - placed[2, 1]))
    assert placed[2, 1] < placed[1, 1]  # upwards
    assert [kind for *_, kind in found.numbers] == [0, 1]
    embedded = stored(toy, "hard")
    for drawn in sections["map"].find("svg", "map"):
        titles = [one.find("title")[0].text for one in drawn.find("circle")]
        assert titles == [
            f"{shown(label)} – {shown(item)}"
            for label, item in zip(embedded.labels, embedded.ids, strict=True)
        ]


def test_a_sprite_holds_each_picture_at_its_place() -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 255, (7, 3))
    pictures = [Image.new("RGB", (64, 64), tuple(map(int, colour))) for colour in colours]
    sprite = Sprite(pictures, 32)
    sent = base64.b64decode(sprite.address.partition("base64,")[2])
    with Image.open(io.BytesIO(sent)) as sheet:
        assert sheet.size == (sprite.width, sprite.height) == (96, 96)
        pixels = np.asarray(sheet).astype(int)
    for number, colour in enumerate(colours):
        row, column = divmod(number, sprite.columns)
        middle = pixels[32 * row + 16, 32 * column + 16]
        assert abs(middle - colour).max() < 12
    assert sprite_within(pictures, len(sprite.address)) is not None
    assert sprite_within(pictures, 100) is None
    assert sprite_within([], 10_000) is None
    grey = Image.new("L", (16, 16), 7)
    assert address(grey).startswith("data:image/png;")
    assert address(pictures[0]).startswith("data:image/jpeg;")


def told_by(board: Leaderboard, runs: Path) -> dict[str, Element]:
    return {one.id: parsed(str(one.html)) for one in picture_sections(board, runs)}


def test_without_runs_the_sections_say_so_and_records_still_speak(toy: Toy, tmp_path: Path) -> None:
    found = told_by(toy.board, tmp_path)
    assert list(found) == IDS
    for name in ("gallery", "confusions", "map"):
        assert "are not in the folder of the runs." in found[name].text
        assert not found[name].find("img") + found[name].find("svg")
    assert "none of the runs" in found["curves"].text
    assert found["classes"].find("table")
    assert found["cost"].find("table")


def test_what_is_of_another_training_or_of_changed_data_is_not_shown(
    toy: Toy, tmp_path: Path
) -> None:
    shutil.copytree(toy.runs, tmp_path / "runs")
    for seed in (0, 1):  # the embeddings of another row
        own = tmp_path / f"runs/toy/untrained/seed-{seed}/embeddings"
        shutil.rmtree(own)
        shutil.copytree(toy.runs / f"toy/hard/seed-{seed}/embeddings", own)
    shutil.copy(toy.runs / "toy/softmax/seed-1/training.json", tmp_path / "runs/toy/hard/seed-1")
    found = told_by(toy.board, tmp_path / "runs")
    assert "The embeddings of Untrained that its records were made of" in found["gallery"].text
    (ended,) = [one.text for one in found["curves"].find("li") if "Hard" in one.text]
    assert "seed 0" in ended
    assert "seed 1" not in ended
    file = next(toy.images.rglob("0.png"))
    before = file.read_bytes()
    try:
        Image.new("RGB", (64, 64)).save(file)
        found = told_by(toy.board, toy.runs)
    finally:
        file.write_bytes(before)
    assert "the data have changed" in found["gallery"].text
    assert not found["gallery"].find("img")
    assert found["gallery"].find("li")
