"""Lifted structured loss: every positive pair against all negatives of both its ends."""

from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from stt_bench.losses.base import LossResult, RankingLoss, loss_function
from stt_bench.losses.distances import pairwise_distances
from stt_bench.losses.parameters import Limits
from stt_bench.losses.registry import register_loss
from stt_bench.losses.search import Range
from stt_bench.losses.similarities import log_total, soft_plus
from stt_bench.losses.terms import (
    Margin,
    anchor_counts,
    has_both,
    has_negative,
    masked_mean,
    mean_over_anchors,
    out_of_reach,
    positive_pairs,
    same_class,
    term_counts,
)
from stt_bench.losses.weights import pair_weights, weighted_mean
from stt_bench.unit_length import unit_length

LiftedMargin = Annotated[float | Literal["soft"], Limits(low=0.0)]


@loss_function
def lifted_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: LiftedMargin = 1.0,
    normalize: bool = False,
    form: Literal["structured", "generalized"] = "structured",
) -> LossResult:
    """Return (loss, diagnostics) of the lifted structured loss.

        ½ · mean over positive pairs {i, j} of [J_ij]₊²,
        J_ij = log( Σ_k exp(margin − d(i, k)) + Σ_l exp(margin − d(j, l)) ) + d(i, j)

    where k runs over the negatives of i, l over those of j, and d is the Euclidean distance. A
    pair counts if its class has a negative in the batch. `terms` counts unordered pairs.

    With form "generalized", every anchor a is a term of its positives p and negatives n:

        mean over anchors a of h( log Σ_p exp(d(a, p)) + log Σ_n exp(−d(a, n)) )

    with h(v) = [v + margin]₊, or log(1 + eᵛ) for margin "soft".

    Args:
        embeddings: (B, D).
        labels: (B,) or (B, 1).
        margin: a number, in the unit of the distance; or "soft", with form "generalized".
        normalize: scale the embeddings to length 1 first.
        form: "structured" or "generalized".

    Raises:
        ValueError: for a malformed batch or an impossible parameter.

    Source: Song, Xiang, Jegelka and Savarese, "Deep Metric Learning via Lifted Structured Feature
    Embedding", CVPR 2016, with the smooth maximum of its published code; tf_retrieval_baseline.
    "generalized": Hermans, Beyer and Leibe, "In Defense of the Triplet Loss for Person
    Re-Identification", 2017, with a mean where the paper has a sum.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [5.0]])
        >>> lifted_loss(x, torch.tensor([0, 0, 1]), margin=4.0)[0]
        tensor(0.8623)

    """
    number = _number(margin, form)
    if normalize:
        embeddings = unit_length(embeddings)
    distances = pairwise_distances(embeddings)
    same = same_class(labels, distances.dtype)
    if form == "generalized":
        return _generalized(distances, same, margin)
    closeness = torch.sub(number - distances, same, alpha=out_of_reach(same.dtype))
    crowd = closeness.logsumexp(1)
    sizes = same.sum(1)
    valid = positive_pairs(same) * has_negative(sizes)[:, None]
    terms = (torch.logaddexp(crowd[:, None], crowd[None, :]) + distances).relu() * valid
    weights = pair_weights()
    shares = valid if weights is None else valid * weights
    diagnostics = term_counts(terms, shares.sign()) | anchor_counts(sizes)
    diagnostics["terms"] //= 2  # each pair was seen from both ends
    mean = masked_mean if weights is None else weighted_mean
    return 0.5 * mean(terms.square(), shares), diagnostics


def _number(margin: Margin, form: str) -> float:
    """Return the margin as a number, 0 for "soft", which only the generalized form knows."""
    if not isinstance(margin, str):
        return margin
    if form != "generalized":
        raise ValueError(f"margin must be a number with form {form!r}, got {margin!r}")
    return 0.0


def _generalized(distances: Tensor, same: Tensor, margin: Margin) -> LossResult:
    positive = log_total(distances, positive_pairs(same))
    excess = positive + log_total(-distances, 1 - same)
    terms = soft_plus(excess) if isinstance(margin, str) else (excess + margin).relu()
    sizes = same.sum(1)
    valid = has_both(sizes)
    return mean_over_anchors(terms, valid, sizes, margin)


@register_loss("lifted")
class LiftedLoss(RankingLoss, function=lifted_loss):
    """Lifted structured loss as a module; see `lifted_loss`."""

    # Our own range, the same for all data.
    search: ClassVar[dict[str, Range]] = {
        "margin": Range(0.1, 2.0),
    }

    with_weights = True

    margin: Margin
    form: str

    def __init__(self, **parameters: Any) -> None:
        """Check and keep the parameters; ValueError for an impossible one."""
        super().__init__(**parameters)
        _number(self.margin, self.form)
        self.with_memory = self.form == "generalized"  # the other compares both ends of a pair
