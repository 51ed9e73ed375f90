"""Folds of the training split: whole classes or stratified images, and never a test image."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stt_bench.benchmark.config.sections import DataConfig
from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.datasets.items import ItemTable
from stt_bench.benchmark.datasets.training_items import folds_of, training_items
from stt_bench.benchmark.system.errors import BenchError


def items_of(sizes: list[int], groups: int = 0) -> ItemTable:
    rows = [(f"{c}/{i}", f"c{c:02}") for c, size in enumerate(sizes) for i in range(size)]
    frame = pd.DataFrame(rows, columns=["path", "label"]).assign(split="train", role="both")
    if groups:
        frame["group"] = [f"{path.split('/')[0]}-{int(path.split('/')[1]) // groups}"
                          for path in frame["path"]]  # fmt: skip
    return ItemTable("made", frame, lambda _: Image.new("L", (4, 4)), data_hash="")


def test_classes_of_retrieval_are_dealt_to_the_folds() -> None:
    folds = folds_of(items_of([3] * 11), "retrieval", 4)
    held = [set(fold.items.split("validation")["label"]) for fold in folds]
    assert sorted(map(len, held)) == [2, 3, 3, 3]
    assert len(set.union(*held)) == 11
    for fold, classes in zip(folds, held, strict=True):
        assert not classes & set(fold.items.classes)
        assert len(fold.items.classes) == 11 - len(classes)
        assert sorted([*fold.trained, *fold.held]) == list(range(33))


def test_images_of_classification_are_dealt_class_by_class() -> None:
    sizes = [8, 9, 10, 1, 2]
    folds = folds_of(items_of(sizes), "classification", 4)
    total: Counter[str] = Counter()
    for fold in folds:
        counts = Counter(fold.items.split("validation")["label"])
        assert set(fold.items.classes) == {f"c{c:02}" for c in range(5)}  # none is unknown
        for label, size in zip(["c00", "c01", "c02"], sizes, strict=False):
            assert size // 4 <= counts[label] <= -(-size // 4)
        total += counts
    assert total == {"c00": 8, "c01": 9, "c02": 10, "c04": 2}  # the single image always trains
    held = [len(fold.held) for fold in folds]
    assert max(held) - min(held) <= 1


def test_a_clip_is_in_one_fold() -> None:
    for task in ("retrieval", "classification"):
        for fold in folds_of(items_of([12] * 4, groups=3), task, 2):
            trained = set(fold.items.split("train")["group"])
            assert not trained & set(fold.items.split("validation")["group"])


def test_the_rows_of_a_fold_are_those_of_its_table() -> None:
    items = items_of([5] * 6)
    for fold in folds_of(items, "retrieval", 3):
        for name, rows in (("train", fold.trained), ("validation", fold.held)):
            assert fold.items.split(name)["path"].tolist() == items.frame["path"][rows].tolist()


def test_too_few_classes_are_told() -> None:
    with pytest.raises(BenchError, match=r"there are 7 training classes.*lower it to 3"):
        folds_of(items_of([3] * 7), "retrieval", 4)
    with pytest.raises(BenchError, match=r"there are 3 training classes.*takes four classes$"):
        folds_of(items_of([3] * 3), "retrieval", 2)
    with pytest.raises(BenchError, match=r"no two images of one class.*takes more images"):
        folds_of(items_of([2] * 3), "classification", 2)
    with pytest.raises(BenchError, match=r"no two images of one class.*: lower it$"):
        folds_of(items_of([3] * 3), "classification", 3)


def test_training_items_are_those_of_the_train_split() -> None:
    config = DataConfig(name="digits", long_tail=5.0)
    found, whole = training_items(config), load_items(config)
    assert found.frame.equals(whole.split("train"))
    assert found.arrays is not None
    assert whole.arrays is not None
    train = (whole.frame["split"] == "train").to_numpy()
    assert np.array_equal(found.arrays, whole.arrays[train])


def test_what_validation_holds_out_is_left_out() -> None:
    config = DataConfig(name="digits", validation=0.4)
    assert training_items(config).frame.equals(load_items(config).split("train"))
