"""The validation part: training items that are held out of training."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.datasets.item_rules import GROUP
from stt_bench.benchmark.system.errors import BenchError

_SEED = 0  # the part belongs to the data, not to a seed of a row: all rows and seeds share it


def hold_out(frame: pd.DataFrame, task: Task, share: float) -> pd.DataFrame:
    """Return the table with a share of its train items in the split `validation`.

    Retrieval: a share of the classes, drawn at random, at least two, since among items of one class
    every metric is 100, and at least one left to train. Classification: a share of the images of
    every class, at random, at least two (a query and its positive), and at least one left to train.
    Of a clip all frames are held out, or none.

    Raises:
        BenchError: there is nothing that could be held out.
    """
    rng = np.random.default_rng(_SEED)
    train = frame.loc[frame["split"] == "train", "label"]
    classes = sorted(set(train))
    if task == "retrieval":
        if len(classes) < 3:
            raise BenchError(
                "data.validation needs three training classes or more, two of them to hold out, "
                f"and there are {len(classes)}: leave it out"
            )
        count = min(max(2, round(share * len(classes))), len(classes) - 1)
        rows = train.index[train.isin(rng.permutation(classes)[:count])]
    else:
        unit = frame.loc[train.index, GROUP if GROUP in frame else "path"]
        chosen: set[str] = set()
        for label in classes:
            own = rng.permutation(unit[train == label].unique())
            chosen.update(own[: min(max(2, round(share * len(own))), len(own) - 1)])
        rows = train.index[unit.isin(chosen)]
    if not len(rows):
        raise BenchError(
            "data.validation cannot hold out anything: every training class has one item; "
            "leave it out"
        )
    split = frame["split"].copy()
    split.loc[rows] = "validation"
    return frame.assign(split=split)
