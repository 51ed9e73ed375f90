"""Which classes are learned from: held against what the rule says, for any numbers of items."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_bench.benchmark.compare.split import LEARNED, RETRIEVED, deal, divide
from stt_bench.benchmark.compare.thin import FEW, thin
from stt_bench.benchmark.system.errors import BenchError


def items(sizes: dict[str, int], **columns: object) -> pd.DataFrame:
    labels = [label for label, size in sizes.items() for _ in range(size)]
    paths = [f"{number}.png" for number in range(len(labels))]
    return pd.DataFrame({"path": paths, "label": labels, **columns})


SIZES = st.lists(st.integers(1, 9), min_size=6, max_size=20).map(
    lambda sizes: {f"class {number}": size for number, size in enumerate(sizes)}
)


@given(SIZES, st.integers(0, 5))
def test_the_parts_share_no_class_and_have_large_and_small_ones_alike(
    sizes: dict[str, int], seed: int
) -> None:
    labels = items(sizes)["label"]
    split = deal(labels, seed)
    of = {label: set(split[labels == label]) for label in sizes}
    assert all(len(parts) == 1 for parts in of.values())
    several = sorted((size for size in sizes.values() if size > 1), reverse=True)
    train = sorted((sizes[label] for label in sizes if of[label] == {"train"}), reverse=True)
    assert all(of[label] == {"test"} for label, size in sizes.items() if size == 1)
    half = (len(several) + 1) // 2
    assert len(train) == max(half, min(LEARNED, len(several) - RETRIEVED))
    if len(several) >= 2 * LEARNED:  # of each pair of like size there is one in either part
        for place in range(len(several) // 2):
            assert train[place] in several[2 * place : 2 * place + 2]


@given(SIZES)
def test_the_split_follows_from_labels_and_seed_alone(sizes: dict[str, int]) -> None:
    labels = items(sizes)["label"]
    order = np.random.default_rng(1).permutation(len(labels))
    assert deal(labels, 3)[order].tolist() == deal(labels.iloc[order], 3).tolist()


def test_another_seed_gives_another_split() -> None:
    labels = items({f"c{number}": 3 for number in range(20)})["label"]
    assert len({"".join(deal(labels, seed)) for seed in range(5)}) == 5


ENOUGH = {f"c{number}": 2 for number in range(6)}


def test_the_own_split_is_taken_where_its_parts_share_no_class() -> None:
    own = items(ENOUGH, split=["train"] * 8 + ["test"] * 4, role="both")
    found = divide(own)
    assert found.frame["split"].tolist() == own["split"].tolist()
    assert "own" in found.told
    assert divide(own, "made").frame["split"].tolist() == deal(own["label"], 0).tolist()


def test_roles_that_a_new_split_does_not_use_are_told() -> None:
    asked = items(ENOUGH).assign(role=lambda frame: ["query", *["gallery"] * (len(frame) - 1)])
    found = divide(asked)
    assert set(found.frame["role"]) == {"both"}
    assert found.told.endswith("; who is query and who gallery in the data is not used")


def test_an_own_split_that_shares_classes_is_replaced_and_told() -> None:
    shared = items(ENOUGH, split=["train", "test"] * 6, role="both")
    found = divide(shared)
    assert "'c0' in train and in test and is not used" in found.told
    assert set(found.frame.groupby("label")["split"].nunique()) == {1}
    with pytest.raises(BenchError, match=r"--split own: .*'c0' in train and in test \(6 such\)"):
        divide(shared, "own")


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        (
            {f"c{n}": 2 for n in range(5)},
            "5 of 5 classes have two items or more, and compare needs",
        ),
        ({"a": 9, "b": 9, **{f"c{n}": 1 for n in range(9)}}, "2 of 11 classes have two items"),
        ({f"c{n}": 1 for n in range(9)}, "all 9 labels are unique"),
        ({"one": 9}, "1 of 1 classes"),
    ],
)
def test_too_few_classes_are_refused_in_a_sentence(sizes: dict[str, int], told: str) -> None:
    with pytest.raises(BenchError, match=told):
        divide(items(sizes))


def test_an_own_split_with_too_few_classes_says_where_and_what_to_do() -> None:
    own = items(ENOUGH, split=["train"] * 10 + ["test"] * 2, role="both")
    with pytest.raises(BenchError, match=r"5 in train and 1 in test; --split made divides anew"):
        divide(own)
    with pytest.raises(BenchError, match="--split own: the data have no split"):
        divide(items(ENOUGH), "own")


def test_a_class_name_is_text_in_the_sentence() -> None:
    hostile = items({"\x1b[31m=1+1\n<b>": 4, **ENOUGH}, role="both")
    hostile["split"] = ["train", "test"] * 8
    told = divide(hostile).told
    assert "\x1b" not in told
    assert "\n" not in told


@settings(max_examples=30)
@given(SIZES, st.integers(20, 100))
def test_thinning_takes_of_large_classes_first(sizes: dict[str, int], most: int) -> None:
    sizes = {label: 5 * size for label, size in sizes.items()}
    frame = items(sizes)
    frame = frame.assign(split=deal(frame["label"], 0))
    kept = thin(frame, most, 0)
    assert kept.index.is_monotonic_increasing
    assert kept["path"].isin(frame["path"]).all()
    if len(frame) <= most:
        assert kept is frame
        return
    for part, own in frame.groupby("split"):
        left = kept.loc[kept["split"] == part, "label"].value_counts()
        cap = left.max()
        assert all(left[label] == min(cap, sizes[label]) for label in left.index)
        gone = set(own["label"]) - set(left.index)
        assert not gone or cap <= FEW
        assert len(left) >= min(4, own["label"].nunique())
    assert thin(frame, most, 0).equals(kept)
