"""NT-Xent loss: in every positive pair, the anchor tells its positive from the negatives."""

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from stt_bench.losses.base import LossResult, loss_function
from stt_bench.losses.registry import register_loss
from stt_bench.losses.search import Range
from stt_bench.losses.similarities import (
    ABOVE_0,
    SimilarityLoss,
    cosine_distances,
    log_total,
    soft_plus,
)
from stt_bench.losses.terms import (
    has_negative,
    mean_over_anchors,
    positive_pairs,
    same_class,
)


@loss_function
def ntxent_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    temperature: Annotated[float, ABOVE_0] = 0.07,
    denominator: Literal["own", "others"] = "own",
) -> LossResult:
    """Return (loss, diagnostics) of the normalised, temperature-scaled cross-entropy.

        mean over ordered positive pairs (a, p) of log Σ_k exp(s_ak / T) − s_ap / T

    where s is the cosine, T the temperature, and k runs over the pair's own p and the negatives of
    a; or with denominator "others" over every row but a. Both are the source's loss where each
    class has two rows. A class of K rows weighs K(K − 1).

    Args:
        embeddings: (B, D), of any length: only their directions count.
        labels: (B,) or (B, 1).
        temperature: above 0; the smaller, the more the hardest rows count.
        denominator: "own" or "others": whether the other positives are left out or told apart too.

    Raises:
        ValueError: for a malformed batch or an impossible parameter.

    Source: Chen, Kornblith, Norouzi and Hinton, "A Simple Framework for Contrastive Learning of
    Visual Representations", ICML 2020; "own" and T = 0.07 as in pytorch-metric-learning.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> ntxent_loss(x, torch.tensor([0, 0, 1]), temperature=0.5)[0]
        tensor(0.5881)

    """
    distances = cosine_distances(embeddings)
    same = same_class(labels, distances.dtype)
    logits = distances / -temperature  # of every row 1/T too small, which cancels
    if denominator == "own":
        terms = soft_plus(log_total(logits, 1 - same)[:, None] - logits)
    else:
        terms = log_total(logits, positive_pairs(torch.ones_like(same)))[:, None] - logits
    sizes = same.sum(1)
    valid = positive_pairs(same) * has_negative(sizes)[:, None]
    return mean_over_anchors(terms, valid, sizes, "soft")


@register_loss("ntxent")
class NTXentLoss(SimilarityLoss, function=ntxent_loss):
    """NT-Xent loss as a module; see `ntxent_loss`."""

    # The Reality Check's range (Musgrave, Belongie and Lim, ECCV 2020).
    search: ClassVar[dict[str, Range]] = {
        "temperature": Range(1e-4, 1e2, "log"),
    }
