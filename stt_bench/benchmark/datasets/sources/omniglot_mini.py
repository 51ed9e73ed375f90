"""The part of Omniglot that comes with the package."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pandas as pd

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.datasets.catalog import Counts, Source, register_dataset
from stt_bench.benchmark.datasets.stores import ArrayStore
from stt_bench.benchmark.system.errors import BenchError

SIDE = 28


@register_dataset(
    "omniglot_mini",
    counts={"retrieval": Counts(train=2000, test=2000, train_classes=100, test_classes=100)},
    tasks=("retrieval",),
)
def omniglot_mini(root: Path | None, task: Task) -> Source:
    """4,000 drawings of 200 Omniglot characters, 28×28 pixels: nothing to download.

    Retrieval trains on 100 background characters and tests on 100 evaluation characters, which come
    from other alphabets; 20 drawings each. `bundled/make_omniglot_mini.py` says which.
    """
    if root is not None:
        raise BenchError("dataset 'omniglot_mini' comes with stt-bench: leave out data.root")
    bundled = files("stt_bench.benchmark.datasets.bundled") / "omniglot_mini.npz"
    with as_file(bundled) as file, np.load(file) as content:
        frame = pd.DataFrame({name: content[name] for name in ("label", "split")}, dtype=object)
        frame["path"] = [
            f"{label}/{drawer:02}"
            for label, drawer in zip(content["label"], content["drawer"], strict=True)
        ]
        ink = np.unpackbits(content["ink"], axis=1).reshape(-1, SIDE, SIDE)
    frame["role"] = "both"
    return Source(frame, ArrayStore(frame["path"].tolist(), 255 * (1 - ink)))
