"""Easy positive loss: each anchor tells its nearest positive from its negatives."""

from typing import Annotated, ClassVar, Literal

from torch import Tensor

from stt_bench.losses.base import LossResult, loss_function
from stt_bench.losses.distances import tie_width
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
def easy_positive_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    temperature: Annotated[float, ABOVE_0] = 0.1,
    negatives: Literal["hard", "semi_hard", "all"] = "hard",
) -> LossResult:
    """Return (loss, diagnostics) of the easy positive loss.

        mean over anchors a of log(exp(s_ap / T) + Σ_n exp(s_an / T)) − s_ap / T

    where s is the cosine, T the temperature, p the nearest positive, and n the nearest negative;
    or with negatives "semi_hard" the nearest of those less similar than p, an anchor without one
    being no term; or every negative with "all". So a class need not gather in one place.

    Args:
        embeddings: (B, D), of any length: only their directions count.
        labels: (B,) or (B, 1).
        temperature: above 0.
        negatives: "hard", "semi_hard" or "all".

    Raises:
        ValueError: for a malformed batch or an impossible parameter.

    Source: Xuan, Stylianou and Pless, "Improved Embeddings with Easy Positive Triplet Mining",
    WACV 2020, with the temperature of its published code.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> easy_positive_loss(x, torch.tensor([0, 0, 1]), temperature=0.5)[0]
        tensor(0.5881)

    """
    distances = cosine_distances(embeddings)
    same = same_class(labels, distances.dtype)
    sizes = same.sum(1)
    valid = has_both(sizes)
    nearest, _ = (distances + FAR * (1 - positive_pairs(same))).min(1)
    if negatives == "all":
        crowd = log_total(distances / -temperature, 1 - same)
    else:
        left_out = same
        if negatives == "semi_hard":
            bound = nearest.detach()[:, None]
            reach = bound + tie_width(distances.detach(), bound)
            left_out = same.maximum((distances.detach() <= reach).to(same.dtype))
            valid = valid * (left_out.sum(1) < same.shape[1])
        crowd = (distances + FAR * left_out).min(1).values / -temperature
    terms = soft_plus(crowd + nearest / temperature)
    return mean_over_anchors(terms, valid, sizes, "soft")


@register_loss("easy_positive")
class EasyPositiveLoss(SimilarityLoss, function=easy_positive_loss):
    """Easy positive loss as a module; see `easy_positive_loss`."""

    # The Reality Check's range for NT-Xent (Musgrave, Belongie and Lim, ECCV 2020).
    search: ClassVar[dict[str, Range]] = {
        "temperature": Range(1e-4, 1e2, "log"),
    }
