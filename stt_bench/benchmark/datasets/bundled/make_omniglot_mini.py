"""Make ``omniglot_mini.npz``, the bundled part of Omniglot.

Of the 964 background characters, sorted by alphabet and name, those at the positions
``i * 964 // 100`` for i = 0 to 99 (all 30 alphabets have some) are the training classes; of the 659
evaluation characters, from 20 other alphabets, those at ``i * 659 // 100`` are the test classes.
All 20 drawings of each are taken. A pixel of the 28 x 28 is ink where a fifth or more of its area
in the original 105 x 105 is.

    python -m stt_bench.benchmark.datasets.bundled.make_omniglot_mini omniglot.zip

The argument is a zip or a folder that the dataset `omniglot` reads.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from stt_bench.benchmark.config.sections import DataConfig
from stt_bench.benchmark.datasets import ItemTable, load_items

CHARACTERS = 100  # of each split
SIDE = 28
TARGET = Path(__file__).with_name("omniglot_mini.npz")


def shrink(drawing: Image.Image) -> np.ndarray:
    """Return the ink of a 105 x 105 drawing (0 is ink) as bool (28, 28).

    4 x 105 = 15 x 28, so that the areas are whole numbers.
    """
    ink = np.kron(np.asarray(drawing.convert("1")) == 0, np.ones((4, 4), int))
    covered: np.ndarray = ink.reshape(SIDE, 15, SIDE, 15).sum((1, 3))
    return covered * 5 >= 15 * 15


def arrays(items: ItemTable) -> dict[str, np.ndarray]:
    """Return the content of the file: labels and paths, and the packed bits of the ink."""
    frame = items.frame
    kept = []
    for split in ("train", "test"):
        labels = sorted(set(frame.loc[frame["split"] == split, "label"]))
        chosen = [labels[i * len(labels) // CHARACTERS] for i in range(CHARACTERS)]
        kept += [
            (split, label, path)
            for label in chosen
            for path in sorted(frame.loc[frame["label"] == label, "path"])
        ]
    ink = np.stack([shrink(items.read(path)) for _, _, path in kept])
    drawers = [int(Path(path).stem.rpartition("_")[2]) for _, _, path in kept]
    return {
        "split": np.array([split for split, _, _ in kept]),
        "label": np.array([label for _, label, _ in kept]),
        "drawer": np.array(drawers, np.uint8),
        "ink": np.packbits(ink.reshape(len(ink), -1), axis=1),
    }


if __name__ == "__main__":
    made = arrays(load_items(DataConfig(name="omniglot", root=sys.argv[1])))
    np.savez_compressed(TARGET, allow_pickle=False, **made)
