"""The batch that compare chooses can be drawn wherever it is drawn, whatever the classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import Command
from PIL import Image
from small_comparisons import write_vectors

from stt_bench.benchmark.compare import prices, setting
from stt_bench.benchmark.compare.look import look
from stt_bench.benchmark.compare.measure import measure
from stt_bench.benchmark.compare.setting import Wish
from stt_bench.benchmark.compare.split import divide
from stt_bench.benchmark.datasets.sampler import PxKSampler
from stt_bench.benchmark.datasets.training_items import fold_of
from stt_bench.benchmark.system.errors import BenchError

SIZES = {
    "twos": lambda number: 2,
    "threes": lambda number: 3,
    "twelves": lambda number: 12,
    "few large": lambda number: 2 if number % 5 else 60,
}


def photos(folder: Path, classes: int, each: int) -> Path:
    """Write noise as folders CLASS/IMAGE."""
    rng = np.random.default_rng(classes)
    for number in range(classes):
        own = folder / f"kind {number}"
        own.mkdir(parents=True)
        for place in range(each):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(own / f"{place}.png")
    return folder


def labels_of(sizes: Sequence[int]) -> list[str]:
    return [f"kind {number}" for number, size in enumerate(sizes) for _ in range(size)]


@pytest.mark.parametrize("kind", SIZES)
def test_a_batch_fits_every_fold_and_what_is_timed(kind: str) -> None:
    for classes in range(6, 41):
        labels = labels_of([SIZES[kind](number) for number in range(classes)])
        frame = divide(pd.DataFrame({"path": range(len(labels)), "label": labels})).frame
        items = prices.made_up(frame.loc[frame["split"] == "train", "label"].tolist(), 1)
        cut = setting.folds_for(items)
        p, k = setting.batch_of(cut)
        rows = prices.few_of(cut[0], 8 * p)
        some = prices.made_up(items.frame["label"].iloc[rows].tolist(), 1)
        timed = fold_of(some, np.isin(rows, cut[0].held))
        for fold in (*cut, timed):
            trained = fold.items.split("train")["label"].to_numpy()
            PxKSampler(trained, p, k, 0)
            assert fold.items.split("validation")["label"].duplicated().any()
        for fold in cut:  # N-pairs and the angular loss draw pairs
            PxKSampler(fold.items.split("train")["label"].to_numpy(), p, k, 0, together=2)


def test_many_classes_of_two_are_timed_by_whole_pairs() -> None:
    (fold, *_) = setting.folds_for(prices.made_up(labels_of([2] * 3000), 1))
    rows = prices.few_of(fold, 100)
    assert len(rows) == 200
    assert np.isin(rows, fold.held).sum() == 100
    assert set(fold.items.frame["label"].iloc[rows].value_counts()) == {2}


@pytest.mark.parametrize(("classes", "each"), [(6, 2), (12, 4), (40, 3)])
def test_few_classes_of_images_are_planned(
    classes: int, each: int, tmp_path: Path, stt_bench: Command
) -> None:
    data = photos(tmp_path / "photos", classes, each)
    out = ("--out", tmp_path / "out")
    done = stt_bench(
        "compare", data, *out, "--backbone", "small_cnn", "--minutes", 600, "--dry-run"
    )
    assert done.returncode == 0, done.stderr
    assert "all of it trains" in done.stdout


def test_many_small_classes_of_vectors_are_measured(tmp_path: Path) -> None:
    vectors = write_vectors(tmp_path, telling=False)
    labels = labels_of([2] * 4200)
    rng = np.random.default_rng(0)
    np.save(vectors, rng.standard_normal((len(labels), 4), dtype=np.float32))
    vectors.with_suffix(".csv").write_text("\n".join(["label", *labels]))
    found = look(vectors)
    measured = measure(found, divide(found.frame).frame, Wish(), 600.0)
    assert (measured.sections["sampler"]["p"], measured.folds) == (8, 3)


def test_two_folds_do_where_three_do_not() -> None:
    """Of classes of one item a split of the data's own may have any number to learn from."""
    assert len(setting.folds_for(prices.made_up(labels_of([3] * 6), 1))) == 3
    cut = setting.folds_for(prices.made_up(labels_of([3] * 4 + [1] * 12), 1))
    assert len(cut) == 2
    assert setting.batch_of(cut)[0] >= 2
    with pytest.raises(BenchError, match=r"too few classes of two items .*--split made"):
        setting.folds_for(prices.made_up(labels_of([3] * 4 + [1]), 1))
