"""A table of three rows, trained for a moment on pictures whose classes have hostile names."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.pages.write import read_boards
from stt_bench.benchmark.suite import load_table, run_table
from stt_bench.benchmark.system.progress import Reporter

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    '"><script>alert(2)<',
    "=1+2|{{ 7*7 }}",
    "a‮right-to-left & 'quoted'",
    "plain",
    "plainer",
)
TABLE = """\
title: Toy
description: For tests.
seeds: [0, 1]
data: {{name: images, root: {root}}}
input: {{size: 64, channels: 3, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}}
model: {{backbone: small_cnn, embedding_dim: 4}}
sampler: {{name: pxk, p: 2, k: 2}}
train: {{steps: 4, log_every: 2, checkpoint_every: 4, threads: 1}}
evaluation: {{ks: [1], distance: euclidean, clustering: false}}
rows:
  untrained: {{label: Untrained, loss: softmax, train: {{steps: 0}}}}
  softmax: {{label: "Softmax <b>", loss: softmax}}
  hard: {{label: Hard, loss: {{name: hard_triplet, margin: 0.5}}}}
"""


class Toy(NamedTuple):
    """The folders of a table that was run, and its leaderboard."""

    board: Leaderboard
    results: Path
    runs: Path
    images: Path


def trained_toy(root: Path) -> Toy:
    """Return the table, trained; the second half of the classes is tested."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(HOSTILE):
        (root / "images" / name).mkdir(parents=True)
        for item in range(5):
            pixels = rng.integers(0, 250, (4, 4, 3), dtype=np.uint8)
            pixels[:2, :2, number % 3] //= np.uint8(1 + number)
            picture = Image.fromarray(pixels.repeat(16, axis=0).repeat(16, axis=1))
            picture.save(root / "images" / name / f"{item}.png")
    (root / "toy.yaml").write_text(TABLE.format(root=root / "images"), encoding="utf-8")
    results, runs = root / "results", root / "runs"
    run_table(
        load_table(str(root / "toy.yaml")),
        rows=None,
        seeds=None,
        runs=runs,
        results=results,
        force=False,
        reporter=Reporter(quiet=True),
    )
    return Toy(read_boards(results, ["toy"])[0], results, runs, root / "images")
