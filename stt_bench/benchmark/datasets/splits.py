"""The words by which folders and lists name a split or a role, and which items take part."""

from __future__ import annotations

import pandas as pd

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


def train_and_test(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the items that take part, in the splits train and test, and what is not used.

    Where there are no test items, as in ImageNet, the validation items are the test; else they are
    left out, since `data.validation` holds out a part of the train split. Items that are neither
    query nor gallery are left out.
    """
    notes = []
    if "role" in frame and (frame["role"] == NEITHER).any():
        neither = frame["role"] == NEITHER
        notes.append(f"{counted(neither.sum(), 'item')} left out: neither query nor gallery")
        frame = frame[~neither]
    if "split" in frame and (frame["split"] == "validation").any():
        validation = frame["split"] == "validation"
        count = counted(validation.sum(), "validation item")
        if (frame["split"] == "test").any():
            notes.append(f"{count} left out: there are test items beside them")
            frame = frame[~validation]
        else:
            notes.append(f"{count} taken as the test split: there are no test items")
            frame = frame.assign(split=frame["split"].replace("validation", "test"))
    return frame, notes
