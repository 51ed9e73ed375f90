"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.datasets.catalog import Counts, Source, register_dataset
from stt_bench.benchmark.datasets.stores import ArrayStore
from stt_bench.benchmark.system.errors import BenchError


@register_dataset(
    "digits",
    counts={
        "retrieval": Counts(train=901, test=896, train_classes=5, test_classes=5),
        "classification": Counts(train=1442, test=355, train_classes=10, test_classes=10),
    },
)
def digits(root: Path | None, task: Task) -> Source:
    """1,797 handwritten digits of 8×8 pixels, bundled with scikit-learn: nothing to download.

    Retrieval trains on 0–4 and tests on 5–9. Classification tests on the last fifth (rounded
    down) of every class's images.
    """
    if root is not None:
        raise BenchError("dataset 'digits' comes with scikit-learn: leave out data.root")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    digit = pd.Series(bunch.target)
    if task == "retrieval":
        is_test = digit >= 5
    else:
        size = digit.groupby(digit).transform("size")
        is_test = digit.groupby(digit).cumcount() >= size - size // 5
    frame = pd.DataFrame(
        {
            "path": [f"{row:04}" for row in range(len(digit))],
            "label": digit.astype(str),
            "split": np.where(is_test, "test", "train"),
            "role": "both",
        }
    )
    values = bunch.images.astype(np.int64)  # 0 to 16
    pixels = ((values * 255 + 8) // 16).astype(np.uint8)
    return Source(frame, ArrayStore(frame["path"].tolist(), pixels))
