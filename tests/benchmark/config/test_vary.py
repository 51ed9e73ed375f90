"""`vary`: rows for each value of a field."""

from __future__ import annotations

from pathlib import Path

import pytest

from stt_bench.benchmark.config.table_sections import Varied
from stt_bench.benchmark.config.tables import read_table
from stt_bench.benchmark.store.display import display_of
from stt_bench.benchmark.system.errors import BenchError

TABLE = """\
data: {name: digits}
optimizer: {name: sgd, lr: 0.5}
vary: VARY
rows:
  untrained: {label: Untrained, loss: softmax, train: {steps: 0}}
  softmax: {label: Softmax, loss: softmax}
  triplet: {loss: {name: hard_triplet, margin: 0.5}, softmax_head: true}
"""


def write(folder: Path, vary: str) -> str:
    (folder / "mine.yaml").write_text(TABLE.replace("VARY", vary))
    return str(folder / "mine.yaml")


def test_a_row_that_trains_becomes_one_for_each_value(tmp_path: Path) -> None:
    rows = read_table(write(tmp_path, "{optimizer.lr: [0.001, 1e-5]}")).rows
    assert list(rows) == [
        "untrained",
        "softmax_0.001",
        "softmax_0.00001",
        "triplet_0.001",
        "triplet_0.00001",
    ]
    assert rows["untrained"].optimizer.lr == 0.5
    assert [row.optimizer.lr for row in rows.values()][1:] == [0.001, 1e-5] * 2
    assert {row.optimizer.name for row in rows.values()} == {"sgd"}
    assert rows["softmax_0.001"].label == "Softmax, lr 0.001"
    assert rows["triplet_0.00001"].label == "triplet, lr 0.00001"
    assert rows["triplet_0.001"].loss.params["margin"] == 0.5


def test_several_fields_are_crossed(tmp_path: Path) -> None:
    vary = "{optimizer.lr: [0.1, 0.01], train.steps: [5, 7]}"
    rows = read_table(write(tmp_path, vary)).rows
    found = {name: (row.optimizer.lr, row.train.steps) for name, row in rows.items()}
    assert {name: value for name, value in found.items() if name.startswith("softmax")} == {
        "softmax_0.1_5": (0.1, 5),
        "softmax_0.1_7": (0.1, 7),
        "softmax_0.01_5": (0.01, 5),
        "softmax_0.01_7": (0.01, 7),
    }
    assert found["untrained"] == (0.5, 0)


@pytest.mark.parametrize(
    ("vary", "sentence"),
    [
        ("3", "line 3: write vary as fields with values, such as optimizer.lr: "),
        ("{}", "line 3: write vary as fields with values"),
        ("{optimiser.lr: [1, 2]}", "line 3: vary: .*did you mean 'optimizer'"),
        ("{loss.margin: [1, 2]}", "line 3: vary: a row has no number 'loss.margin'"),
        ("{optimizer.lr: 0.1}", "line 3: vary: optimizer.lr needs a list of different numbers"),
        ("{optimizer.lr: [0.1, 0.1]}", "needs a list of different numbers"),
        ("{optimizer.lr: [a]}", "needs a list of different numbers"),
        ("{optimizer.lr: [-1]}", "line 3: row 'softmax_-1': .*lr"),
        ("{optimizer.lrr: [1]}", "line 3: row 'softmax_1': .*lrr.*did you mean 'lr'"),
        ("{optimizer.lr: [1e-20, 1e-21]}", "vary makes a second row 'softmax_0' of row 'softmax'"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, vary: str, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        read_table(write(tmp_path, vary))


def test_rows_without_end_are_refused(tmp_path: Path) -> None:
    vary = f"{{optimizer.lr: {list(range(1, 40))}, train.steps: {list(range(1, 40))}}}"
    with pytest.raises(BenchError, match="gives 4563 rows; 1000 are the most"):
        read_table(write(tmp_path, vary))


def test_the_name_of_a_row_is_that_of_all_rows_made_of_it(tmp_path: Path) -> None:
    file = write(tmp_path, "{optimizer.lr: [0.1, 0.01]}")
    table = read_table(file)
    assert list(table.select(["softmax"])) == ["softmax_0.1", "softmax_0.01"]
    assert list(table.select(["softmax_0.01", "softmax", "untrained"])) == [
        "softmax_0.01",
        "softmax_0.1",
        "untrained",
    ]
    assert table.one("softmax_0.1").optimizer.lr == 0.1
    with pytest.raises(BenchError, match=r"'softmax' is several, name one: softmax_0.1, softmax_0"):
        table.one("softmax")
    with pytest.raises(BenchError, match=r"no row 'tripet'; did you mean 'triplet'\?"):
        table.select(["tripet"])
    changed = read_table(file, ["train.steps=3"], only=["softmax"]).rows
    assert [row.train.steps == 3 for row in changed.values()] == [False, True, True, False, False]


def test_the_row_at_the_tables_own_value_is_the_usual_one(tmp_path: Path) -> None:
    def usual(vary: str) -> list[str]:
        return [row for row, one in read_table(write(tmp_path, vary)).varied.items() if one.usual]

    assert usual("{optimizer.lr: [0.1, 0.5]}") == ["softmax_0.5", "triplet_0.5"]
    table = read_table(write(tmp_path, "{optimizer.lr: [0.1, 0.5]}"))
    expected = Varied(row="softmax", label="Softmax", usual=True)
    assert display_of(table, "softmax_0.5").varied == expected
    other = expected.model_copy(update={"usual": False})
    assert display_of(table, "softmax_0.1").varied == other
    assert table.varied["triplet_0.1"].label == "triplet"
    assert display_of(table, "untrained").varied is None
    crossed = "{optimizer.lr: [0.5, 0.1], train.steps: [7, 1000]}"
    assert usual(crossed) == ["softmax_0.5_1000", "triplet_0.5_1000"]
    assert usual("{optimizer.lr: [0.1, 0.2]}") == []
