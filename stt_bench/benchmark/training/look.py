"""What of a batch is looked at in TensorBoard: its distances, and its hardest triplets."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stt_bench.benchmark.training.health import BatchPairs

TRIPLETS, SIDE = 4, 96  # rows of the picture, and their height at most, pixels
BARS = 30  # of a histogram, all of one width, from 0 to the largest distance


def shown(pairs: BatchPairs, images: Tensor | None = None) -> list[Any]:
    """Return TensorBoard's values of a batch: its distances and, of images, hardest triplets.

    Args:
        pairs: of the batch.
        images: (B, C, S, S), uint8, of the whole batch; anything else is not shown.
    """
    from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary

    values = []
    for name, of_kind in zip(("positives", "negatives"), pair_distances(pairs), strict=True):
        if len(of_kind):
            bars = HistogramProto(**histogram(of_kind))
            values.append(Summary.Value(tag=f"distances/{name}", histo=bars))
    if images is None or images.dtype != torch.uint8 or len(images) != len(pairs.norms):
        return values
    triplets = hardest_triplets(pairs)
    if len(triplets):
        picture = triplet_picture(images, triplets)
        height, width, colours = picture.shape
        encoded = io.BytesIO()
        Image.fromarray(picture.squeeze(2).numpy()).save(encoded, format="PNG", compress_level=1)
        image = Summary.Image(
            height=height,
            width=width,
            colorspace=colours,
            encoded_image_string=encoded.getvalue(),
        )
        tag = "hardest triplets (anchor, positive, negative)"
        values.append(Summary.Value(tag=tag, image=image))
    return values


def pair_distances(pairs: BatchPairs) -> tuple[np.ndarray, np.ndarray]:
    """Return the Euclidean distances of the pairs of one class, and of the pairs of two.

    Returns:
        Two vectors of float64, each pair once; those that are not finite are left out.
    """
    upper = np.tri(len(pairs.same), k=-1, dtype=bool).T & np.isfinite(pairs.distance)
    return pairs.distance[upper & pairs.same], pairs.distance[upper & ~pairs.same]


def histogram(distances: np.ndarray) -> dict[str, Any]:
    """Return what TensorBoard's histogram has of distances (N,), of which one is there.

    TensorBoard's own bars are each a tenth wider than the one before, and dearer: 1,549 of them.
    """
    longest = float(distances.max())
    bars = np.minimum((distances / (longest or 1.0) * BARS).astype(int), BARS - 1)
    with np.errstate(over="ignore"):
        total, squares = float(distances.sum()), float(distances @ distances)
    return {
        "min": float(distances.min()),
        "max": longest,
        "num": len(distances),
        "sum": total,
        "sum_squares": squares,
        "bucket_limit": np.linspace(0.0, longest or 1.0, BARS + 1)[1:].tolist(),
        "bucket": np.bincount(bars, minlength=BARS).tolist(),
    }


def hardest_triplets(pairs: BatchPairs, count: int = TRIPLETS) -> Tensor:
    """Return the hardest triplets of a batch, the hardest first.

    Each anchor is taken with the farthest item of its class and the nearest of another; a triplet
    is the harder, the greater d(anchor, positive) − d(anchor, negative).

    Args:
        pairs: of the batch.
        count: triplets at most.

    Returns:
        (T, 3) rows of the batch: anchor, positive, negative.
    """
    other = pairs.same & ~np.eye(len(pairs.same), dtype=bool)
    far = np.where(other, pairs.distance, -np.inf)
    near = np.where(pairs.same, np.inf, pairs.distance)
    positive, negative = far.argmax(axis=1), near.argmin(axis=1)
    with np.errstate(invalid="ignore"):  # of distances that are not finite
        margin = far.max(axis=1) - near.min(axis=1)
    anchors = np.argsort(-margin, kind="stable")
    anchors = anchors[np.isfinite(margin[anchors])][:count]
    return torch.from_numpy(np.stack([anchors, positive[anchors], negative[anchors]], axis=1))


def triplet_picture(images: Tensor, triplets: Tensor) -> Tensor:
    """Return uint8 (T·S, 3·S, C): a row of anchor, positive and negative for each triplet.

    Args:
        images: (B, C, S, S) uint8, of one or three channels; larger ones are made smaller.
        triplets: (T, 3) rows of the batch.
    """
    chosen = images[triplets.flatten().to(images.device)].cpu()
    if chosen.shape[-1] > SIDE:
        small = torch.nn.functional.interpolate(chosen.float(), size=(SIDE, SIDE), mode="area")
        chosen = small.round().to(torch.uint8)
    side = chosen.shape[-1]
    parts = chosen.reshape(len(triplets), 3, -1, side, side)
    return parts.permute(0, 3, 1, 4, 2).reshape(len(triplets) * side, 3 * side, -1)
