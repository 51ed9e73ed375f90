"""Health metrics of a training batch, after the Fashion-MNIST study, correctly averaged."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

COLLAPSED_SPREAD = 1e-3
"""Mean pair distance ÷ mean norm below which an embedding counts as collapsed to one point."""


@torch.no_grad()
def batch_health(embeddings: Tensor, labels: Tensor) -> dict[str, float]:
    """Return how the embeddings of one batch lie.

    Args:
        embeddings: (B, D); labels: (B,).

    Returns:
        ``mean_norm``: mean L2 norm; ``distance_within`` and ``distance_between``: mean Euclidean
        distance over the distinct pairs of one class and of two classes (the study averaged over
        all B² entries, zeros included, which halves the value); ``hardest_positive`` and
        ``hardest_negative``: means over the anchors that have one; ``spread``: mean pair distance
        ÷ mean norm. A quantity without any pair is left out.
    """
    x = embeddings.detach().double()
    labels = labels.flatten()
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    same = labels[:, None] == labels[None, :]
    distinct = ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    positive, negative = same & distinct, ~same
    norm = x.norm(dim=1).mean().item()
    health = {"mean_norm": norm}
    for name, mask in (("distance_within", positive), ("distance_between", negative)):
        if mask.any():
            health[name] = distance[mask].mean().item()
    if positive.any():
        hardest = distance.masked_fill(~positive, -math.inf).amax(dim=1)
        health["hardest_positive"] = hardest[positive.any(dim=1)].mean().item()
    if negative.any():
        hardest = distance.masked_fill(~negative, math.inf).amin(dim=1)
        health["hardest_negative"] = hardest[negative.any(dim=1)].mean().item()
    if distinct.any():
        mean_distance = distance[distinct].mean().item()
        health["spread"] = mean_distance / norm if norm > 0 else 0.0
    return health


def gradient_norm(parameters: Iterable[Tensor]) -> float:
    """Return the L2 norm of all gradients together."""
    norms = [p.grad.detach().float().norm() for p in parameters if p.grad is not None]
    return torch.stack(norms).norm().item() if norms else 0.0
