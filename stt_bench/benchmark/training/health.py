"""Health metrics of a training batch, after the Fashion-MNIST study, correctly averaged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

COLLAPSED_SPREAD = 1e-3
"""Mean pair distance ÷ mean norm below which an embedding counts as collapsed to one point."""


class BatchPairs(NamedTuple):
    """How the B embeddings of a batch lie, in float64 on the CPU."""

    norms: np.ndarray
    """(B,) L2 norms."""
    distance: np.ndarray
    """(B, B) Euclidean distances."""
    same: np.ndarray
    """(B, B): whether two are of one class, as each is with itself."""


def pairs_of(embeddings: Tensor, labels: Tensor) -> BatchPairs:
    """Return how embeddings (B, D) with labels (B,) or (B, 1) lie; a GPU is waited for once."""
    x, classes = embeddings.detach().double().cpu(), labels.flatten().cpu().numpy()
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").numpy()
    np.fill_diagonal(distance, 0.0)  # which is NaN where an embedding is not finite
    return BatchPairs(np.linalg.norm(x.numpy(), axis=1), distance, classes[:, None] == classes)


def batch_health(pairs: BatchPairs) -> dict[str, float]:
    """Return how the embeddings of one batch lie.

    Returns:
        ``mean_norm``: mean L2 norm; ``distance_within`` and ``distance_between``: mean Euclidean
        distance over the distinct pairs of one class and of two classes (the study averaged over
        all B² entries, zeros included, which halves the value); ``hardest_positive`` and
        ``hardest_negative``: means over the anchors that have one; ``spread``: mean pair distance
        ÷ mean norm. A quantity without any pair is left out.
    """
    norms, distance, same = pairs
    size, of_class = len(norms), same.sum(axis=1)
    positives, negatives = int(of_class.sum()) - size, size**2 - int(of_class.sum())
    norm = float(norms.mean())
    health = {"mean_norm": norm}
    with np.errstate(invalid="ignore", over="ignore"):  # of a training that has diverged
        # An embedding is at a distance of 0 of itself, which adds nothing and is no maximum.
        if positives:
            health["distance_within"] = float(distance[same].sum()) / positives
            hardest = np.where(same, distance, -np.inf).max(axis=1)
            health["hardest_positive"] = float(hardest[of_class > 1].mean())
        if negatives:
            health["distance_between"] = float(distance[~same].sum()) / negatives
            hardest = np.where(same, np.inf, distance).min(axis=1)
            health["hardest_negative"] = float(hardest[of_class < size].mean())
        if size > 1:
            mean_distance = float(distance.sum()) / (size * (size - 1))
            health["spread"] = mean_distance / norm if norm > 0 else 0.0
    return health


def gradient_norm(parameters: Iterable[Tensor]) -> float:
    """Return the L2 norm of all gradients together."""
    norms = [p.grad.detach().float().norm() for p in parameters if p.grad is not None]
    return torch.stack(norms).norm().item() if norms else 0.0
