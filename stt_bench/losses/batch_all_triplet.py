"""Batch-all triplet loss: every valid triplet of the batch, in O(B²) memory."""

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
from stt_bench.losses.parameters import AtLeast0
from stt_bench.losses.registry import register_loss
from stt_bench.losses.terms import anchor_counts, same_class
from stt_bench.unit_length import unit_length


@loss_function
def batch_all_triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: AtLeast0 = 0.5,
    distance: Distance = "euclidean",
    normalize: bool = False,
) -> LossResult:
    """Return (loss, diagnostics) of the batch-all triplet loss.

        Σ_(a,p,n) [ d(a, p) − d(a, n) + margin ]₊  /  number of triplets with a term above 0

    The value, its gradient and the share `active` are exact, but no triplet is ever formed. With
    pos(a, p) the number of active triplets that hold the pair (a, p), and neg(a, n) likewise, the
    sum is Σ pos(a, p)·(d(a, p) + margin) − Σ neg(a, n)·d(a, n). The counts are found by sorting
    the distances of each anchor once: O(B² log B) time, O(B²) memory.

    Args:
        embeddings: (B, D).
        labels: (B,) or (B, 1).
        margin: a number in the unit of `distance`.
        distance: "euclidean", "squared_euclidean", "cosine" or "cityblock".
        normalize: scale the embeddings to length 1 first.

    Raises:
        ValueError: for a malformed batch or an impossible parameter.

    Source: Hermans, Beyer and Leibe, "In Defense of the Triplet Loss for Person
    Re-Identification", 2017, averaged over active triplets only; the post "Softmax vs
    Triplet loss: Fashion-MNIST".

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [3.0]])
        >>> loss, diagnostics = batch_all_triplet_loss(x, torch.tensor([0, 0, 1]), margin=1.5)
        >>> loss, diagnostics["active"]
        (tensor(0.5000), tensor(0.5000))

    """
    if normalize:
        embeddings = unit_length(embeddings)
    distances = pairwise_distances(embeddings, distance)
    same = same_class(labels, distances.dtype)
    with torch.no_grad():
        # A triplet is active if the negative's distance is below the reach of its pair.
        reach = distances + margin
        reach -= tie_width(distances, reach)
        order, is_negative = rank_with_bounds(distances, same, reach)
        farther = is_negative.cumsum(1)  # negatives, up to each place
        place = torch.arange(1, len(labels) + 1, dtype=same.dtype, device=labels.device)
        # A pair counts the negatives after it; a negative, below 0, the pairs before it.
        counts = torch.lerp(farther[:, -1:] - farther, farther - place, is_negative)
        counts = unsorted(counts, order)
        active = counts.relu().sum(1, dtype=torch.long).sum()
        # Dividing the counts first keeps the sums small.
        weights = counts / active.clamp(min=1)
    loss = (weights * distances).sum() + margin * (active > 0).to(distances.dtype)
    sizes = same.sum(1).long()
    terms = ((sizes - 1) * (len(sizes) - sizes)).sum()
    diagnostics = {"terms": terms, "active": active.to(distances.dtype) / terms.clamp(min=1)}
    return loss, diagnostics | anchor_counts(sizes)


@register_loss("batch_all_triplet")
class BatchAllTripletLoss(RankingLoss, function=batch_all_triplet_loss):
    """Batch-all triplet loss as a module; see `batch_all_triplet_loss`."""
