"""A table that is tuned in seconds."""

from pathlib import Path

import pytest

TUNED = """\
title: Tuned
data: {name: digits, task: retrieval}
input: {size: 12, channels: 1, mean: [0.3], std: [0.37]}
model: {backbone: small_cnn, embedding_dim: 4}
sampler: {name: pxk, p: 2, k: 3}
train: {steps: 7, threads: 1, log_every: 5}
evaluation: {ks: [1], restarts: 1, clustering: false}
tuning: {studies: 2, trials: 2, folds: 2, every: 3, patience: 2}
rows:
  untrained: {loss: softmax, train: {steps: 0}}
  softmax: {loss: softmax}
  hard:
    loss: {name: hard_triplet, margin: 1}
"""


@pytest.fixture(scope="session")
def tuned_text() -> str:
    return TUNED


@pytest.fixture
def tuned(tmp_path: Path, tuned_text: str) -> Path:
    path = tmp_path / "tuned.yaml"
    path.write_text(tuned_text)
    return path
