"""Lifted structured loss: every positive pair against all negatives of both its ends."""

import torch
from torch import Tensor

from stt_bench.losses.base import LossResult, RankingLoss, loss_function
from stt_bench.losses.distances import pairwise_distances
from stt_bench.losses.parameters import AtLeast0
from stt_bench.losses.registry import register_loss
from stt_bench.losses.terms import (
    anchor_counts,
    has_negative,
    masked_mean,
    out_of_reach,
    positive_pairs,
    same_class,
    term_counts,
)
from stt_bench.unit_length import unit_length


@loss_function
def lifted_loss(
    embeddings: Tensor, labels: Tensor, *, margin: AtLeast0 = 1.0, normalize: bool = False
) -> LossResult:
    """Return (loss, diagnostics) of the lifted structured loss.

        ½ · mean over positive pairs {i, j} of [J_ij]₊²,
        J_ij = log( Σ_k exp(margin − d(i, k)) + Σ_l exp(margin − d(j, l)) ) + d(i, j)

    where k runs over the negatives of i, l over those of j, and d is the Euclidean distance. A
    pair counts if its class has a negative in the batch. `terms` counts unordered pairs.

    Args:
        embeddings: (B, D).
        labels: (B,) or (B, 1).
        margin: a number, in the unit of the distance.
        normalize: scale the embeddings to length 1 first.

    Raises:
        ValueError: for a malformed batch or an impossible parameter.

    Source: Song, Xiang, Jegelka and Savarese, "Deep Metric Learning via Lifted Structured Feature
    Embedding", CVPR 2016, with the smooth maximum of its published code; tf_retrieval_baseline.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [5.0]])
        >>> lifted_loss(x, torch.tensor([0, 0, 1]), margin=4.0)[0]
        tensor(0.8623)

    """
    if normalize:
        embeddings = unit_length(embeddings)
    distances = pairwise_distances(embeddings)
    same = same_class(labels, distances.dtype)
    closeness = torch.sub(margin - distances, same, alpha=out_of_reach(same.dtype))
    crowd = closeness.logsumexp(1)
    sizes = same.sum(1)
    valid = positive_pairs(same) * has_negative(sizes)[:, None]
    terms = (torch.logaddexp(crowd[:, None], crowd[None, :]) + distances).relu() * valid
    diagnostics = term_counts(terms, valid) | anchor_counts(sizes)
    diagnostics["terms"] //= 2  # each pair was seen from both ends
    return 0.5 * masked_mean(terms.square(), valid), diagnostics


@register_loss("lifted")
class LiftedLoss(RankingLoss, function=lifted_loss):
    """Lifted structured loss as a module; see `lifted_loss`."""
