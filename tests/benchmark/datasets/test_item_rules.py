import pandas as pd
import pytest

from stt_bench.benchmark.datasets import Counts
from stt_bench.benchmark.datasets.catalog import Dataset
from stt_bench.benchmark.datasets.item_rules import check_item_table
from stt_bench.benchmark.system.errors import BenchError


def table(*rows: str) -> pd.DataFrame:
    """Each row is `path label split [role]`."""
    cells = [(*row.split(), "both")[:4] for row in rows]
    return pd.DataFrame(cells, columns=["path", "label", "split", "role"])


def accept(frame: pd.DataFrame, task="retrieval", counts=None) -> None:
    counted = {task: counts} if counts else {}
    check_item_table(Dataset("d", lambda: None, counts=counted, get="get it"), task, frame)


def check(frame: pd.DataFrame, task="retrieval", counts=None) -> str:
    """Return what is wrong."""
    with pytest.raises(BenchError) as told:
        accept(frame, task, counts)
    start, found, problem = str(told.value).partition(f"dataset 'd', task {task}: ")
    assert (start, bool(found)) == ("", True)
    return problem


RETRIEVAL = ("a 1 train", "b 1 train", "c 2 test", "d 2 test", "o 9 test")
SHARED = ("a 1 train", "b 2 train", "c 1 test", "d 2 test")


def test_good_tables_pass():
    accept(table(*RETRIEVAL), counts=Counts(2, 3, 1, 2))
    accept(table(*SHARED), "classification", Counts(2, 2, 2, 2))
    accept(table("a 1 train", "b 1 test"), "classification")
    accept(table("a 1 train", "c 2 test query", "d 2 test gallery", "o 9 test gallery"))
    accept(table("a 1 train", "c 2 test query", "d 2 test both", "o 9 test gallery"))


def test_columns_and_values():
    good = table(*RETRIEVAL)
    assert check(good.drop(columns="role")).startswith("the item table has no column 'role'")
    assert "column 'label' holds 7" in check(good.assign(label=7))
    assert "column 'label' holds ''" in check(good.assign(label=""))
    assert "column 'split' holds 'val'" in check(table(*RETRIEVAL, "e 3 val"))
    assert "column 'role' holds 'all'" in check(table(*RETRIEVAL, "e 2 test all"))
    assert "no test items" in check(table("a 1 train"))
    assert "no train items" in check(table("a 1 test", "b 1 test"))
    assert "train item has a role" in check(table(*RETRIEVAL, "e 1 train query"))


@pytest.mark.parametrize("column", ["path", "label"])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("caf\udce9", r"'caf\udce9' is not UTF-8 (1 such): rename it"),
        ("a\rb", r"'a\rb' holds a control character (1 such): rename it"),
        ("a\nb", r"'a\nb' holds a control character"),
        ("a\tb", r"'a\tb' holds a control character"),
        ("a\0b", r"'a\x00b' holds a control character"),
        ("a\x85b", r"'a\x85b' holds a control character"),
        ("a\u2028b", r"'a\u2028b' holds a control character"),
    ],
)
def test_names_that_no_list_can_hold(column, name, told):
    frame = table(*RETRIEVAL)
    frame.loc[0, column] = name
    assert check(frame).startswith(f"the {column} {told}")


def test_names_in_any_language_are_good():
    accept(
        table("été/naïve_ß.png 鳥 train", "b 鳥 train", *(f"{n} 🐦{n // 2} test" for n in range(4)))
    )


def test_duplicates():
    assert check(table(*RETRIEVAL, "a 1 train")).startswith("a is twice in train (1 such)")
    assert check(table(*RETRIEVAL, "a 3 test")).startswith("a is in train and in test (1 such)")


def test_counts_say_expected_and_found():
    assert check(table(*RETRIEVAL), counts=Counts(2, 3, 1, 1)) == (
        "expected 2 train images of 1 classes and 3 test images of 1 classes, "
        "found 2 train images of 1 classes and 3 test images of 2 classes: get it"
    )


def test_classes():
    assert check(table(*SHARED)).startswith("class '1' is in train and in test (2 such)")
    unseen = check(table(*RETRIEVAL), "classification")
    assert unseen.startswith("test class '2' has no train item (2 such)")


@pytest.mark.parametrize(
    "test_rows",
    [
        ["c 2 test", "d 3 test"],
        ["c 2 test query", "d 2 test query"],
        ["c 2 test gallery", "d 2 test gallery", "e 3 test"],
        ["c 2 test query", "d 3 test gallery"],
    ],
)
def test_some_query_needs_a_positive(test_rows):
    assert "no test query has another item of its class" in check(table("a 1 train", *test_rows))


@pytest.mark.parametrize(
    "test_rows",
    [
        ["c 2 test", "d 2 test"],
        ["c 2 test query", "d 2 test gallery", "e 3 test query"],
        ["c 2 test query", "d 2 test both", "e 3 test query"],
    ],
)
def test_there_are_two_classes_to_find(test_rows):
    problem = check(table("a 1 train", *test_rows))
    assert problem.startswith("all test items that can be found are of the class '2'")
    accept(table("a 1 train", *test_rows, "f 3 test gallery"))


def grouped(*rows: str) -> pd.DataFrame:
    """Each row is `path group label split [role]`."""
    frame = table(*(" ".join([row.split()[0], *row.split()[2:]]) for row in rows))
    return frame.assign(group=[row.split()[1] for row in rows])


CLIPS = (
    *("a x 1 train", "b x 1 train", "c y 2 test", "d y 2 test", "e z 2 test", "f z 2 test"),
    "o w 9 test",
)


def test_rows_of_a_group_agree():
    accept(grouped(*CLIPS))
    for row, told in [
        ("g x 3 train", "group 'x' has rows of 2 labels: it needs one"),
        ("g y 2 train", "group 'y' has rows of 2 splits"),
        ("g z 2 test query", "group 'z' has rows of 2 roles"),
    ]:
        assert check(grouped(*CLIPS, row)).startswith(told)
    assert "column 'group' holds ''" in check(grouped(*CLIPS).assign(group=""))
    assert check(grouped(*CLIPS, "a x 1 train")).startswith("a is twice in train")


def test_frames_of_one_clip_are_no_positives_of_each_other():
    assert "no test query has another item" in check(grouped(*CLIPS[:4]))
