"""The data's own validation split, used as such or left out."""

from __future__ import annotations

import pytest

from stt_bench.benchmark.config.sections import DataConfig
from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.datasets.training_items import training_items
from stt_bench.benchmark.system.errors import BenchError

ROWS = [
    ("1", "a", "train"), ("2", "b", "train"), ("3", "v", "val"), ("4", "v", "val"),
    ("5", "c", "test"), ("6", "c", "test"), ("7", "d", "test"),
]  # fmt: skip


@pytest.fixture
def data(tmp_path, save):
    def config(validation, rows=ROWS, task="retrieval") -> DataConfig:
        lines = [f"{name}.png,{label},{split}" for name, label, split in rows]
        for name, *_ in rows:
            save(tmp_path / f"{name}.png", seed=int(name))
        (tmp_path / "x.csv").write_text("\n".join(["path,label,split", *lines]))
        root = str(tmp_path / "x.csv")
        return DataConfig(name="images", root=root, task=task, validation=validation)

    return config


def test_it_is_the_validation_part(data) -> None:
    items = load_items(data("official"))
    assert items.split("validation")["path"].tolist() == ["3.png", "4.png"]
    assert items.split("train")["path"].tolist() == ["1.png", "2.png"]
    assert len(items.split("test")) == 3
    assert items.notes == ()
    assert training_items(data("official")).frame["path"].tolist() == ["1.png", "2.png"]


def test_it_is_left_out_unless_asked_for(data) -> None:
    items = load_items(data(None))
    assert items.split("validation").empty
    assert items.notes == (
        "2 validation items left out: there are test items beside them; "
        "data.validation: official selects the weights on them",
    )
    rest = [row for row in ROWS if row[2] != "val"]
    assert load_items(data(None, rest)).data_hash == items.data_hash


@pytest.mark.parametrize(
    ("rows", "task", "message"),
    [
        ([row for row in ROWS if row[2] != "val"], "retrieval", "have no validation items beside"),
        ([*ROWS, ("8", "c", "val")], "retrieval", "class 'c' is in validation and in test"),
        (
            [("1", "a", "train"), ("2", "b", "train"), ("3", "a", "test"), ("4", "q", "val")],
            "classification",
            "validation class 'q' has no train item",
        ),
    ],
)
def test_what_does_not_fit(data, rows, task, message) -> None:
    with pytest.raises(BenchError, match=message):
        load_items(data("official", rows, task))
