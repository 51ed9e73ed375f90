"""The validation part: training items that are held out of training."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmark.config import Task
from benchmark.errors import BenchError

_SEED = 0  # the part belongs to the data, not to a seed of a row: all rows and seeds share it


def hold_out(frame: pd.DataFrame, task: Task, share: float) -> pd.DataFrame:
    """Return the table with a share of its train items in the split `validation`.

    Retrieval: a share of the classes, drawn at random, at least one, and at least one left to
    train. Classification: a share of the images of every class, at random, of classes with two
    images or more; at least one stays in training.

    Raises:
        BenchError: there is nothing that could be held out.
    """
    rng = np.random.default_rng(_SEED)
    train = frame.loc[frame["split"] == "train", "label"]
    classes = sorted(set(train))
    if task == "retrieval":
        count = min(max(1, round(share * len(classes))), len(classes) - 1)
        rows = train.index[train.isin(rng.permutation(classes)[:count])]
        if not train[rows].duplicated().any():
            raise BenchError(
                f"data.validation {share:g} holds out {count} class(es) of one image each, so "
                "that no query has a positive: raise it"
            )
    else:
        parts = []
        for label in classes:
            own = rng.permutation(train.index[train == label])
            parts.append(own[: min(round(share * len(own)), len(own) - 1)])
        rows = pd.Index(np.concatenate(parts))
    if not len(rows):
        raise BenchError(
            f"data.validation {share:g} holds out no item of the {len(train)} that train: raise it "
            "or leave it out"
        )
    split = frame["split"].copy()
    split.loc[rows] = "validation"
    return frame.assign(split=split)
