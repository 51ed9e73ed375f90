"""Batch-hard triplet loss: every anchor against its farthest positive and its nearest negative."""

import math
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from stt_bench.losses.base import LossResult, RankingLoss, loss_function
from stt_bench.losses.distances import Distance, distance_keys, selected_distances
from stt_bench.losses.parameters import Limits
from stt_bench.losses.registry import register_loss
from stt_bench.losses.search import Range
from stt_bench.losses.terms import (
    has_both,
    hinge,
    mean_over_anchors,
    out_of_reach,
    same_class,
)
from stt_bench.unit_length import unit_length

HardMargin = Annotated[float | Literal["soft", "none"], Limits(low=0.0)]


@loss_function
def hard_triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: HardMargin = 1.0,
    distance: Distance = "euclidean",
    normalize: bool = False,
) -> LossResult:
    """Return (loss, diagnostics) of the batch-hard triplet loss.

        mean over anchors a of h( max_p d(a, p) − min_n d(a, n) )

    with h(v) = [v + margin]₊, or log(1 + eᵛ) for margin "soft", or v for "none". Margin and
    distances are in the unit of `distance`.

    Args:
        embeddings: (B, D).
        labels: (B,) or (B, 1).
        margin: a number, "soft" or "none".
        distance: "euclidean", "squared_euclidean", "cosine" or "cityblock".
        normalize: scale the embeddings to length 1 first.

    Raises:
        ValueError: for a malformed batch or an impossible parameter.

    Source: Hermans, Beyer and Leibe, "In Defense of the Triplet Loss for Person
    Re-Identification", 2017. tf_retrieval_baseline uses the defaults, or margin "soft";
    softmax_triplet_loss margin 0.2 on squared_euclidean, normalised; the Fashion-MNIST post
    margin 0.5; triplet-tools margin 1 on normalised embeddings.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [3.0], [4.0]])
        >>> loss, diagnostics = hard_triplet_loss(x, torch.tensor([0, 0, 1, 1]), margin=1.5)
        >>> loss, diagnostics["active"]
        (tensor(0.2500), tensor(0.5000))

    """
    if normalize:
        embeddings = unit_length(embeddings)
    positive, negative, sizes = hardest(embeddings, labels, distance)
    terms = hinge(positive - negative, margin)
    valid = has_both(sizes)
    return mean_over_anchors(terms, valid, sizes, margin)


def hardest(
    embeddings: Tensor, labels: Tensor, distance: Distance
) -> tuple[Tensor, Tensor, Tensor]:
    """Return each anchor's distances (B,) to its farthest positive and its nearest negative.

    The third tensor holds the sizes of the anchors' classes. The anchor itself stands in for a
    positive that does not exist, an arbitrary row for a negative. Only the two selected distances
    carry a gradient, which makes the backward pass O(B·D).
    """
    with torch.no_grad():
        keys = distance_keys(embeddings, distance)
        same = same_class(labels, keys.dtype)
        beyond = keys.new_full((), 2 * out_of_reach(keys.dtype))
        # Rounding may put a close positive below 0: the anchor itself must come after it.
        keys.diagonal().fill_(-out_of_reach(keys.dtype))
        farthest = torch.lerp(-beyond, keys, same).max(1)
        nearest = keys.lerp_(beyond, same).min(1)
        chosen = torch.stack([farthest.indices, nearest.indices])
        # A NaN in the batch must not be hidden by the choice of another row.
        hidden = torch.stack([farthest.values, nearest.values]).isnan()
    positive, negative = selected_distances(embeddings, chosen, distance).masked_fill(
        hidden, math.nan
    )
    return positive, negative, same.sum(1)


@register_loss("hard_triplet")
class HardTripletLoss(RankingLoss, function=hard_triplet_loss):
    """Batch-hard triplet loss as a module; see `hard_triplet_loss`."""

    # Our own range for every form of triplets, the same for all data.
    search: ClassVar[dict[str, Range]] = {
        "margin": Range(0.01, 1.0, "log"),
    }

    with_memory = True
    with_weights = True
