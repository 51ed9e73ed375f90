"""Semi-hard triplet loss: negatives just beyond the positive, not nearer than it."""

import math
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from stt_bench.losses.base import LossResult, RankingLoss, loss_function
from stt_bench.losses.distances import (
    Distance,
    pairwise_distances,
    rank_with_bounds,
    tie_width,
    unsorted,
)
from stt_bench.losses.parameters import Limits
from stt_bench.losses.registry import register_loss
from stt_bench.losses.search import Range
from stt_bench.losses.terms import (
    has_negative,
    hinge,
    mean_over_anchors,
    positive_pairs,
    same_class,
)
from stt_bench.unit_length import unit_length

SemiHardMargin = Annotated[float | Literal["soft"], Limits(low=0.0)]
Per = Literal["pair", "anchor"]


@loss_function
def semi_hard_triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: SemiHardMargin = 0.2,
    distance: Distance = "squared_euclidean",
    normalize: bool = True,
    per: Per = "pair",
    semi_margin: float = 0.0,
) -> LossResult:
    """Return (loss, diagnostics) of the semi-hard triplet loss.

        mean over terms of h( d(a, p) − d(a, n*) ),
        n* = the nearest negative with d(a, n) > d(a, p) + semi_margin

    with h(v) = [v + margin]₊, or log(1 + eᵛ) for margin "soft". There are two definitions:

    - per "pair": one term for every ordered positive pair (a, p); where no negative is far
      enough, n* is the farthest one of the anchor.
    - per "anchor": one term for every anchor, p its farthest positive; where no negative is far
      enough, the term is 0 and stays in the mean.

    Args:
        embeddings: (B, D).
        labels: (B,) or (B, 1).
        margin: a number in the unit of `distance`, or "soft".
        distance: "euclidean", "squared_euclidean", "cosine" or "cityblock".
        normalize: scale the embeddings to length 1 first.
        per: "pair" or "anchor".
        semi_margin: how much farther than the positive n* must be; negative values also admit
            somewhat nearer negatives.

    Raises:
        ValueError: for a malformed batch or an impossible parameter.

    Source: Schroff, Kalenichenko and Philbin, "FaceNet", CVPR 2015. The defaults are those of
    tf_retrieval_baseline and softmax_triplet_loss; triplet-tools is per "anchor" with
    margin 1 and distance "euclidean".

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [3.0]])
        >>> y = torch.tensor([0, 0, 1])
        >>> semi_hard_triplet_loss(x, y, margin=2.0, distance="euclidean", normalize=False)[0]
        tensor(0.5000)

    """
    if normalize:
        embeddings = unit_length(embeddings)
    distances = pairwise_distances(embeddings, distance)
    same = same_class(labels, distances.dtype)
    with torch.no_grad():
        bounds = distances + semi_margin
        bounds += tie_width(distances, bounds)
        order, is_negative = rank_with_bounds(distances, same, bounds)
        # The last negative before a pair is the nearest beyond its bound. Places count from 1.
        last = same.shape[1]
        place = torch.arange(1, last + 1, dtype=same.dtype, device=labels.device)
        before = (is_negative * place).cummax(1).values
        first = (last + 1 - before.sign().sum(1, keepdim=True)).clamp(max=last)
        chosen = unsorted(order.gather(1, torch.maximum(before, first).long() - 1), order)
        pairs = positive_pairs(same)
        if per == "anchor":
            farthest = torch.where(pairs > 0, distances, -math.inf).max(1, keepdim=True).indices
            pairs = torch.zeros_like(pairs).scatter_(1, farthest, 1.0) * pairs
    negative = distances.gather(1, chosen)
    terms = hinge(distances - negative, margin)
    if per == "anchor":
        terms = torch.where(negative <= bounds, 0.0, terms)
    sizes = same.sum(1)
    valid = pairs * has_negative(sizes)[:, None]
    return mean_over_anchors(terms, valid, sizes, margin)


@register_loss("semi_hard_triplet")
class SemiHardTripletLoss(RankingLoss, function=semi_hard_triplet_loss):
    """Semi-hard triplet loss as a module; see `semi_hard_triplet_loss`."""

    # Our own range for every form of triplets, the same for all data.
    search: ClassVar[dict[str, Range]] = {
        "margin": Range(0.01, 1.0, "log"),
    }

    with_memory = True
    with_weights = True
