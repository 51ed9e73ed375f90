"""The tidy tables against the records they are made from; no cell is a formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from saved_records import save
from scipy import stats
from test_evidence import scored
from test_leaderboard import record
from test_tuning_page import STUDIES, tuned_board

from stt_bench.benchmark.leaderboards.board import build_leaderboard
from stt_bench.benchmark.leaderboards.csv_files import write_csv
from stt_bench.benchmark.leaderboards.tidy import KINDS, Source
from stt_bench.benchmark.store.class_records import ClassRetrieval, ClassShare
from stt_bench.benchmark.store.distances import OtherDistance
from stt_bench.benchmark.store.records import Record
from stt_bench.benchmark.system.errors import BenchError

TRIPLET = {"loss": "semi_hard_triplet"}


def frame(kind: str, records: list[Record]) -> pd.DataFrame:
    return KINDS[kind].frame([Source(build_leaderboard("t", records, []), [])])


def test_every_metric_of_every_seed_has_a_line_by_both_distances() -> None:
    made = record("a", 0, {"map@r": 0.5, "nmi": 0.25, "accuracy": 0.75})
    other = OtherDistance(distance="euclidean", metrics={"map@r": 0.4})
    records = [made.model_copy(update={"other_distance": other}), record("a", 1, {"map@r": 0.6})]
    found = frame("seeds", records)
    assert list(found.columns) == list(KINDS["seeds"].columns)
    scores = found[found.metric.isin(["map@r", "nmi", "accuracy"])]
    assert scores.fillna("").values.tolist() == [
        ["t", "a", 0, "map@r", "cosine", 0.5],
        ["t", "a", 0, "nmi", "cosine", 0.25],
        ["t", "a", 0, "accuracy", "", 0.75],
        ["t", "a", 0, "map@r", "euclidean", 0.4],
        ["t", "a", 1, "map@r", "cosine", 0.6],
    ]
    seconds = found[found.metric == "train_seconds"]
    assert (seconds.seed.tolist(), seconds.value.tolist()) == ([0, 1], [1.0, 1.0])


def test_a_class_has_its_mean_and_its_part_in_the_whole() -> None:
    held = ClassRetrieval(
        groups=["x", "y"],
        counts=[2, 4],
        weighting="query",
        metrics={"map@r": ClassShare(sums=[1.0, 3.0], values=[0.4, 0.8])},
    )
    other = OtherDistance(
        distance="euclidean",
        metrics={"map@r": 0.5},
        class_values={"map@r": ClassShare(sums=[2.0, 1.0], values=[0.1, 0.2])},
    )
    both = record("a", 0, {"map@r": 0.6})
    both = both.model_copy(update={"class_values": held, "other_distance": other})
    found = frame("classes", [both]).drop(columns=["table", "row", "seed", "metric"])
    assert found.values.tolist() == [
        ["x", 2, "cosine", 0.5, 0.4],
        ["y", 4, "cosine", 0.75, 0.8],
        ["x", 2, "euclidean", 1.0, 0.1],
        ["y", 4, "euclidean", 0.25, 0.2],
    ]
    recalls = np.array([0.5, 0.25, 1.0])
    found = frame("classes", [scored("a", 0, recalls)])
    assert found["class"].tolist() == ["c0", "c1", "c2"]
    assert found["mean"].tolist() == recalls.tolist()
    assert set(found.metric) == {"accuracy"}
    assert found.leave_class_out.isna().all()


def test_a_difference_has_the_interval_of_a_t_test() -> None:
    ours, theirs = [0.5, 0.52, 0.57], [0.3, 0.33, 0.33]
    records = [record("softmax", seed, {"map@r": value}) for seed, value in enumerate(theirs)]
    records += [record("semi", s, {"map@r": v}, **TRIPLET) for s, v in enumerate(ours)]
    found = frame("differences", records)
    assert found.against.tolist() == ["baseline", "best softmax"]
    line = found.iloc[1]
    assert (line.row, line.other, line.metric, line.distance) == (
        "semi", "softmax", "map@r", "cosine",
    )  # fmt: skip
    low, high = stats.ttest_rel(ours, theirs).confidence_interval()
    assert (line.low, line.high) == pytest.approx((low, high))
    assert line.p == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
    assert (line.question, line.mark, line.draws) == ("these classes", "△", 3)
    # One comparison, twice on the page: what is corrected is the same.
    assert (line.corrected_low, line.corrected_high) == pytest.approx((low, high))


def test_a_trial_has_its_outcome_and_each_of_its_settings(tmp_path: Path) -> None:
    board, searches = tuned_board(tmp_path)
    trials = KINDS["trials"].frame([Source(board, searches)])
    of_triplet = trials[trials.row == "triplet"]
    assert of_triplet[of_triplet.default].objective.tolist() == [0.25]
    own = of_triplet[~of_triplet.default]
    assert [own[own.study == s].objective.tolist() for s in (0, 1)] == STUDIES
    assert own[own.winner][["study", "trial"]].values.tolist() == [[0, 1], [1, 1]]
    points = KINDS["points"].frame([Source(board, searches)])
    some = points[(points.row == "triplet") & (points.study == 1) & (points.trial == 2)]
    (tried,) = [t for t in searches[1].trials if (t.study, t.index) == (1, 2)]
    assert dict(zip(some.field, some.value, strict=True)) == tried.point


def labelled(name: str, label: str, **changes: Any) -> Record:
    made = record(name, 0, {"map@r": 0.5})
    display = made.display.model_copy(update={"label": label})
    return made.model_copy(update={"display": display, **changes})


HOSTILE = [
    "=HYPERLINK(1)",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "\r\n=1",
    "＝1",
    'a,"b"\nc',
    "-3",
]


def test_no_cell_is_a_formula_and_all_are_read_back(tmp_path: Path) -> None:
    held = ClassRetrieval(
        groups=HOSTILE,
        counts=[1] * len(HOSTILE),
        weighting="query",
        metrics={
            "map@r": ClassShare(sums=[0.5] * len(HOSTILE), values=[0.5] * len(HOSTILE)),
        },
    )
    records = [labelled(f"r{n}", label) for n, label in enumerate(HOSTILE)]
    metrics = records[0].metrics | {"queries": float(len(HOSTILE))}
    records[0] = records[0].model_copy(update={"class_values": held, "metrics": metrics})
    save(tmp_path, records)
    paths = write_csv(tmp_path, None)
    assert {path.name for path in paths} == {*(f"{kind}.csv" for kind in KINDS), "README.md"}
    expected = [
        "'=HYPERLINK(1)",
        "'+1+cmd|' /C calc'!A0",
        "'-2+3",
        "'@SUM(1)",
        "'=1",
        "'=1",
        "'＝1",
        'a,"b" c',
        "-3",
    ]
    rows = pd.read_csv(tmp_path / "csv" / "rows.csv", dtype=str, keep_default_na=False)
    assert rows.label.tolist() == expected
    classes = pd.read_csv(tmp_path / "csv" / "classes.csv", dtype={"class": str})
    assert classes["class"].tolist() == expected
    for path in paths[:-1]:
        for line in path.read_bytes().splitlines():
            assert not line.startswith((b"=", b"+", b"-", b"@"))


def test_values_are_written_to_the_last_bit_and_the_columns_are_explained(tmp_path: Path) -> None:
    value = 0.1 + 0.2
    save(tmp_path, [record("a", 0, {"map@r": value})])
    write_csv(tmp_path, ["t"])
    seeds = pd.read_csv(tmp_path / "csv" / "seeds.csv", dtype=str)
    assert seeds[seeds.metric == "map@r"].value.map(float).tolist() == [value]
    page = (tmp_path / "csv" / "README.md").read_text()
    for name, kind in KINDS.items():
        header = (tmp_path / "csv" / f"{name}.csv").read_text().splitlines()[0]
        assert header == ",".join(kind.columns)
        section = page.partition(f"## {name}.csv")[2].partition("## ")[0].replace("\\", "")
        assert all(f"| {column} |" in section for column in kind.columns)


def test_files_of_somebody_else_stay_and_ours_are_written_anew(tmp_path: Path) -> None:
    save(tmp_path, [record("a", 0, {"map@r": 0.5})])
    theirs = tmp_path / "csv" / "seeds.csv"
    theirs.parent.mkdir()
    theirs.write_text("mine\n")
    with pytest.raises(BenchError, match=r"seeds\.csv exists"):
        write_csv(tmp_path, None)
    assert theirs.read_text() == "mine\n"
    write_csv(tmp_path, None, force=True)
    before = theirs.read_bytes()
    save(tmp_path, [record("a", 1, {"map@r": 0.25})])
    write_csv(tmp_path, None)
    assert len(theirs.read_bytes()) > len(before)
    with pytest.raises(BenchError, match="table 'x' has no records"):
        write_csv(tmp_path, ["x"])
