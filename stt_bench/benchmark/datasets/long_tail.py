"""An exponentially imbalanced training split, made of a balanced one."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stt_bench.benchmark.datasets.item_rules import GROUP
from stt_bench.benchmark.system.errors import BenchError

_SEED = 2019


def long_tail(frame: pd.DataFrame, factor: float) -> np.ndarray:
    """Return which rows of an item table stay when its train split gets a long tail, (N,) bool.

    Of C training classes in label order, class i keeps min(n_i, round(n_max · factor^(−i/(C−1))))
    of its n_i items, at least one; n_max is the size of the largest class. The test split stays.
    Which items stay depends on the class's label and the order of its items alone, so a larger
    factor keeps a part of what a smaller one keeps. Items are rows, or groups where the table has
    them.

    Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019.

    Args:
        frame: a checked item table.
        factor: images of the first class over images of the last, above 1.

    Raises:
        BenchError: there is one training class only.
    """
    unit = GROUP if GROUP in frame else "path"
    train = frame[frame["split"] == "train"]
    classes = [(str(label), own.unique()) for label, own in train.groupby("label")[unit]]
    if len(classes) < 2:
        raise BenchError(
            "data.long_tail needs two training classes or more, and there is one: leave it out"
        )
    largest = max(len(items) for _, items in classes)
    kept: set[str] = set()
    for number, (label, items) in enumerate(classes):
        size = max(1, round(largest * factor ** (-number / (len(classes) - 1))))
        rng = np.random.default_rng([_SEED, *label.encode()])
        kept.update(items[rng.permutation(len(items))[:size]])
    return ((frame["split"] == "test") | frame[unit].isin(kept)).to_numpy()
