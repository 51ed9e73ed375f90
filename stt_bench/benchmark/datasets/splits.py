"""The words by which folders and lists name a split or a role, and which items take part."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.text import counted

SPLITS = {
    **dict.fromkeys(("train", "training", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
ROLES = {
    **dict.fromkeys(("query", "queries", "probe"), "query"),
    **dict.fromkeys(("gallery", "galleries"), "gallery"),
}
NEITHER = "neither"  # the role of an item that is neither query nor gallery


def check_parts(source: Path, frame: pd.DataFrame, task: Task, else_: str = "") -> None:
    """Refuse items whose own split leaves none to train on, or none to test.

    Args:
        source: for the message.
        frame: with the column split.
        task: says which items may be of the other part.
        else_: what one may do instead, for the end of the message.
    """
    found = {"train" if split == "train" else "test" for split in frame["split"]}
    if len(found) == 1:
        lacks = "test" if found == {"train"} else "train"
        which = "whole classes" if task == "retrieval" else "some items of each class"
        raise BenchError(
            f"{source}: there are no {lacks} items by its own split: write {lacks} in the column "
            f"split for {which}{else_}"
        )


def train_and_test(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the items that take part, in the splits train and test, and what is not used.

    Validation items beside test items are left out, see `taking_part` for the rest.
    """
    frame, notes = taking_part(frame)
    frame, told = without_validation(frame)
    return frame, notes + told


def without_validation(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the items that are not of the split validation, and the sentence on those that are."""
    if "split" not in frame or not (frame["split"] == "validation").any():
        return frame, []
    validation = frame["split"] == "validation"
    count = counted(int(validation.sum()), "validation item")
    return frame[~validation], [f"{count} left out: there are test items beside them"]


def taking_part(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the items that take part, and what is not used.

    Where there are no test items, as in ImageNet, the validation items are the test; else they keep
    their split, for `data.validation: official`. Items that are neither query nor gallery are left
    out.
    """
    notes = []
    if "role" in frame and (frame["role"] == NEITHER).any():
        neither = frame["role"] == NEITHER
        notes.append(f"{counted(neither.sum(), 'item')} left out: neither query nor gallery")
        frame = frame[~neither]
    if "split" in frame and not (frame["split"] == "test").any():
        count = int((frame["split"] == "validation").sum())
        if count:
            told = counted(count, "validation item")
            notes.append(f"{told} taken as the test split: there are no test items")
            frame = frame.assign(split=frame["split"].replace("validation", "test"))
    return frame, notes
