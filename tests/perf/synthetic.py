"""Embeddings of the size and difficulty of the published sets, where these may not be shared."""

from __future__ import annotations

import numpy as np

SOP_ITEMS, SOP_CLASSES = 60_502, 11_316


def embeddings(items: int, classes: int, dim: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Return unit rows (N, D) float32 and their classes (N,), of two items or more each.

    Class means and the differences within a class have a spectrum that falls as real
    embeddings' does.
    """
    rng = np.random.default_rng(0)
    more = rng.integers(0, classes, items - 2 * classes)
    labels = np.repeat(np.arange(classes), 2 + np.bincount(more, minlength=classes))
    points = rng.standard_normal((classes, dim), dtype=np.float32)[labels]
    points += noise * rng.standard_normal(points.shape, dtype=np.float32)
    points *= np.arange(1, dim + 1, dtype=np.float32) ** -0.6
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points, labels
