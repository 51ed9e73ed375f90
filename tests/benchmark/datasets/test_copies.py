"""An image under two names in one class is told by `data verify`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from stt_bench.benchmark.datasets import ArrayStore
from stt_bench.benchmark.datasets.copies import notes_on_copies
from stt_bench.benchmark.datasets.items import item_table
from stt_bench.benchmark.datasets.verify import verify_dataset


def test_copies_in_one_class_are_told_for_each_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in "ab" if split == "train" else "cd":
            for number in range(4):
                path = tmp_path / split / label / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.random.default_rng([ord(label), number]).integers(0, 256, (8, 8))
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    assert not [
        line for line in verify_dataset("images", root=str(tmp_path)).lines() if "note" in line
    ]
    shutil.copy(tmp_path / "test/c/0.png", tmp_path / "test/c/again.png")
    shutil.copy(tmp_path / "train/b/1.png", tmp_path / "train/b/more.png")
    found = verify_dataset("images", root=str(tmp_path))
    assert found.passed
    notes = [line for line in found.lines() if line.startswith("note: ")]
    assert notes[:2] == [
        "note: 2 of 9 train images have the content of another of their class under another name, "
        "and are trained on more than once: train/b/1.png and train/b/more.png",
        "note: 2 of 9 test images have the content of another of their class under another name, "
        "and find one another at no distance: test/c/0.png and test/c/again.png",
    ]


def test_three_are_named_and_those_of_another_class_are_not_meant() -> None:
    frame = pd.DataFrame(
        {
            "path": [str(number) for number in range(12)],
            "label": ["a", "b"] + ["c"] * 10,
            "split": "test",
            "role": "both",
        }
    )
    contents = [7, 7, 0, 0, 1, 1, 2, 2, 3, 3, 3, 4]  # the first two: of two classes
    arrays = np.array(contents, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    items = item_table("mine", frame, ArrayStore(frame["path"].tolist(), arrays))
    assert list(notes_on_copies(items)) == [
        "9 of 12 test images have the content of another of their class under another name, and "
        "find one another at no distance: 2 and 3, 4 and 5, 6 and 7, and 1 more"
    ]
