"""A page ranks by one distance and says where the other one orders or judges otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Command
from test_leaderboard import record

from stt_bench.benchmark.leaderboards.board import Leaderboard, build_leaderboard
from stt_bench.benchmark.leaderboards.markdown import markdown
from stt_bench.benchmark.store.distances import OtherDistance
from stt_bench.benchmark.store.records import Record, checksum, read_record, record_path
from stt_bench.benchmark.system.errors import BenchError

LOSSES = {"s": {}, "u": {"train": {"steps": 0}}}


def records_of(values: dict[str, dict[str, list[float]]], **settings: Any) -> list[Record]:
    """Return records of rows: MAP@R of each seed by distance, the first one the row's own."""
    found = []
    for row, by_distance in values.items():
        own, *others = by_distance
        loss = LOSSES.get(row, {"loss": {"name": "hard_triplet"}})
        for seed, value in enumerate(by_distance[own]):
            one = record(
                row, seed, {"map@r": value, "nmi": 0.5}, evaluation={"distance": own}, **loss
            )
            for other in others:
                metrics = {"map@r": by_distance[other][seed]}
                one.other_distance = OtherDistance(distance=other, metrics=metrics)  # type: ignore[arg-type]
            found.append(one)
    return found


def board_of(values: dict[str, dict[str, list[float]]]) -> Leaderboard:
    return build_leaderboard("t", records_of(values), [])


def page_of(values: dict[str, dict[str, list[float]]]) -> str:
    return markdown(board_of(values)).replace("\\", "")


def around(mean: float) -> list[float]:
    return [mean - 0.001, mean, mean + 0.0012]


def both(cosine: float, euclidean: float) -> dict[str, list[float]]:
    return {"cosine": around(cosine), "euclidean": [x + 1e-4 for x in around(euclidean)]}


def test_another_order_and_another_verdict_are_told_with_the_rows_names() -> None:
    page = page_of({"s": both(0.5, 0.5), "u": both(0.55, 0.3), "row": both(0.6, 0.4)})
    assert "- Retrieval is ranked by cosine, and clusters are found by it." in page
    assert (
        "Another order by Euclidean distance, significant by the seeds: s is above row and u in "
        "MAP@R (by cosine below)."
    ) in page
    assert "Another verdict by Euclidean distance in MAP@R: row − baseline -10.0 ± " in page
    assert "▽ (by cosine +10.0 ± " in page
    assert "below the untrained network by cosine only: s." in page


def test_nothing_is_told_where_the_distances_agree() -> None:
    page = page_of({"s": both(0.5, 0.4), "u": both(0.3, 0.2), "row": both(0.6, 0.5)})
    assert (
        "Ranked by Euclidean distance, no mark and no order that is significant by the seeds"
        in page
    )
    assert "Another order" not in page
    assert "Another verdict" not in page


def test_one_seed_gives_no_assurance() -> None:
    one = {"cosine": [0.5], "euclidean": [0.4]}
    assert "is another" not in page_of({"s": one, "row": one})


def test_an_order_that_the_seeds_leave_open_is_not_told() -> None:
    wide = {"cosine": [0.50, 0.60, 0.55], "euclidean": [0.55, 0.50, 0.60]}
    page = page_of({"s": wide, "row": {"cosine": [0.58, 0.5, 0.58], "euclidean": [0.5, 0.59, 0.5]}})
    assert "Another order" not in page


def test_records_of_one_distance_are_told_and_not_ranked_by_the_other() -> None:
    only = {"cosine": around(0.4)}
    page = page_of({"s": both(0.5, 0.5), "row": both(0.6, 0.4), "old": only})
    assert "- old: measured by cosine only; run them again to have both." in page
    page = page_of({"s": only, "row": {"cosine": around(0.6)}})
    assert "- All rows are measured by cosine only; run them again to have both." in page
    board = board_of(
        {"s": both(0.5, 0.5), "row": both(0.6, 0.4), "old": {"euclidean": around(0.9)}}
    )
    old = next(row for row in board.rows if row.name == "old")
    assert old.scores.keys() == {"queries"}
    assert board.best("map@r") == {"row"}
    page = markdown(board)
    assert "old: measured by Euclidean distance only, so without retrieval here" in page


def test_rows_of_one_table_are_ranked_by_one_distance() -> None:
    """A row whose settings name the other distance stands with what it has under the table's."""
    swapped = {"euclidean": around(0.9), "cosine": around(0.4)}
    values = {"s": both(0.5, 0.5), "row": both(0.6, 0.4), "swapped": swapped}
    board = board_of(values)
    assert board.distance == "cosine"
    scores = {row.name: row.scores for row in board.rows}
    assert scores["swapped"]["map@r"].mean == pytest.approx(sum(around(0.4)) / 3)
    assert "nmi" not in scores["swapped"]
    assert "nmi" in scores["row"]
    other = board.by_the_other
    assert other.best("map@r") == {"swapped"}
    assert len({row.fingerprint for row in board.rows}) == 1
    row = next(row for row in board.rows if row.name == "swapped")
    softmax = board.baseline(row, "map@r").row
    assert softmax is not None
    assert softmax.name == "s"


def written(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content | {"checksum": checksum(content)}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"distance": "euclidean"}, "distance is euclidean, by which the metrics are measured"),
        ({"metrics": {"map@r": 0.5}}, "metrics are not the retrieval metrics of the record"),
        ({"class_values": {"map@r": {"sums": [1], "values": [1]}}}, "of other metrics than"),
        ({"extra": 1}, "other_distance"),
    ],
)
def test_what_a_record_says_of_the_other_distance_is_checked(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    committed = Path(__file__).parents[1] / "records/digits_retrieval/angular/seed-0.json"
    content = json.loads(committed.read_text())
    named = ("recall@1", "recall@2", "recall@4", "recall@8", "r_precision", "map@r", "mrr")
    other = {"distance": "cosine", "metrics": dict.fromkeys(named, 0.5)}
    path = record_path(tmp_path, "digits_retrieval", "angular", 0)
    path.parent.mkdir(parents=True)
    written(path, content | {"other_distance": other})
    assert read_record(path).other_distance is not None
    written(path, content | {"other_distance": other | change})
    with pytest.raises(BenchError, match=said):
        read_record(path)
    shares = {"groups": ["a"], "counts": [2], "weighting": "query"}
    share = {"map@r": {"sums": [2 * content["metrics"]["map@r"]], "values": [0.5]}}
    wrong = {"map@r": {"sums": [1.5], "values": [0.75]}}
    content |= {"class_values": shares | {"metrics": share}}
    content |= {"other_distance": other | {"class_values": wrong}}
    written(path, content)
    with pytest.raises(BenchError, match=r"class_values\.map@r do not give the map@r"):
        read_record(path)


def test_a_page_by_the_other_distance_is_printed_and_not_written(
    tmp_path: Path, stt_bench: Command
) -> None:
    source = Path(__file__).parents[1] / "records/digits_retrieval/angular/seed-0.json"
    path = record_path(tmp_path, "digits_retrieval", "angular", 0)
    path.parent.mkdir(parents=True)
    path.write_bytes(source.read_bytes())
    code, out, said = stt_bench(
        "report", "digits_retrieval", "--distance", "euclidean", "--results", tmp_path
    )
    assert code == 0, said
    assert "Retrieval is ranked by Euclidean distance" in out
    assert not (tmp_path / "digits_retrieval.md").exists()
