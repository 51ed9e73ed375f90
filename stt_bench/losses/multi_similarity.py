"""Multi-similarity loss: soft sums over the pairs that are hard beside the anchor's other pairs."""

from typing import Annotated, ClassVar

from torch import Tensor

from stt_bench.losses.base import LossResult, loss_function
from stt_bench.losses.distances import tie_width
from stt_bench.losses.parameters import Limits
from stt_bench.losses.registry import register_loss
from stt_bench.losses.search import Range
from stt_bench.losses.similarities import (
    ABOVE_0,
    FAR,
    SimilarityLoss,
    cosine_distances,
    log_total,
    soft_plus,
)
from stt_bench.losses.terms import (
    has_both,
    mean_over_anchors,
    positive_pairs,
    same_class,
)


@loss_function
def multi_similarity_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    alpha: Annotated[float, ABOVE_0] = 2.0,
    beta: Annotated[float, ABOVE_0] = 50.0,
    base: float = 0.5,
    epsilon: Annotated[float | None, Limits(low=0.0)] = 0.1,
) -> LossResult:
    """Return (loss, diagnostics) of the multi-similarity loss.

        mean over anchors a of log(1 + Σ_p exp(−alpha · (s_ap − base))) / alpha
                             + log(1 + Σ_n exp(beta · (s_an − base))) / beta

    where s is the cosine, p runs over the positives with s_ap − epsilon < max_n s_an, and n over
    the negatives with s_an + epsilon > min_p s_ap. No gradient goes through that choice. An anchor
    whose pairs are all left out is a term of 0; `active` is the share of the others.

    Args:
        embeddings: (B, D), of any length: only their directions count.
        labels: (B,) or (B, 1).
        alpha: above 0, how much harder a positive counts the lower its cosine is.
        beta: above 0, how much harder a negative counts the higher its cosine is.
        base: the cosine that both are measured from.
        epsilon: at least 0, how far from the hardest opposite pair a pair is still chosen; None
            (null in a table) chooses all pairs.

    Raises:
        ValueError: for a malformed batch or an impossible parameter.

    Source: Wang, Han, Huang, Dong and Scott, "Multi-Similarity Loss with General Pair Weighting
    for Deep Metric Learning", CVPR 2019; `base` and `beta` as in pytorch-metric-learning.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> multi_similarity_loss(x, torch.tensor([0, 0, 1]))[0]
        tensor(0.2995)

    """
    distances = cosine_distances(embeddings)
    same = same_class(labels, distances.dtype)
    positives, negatives = positive_pairs(same), 1 - same
    sizes = same.sum(1)
    if epsilon is not None:
        positives, negatives = _hard(distances.detach(), positives, negatives, epsilon)
    above = 1 - base - distances  # s − base
    pull = soft_plus(log_total(-alpha * above, positives)) / alpha
    push = soft_plus(log_total(beta * above, negatives)) / beta
    terms, valid = pull + push, has_both(sizes)
    return mean_over_anchors(terms, valid, sizes, "soft" if epsilon is None else 0.0)


def _hard(
    distances: Tensor, positives: Tensor, negatives: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Return the positives and negatives, (B, B) of 1 and 0, that the mining leaves."""
    nearest = (distances + FAR * (1 - negatives)).amin(1, keepdim=True)
    farthest = (distances - FAR * (1 - positives)).amax(1, keepdim=True)
    hard_positives = distances - nearest + epsilon > tie_width(distances, nearest)
    hard_negatives = farthest - distances + epsilon > tie_width(distances, farthest)
    return positives * hard_positives, negatives * hard_negatives


@register_loss("multi_similarity")
class MultiSimilarityLoss(SimilarityLoss, function=multi_similarity_loss):
    """Multi-similarity loss as a module; see `multi_similarity_loss`."""

    # The Reality Check's range (Musgrave, Belongie and Lim, ECCV 2020); α and β, linear there, as
    # logarithms.
    search: ClassVar[dict[str, Range]] = {
        "alpha": Range(0.01, 100.0, "log"),
        "beta": Range(0.01, 100.0, "log"),
        "base": Range(0.0, 1.0),
        "epsilon": Range(0.0, 1.0),
    }
