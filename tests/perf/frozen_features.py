"""What a run on frozen features costs: CPU-seconds of `train`, and of a loop written by hand.

Both train a linear head of 1,280 features to an embedding of 128 values of unit length, 1,000 steps
of 16 × 4 vectors with Adam, on one thread, and take turns; `train` also draws reproducible batches,
logs, checks and writes. The ratio is the median over the rounds.

    python tests/perf/frozen_features.py [--steps 1000] [--rounds 5] [--loss softmax]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from stt_bench.benchmark.store.runs import run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.train import train
from stt_bench.losses import build_loss

CLASSES, EACH, FEATURES, EMBEDDING, P, K = 50, 40, 1280, 128, 16, 4


def write_table(folder: Path, loss: str, steps: int) -> Path:
    """Write vectors, their csv and a table of one row; return the table."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), EACH)
    vectors = rng.normal(size=(CLASSES, FEATURES))[labels] + rng.normal(
        size=(len(labels), FEATURES)
    )
    np.save(folder / "x.npy", vectors.astype(np.float32))
    split = np.where(labels < CLASSES // 2, "train", "test")
    pd.DataFrame({"label": labels, "split": split}).to_csv(folder / "items.csv", index=False)
    table = folder / "frozen.yaml"
    table.write_text(
        f"data: {{name: features, root: {folder / 'x.npy'}, options: {{items: items.csv}}}}\n"
        f"model: {{backbone: identity, embedding_dim: {EMBEDDING}, normalize: true}}\n"
        f"sampler: {{name: pxk, p: {P}, k: {K}}}\n"
        f"train: {{steps: {steps}, threads: 1}}\n"
        f"rows: {{row: {{loss: {loss}}}}}\n"
    )
    return table


def by_hand(folder: Path, loss: str, steps: int) -> None:
    """Train the same head with the same loss, and nothing else."""
    x = torch.from_numpy(np.load(folder / "x.npy"))
    labels = torch.arange(CLASSES).repeat_interleave(EACH)
    classes = CLASSES // 2
    head = torch.nn.Linear(FEATURES, EMBEDDING)
    torch.nn.init.orthogonal_(head.weight)
    criterion = build_loss(loss, num_classes=classes, embedding_dim=EMBEDDING)
    optimizer = torch.optim.Adam([*head.parameters(), *criterion.parameters()], lr=1e-3)
    for _ in range(steps):
        drawn = torch.randperm(classes)[:P, None] * EACH
        rows = (drawn + torch.rand(P, EACH).argsort(dim=1)[:, :K]).flatten()
        embeddings = functional.normalize(head(x[rows]))
        value = criterion(embeddings, labels[rows])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of a call, of all its threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--steps", type=int, default=1000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--loss", default="softmax")
    given = options.parse_args()
    torch.set_num_threads(1)
    quiet = Reporter(quiet=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = load_table(str(write_table(folder, given.loss, given.steps)))
        ours, theirs = [], []
        for number in range(given.rounds + 1):
            run = run_of(table, "row", number, folder / "runs")
            ours.append(cpu_seconds(lambda run=run: train(run, quiet)))
            theirs.append(cpu_seconds(lambda: by_hand(folder, given.loss, given.steps)))
    ratios = np.array(ours[1:]) / np.array(theirs[1:])  # the first round imports and warms up
    print(
        f"{given.loss}, {given.steps:,} steps: train {np.median(ours[1:]):.2f} CPU-seconds, "
        f"by hand {np.median(theirs[1:]):.2f}, ratio {np.median(ratios):.2f} "
        f"({ratios.min():.2f} to {ratios.max():.2f})"
    )


if __name__ == "__main__":
    main()
