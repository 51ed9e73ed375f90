"""What of a batch is looked at in TensorBoard: its distances, and its hardest triplets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

TRIPLETS, SIDE = 4, 96  # rows of the picture, and their height at most, pixels
BARS = 30  # of a histogram, all of one width, from 0 to the largest distance


@torch.no_grad()
def pair_distances(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Euclidean distances of the pairs of one class, and of the pairs of two.

    Args:
        embeddings: (B, D).
        labels: (B,).

    Returns:
        Two vectors of float64 on the CPU, each pair once; those that are not finite are left out.
    """
    distance, same = _distances(embeddings, labels)
    first, second = torch.triu_indices(len(distance), len(distance), offset=1)
    values, alike = distance[first, second], same[first, second]
    values, alike = values[values.isfinite()], alike[values.isfinite()]
    return values[alike], values[~alike]


def histogram(distances: Tensor) -> dict[str, Any]:
    """Return what TensorBoard's `add_histogram_raw` takes of distances (N,), of which one is there.

    TensorBoard's own bars are each a tenth wider than the one before, and dearer: 1,549 of them.
    """
    longest = float(distances.max())
    counts = torch.histc(distances, BARS, 0.0, longest or 1.0)
    limits = torch.linspace(0.0, longest or 1.0, BARS + 1, dtype=torch.float64)[1:]
    return {
        "min": float(distances.min()),
        "max": longest,
        "num": len(distances),
        "sum": float(distances.sum()),
        "sum_squares": float(distances @ distances),
        "bucket_limits": limits.tolist(),
        "bucket_counts": counts.tolist(),
    }


@torch.no_grad()
def hardest_triplets(embeddings: Tensor, labels: Tensor, count: int = TRIPLETS) -> Tensor:
    """Return the hardest triplets of a batch, the hardest first.

    Each anchor is taken with the farthest item of its class and the nearest of another; a triplet
    is the harder, the greater d(anchor, positive) − d(anchor, negative).

    Args:
        embeddings: (B, D).
        labels: (B,).
        count: triplets at most.

    Returns:
        (T, 3) rows of the batch: anchor, positive, negative.
    """
    distance, same = _distances(embeddings, labels)
    other = same & ~torch.eye(len(distance), dtype=torch.bool)
    far, positive = distance.masked_fill(~other, -torch.inf).max(dim=1)
    near, negative = distance.masked_fill(same, torch.inf).min(dim=1)
    margin = far - near
    anchors = torch.argsort(margin, descending=True, stable=True)
    anchors = anchors[margin[anchors].isfinite()][:count]
    return torch.stack([anchors, positive[anchors], negative[anchors]], dim=1)


def triplet_picture(images: Tensor, triplets: Tensor) -> Tensor:
    """Return uint8 (3, T·S, 3·S): a row of anchor, positive and negative for each triplet.

    Args:
        images: (B, C, S, S) uint8, of one or three channels; larger ones are made smaller.
        triplets: (T, 3) rows of the batch.
    """
    chosen = images[triplets.flatten().to(images.device)].cpu()
    if chosen.shape[-1] > SIDE:
        small = torch.nn.functional.interpolate(chosen.float(), size=(SIDE, SIDE), mode="area")
        chosen = small.round().to(torch.uint8)
    side = chosen.shape[-1]
    parts = chosen.expand(-1, 3, -1, -1).reshape(len(triplets), 3, 3, side, side)
    return parts.permute(2, 0, 3, 1, 4).reshape(3, len(triplets) * side, 3 * side)


def _distances(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    x, labels = embeddings.detach().double().cpu(), labels.flatten().cpu()
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    return distance, labels[:, None] == labels[None, :]
