"""Supervised contrastive loss: an anchor tells its positives, all at once, from the batch."""

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from stt_bench.losses.base import LossResult, loss_function
from stt_bench.losses.registry import register_loss
from stt_bench.losses.search import Range
from stt_bench.losses.similarities import ABOVE_0, SimilarityLoss, cosine_distances, log_total
from stt_bench.losses.terms import (
    has_both,
    mean_over_anchors,
    positive_pairs,
    same_class,
)


@loss_function
def supcon_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    temperature: Annotated[float, ABOVE_0] = 0.1,
    form: Literal["out", "in"] = "out",
) -> LossResult:
    """Return (loss, diagnostics) of the supervised contrastive loss.

        out: mean over anchors a of log Σ_k exp(s_ak / T) − mean over positives p of s_ap / T
        in:  mean over anchors a of log Σ_k exp(s_ak / T) − log mean over p of exp(s_ap / T)

    where s is the cosine, T the temperature, and k runs over every row but the anchor. "in" is
    never above "out", and equal to it where each class has two rows.

    Args:
        embeddings: (B, D), of any length: only their directions count.
        labels: (B,) or (B, 1).
        temperature: above 0; the smaller, the more the hardest rows count.
        form: "out" or "in", by which side of the logarithm the mean over the positives is on.

    Raises:
        ValueError: for a malformed batch or an impossible parameter.

    Source: Khosla, Teterwak, Wang and others, "Supervised Contrastive Learning", NeurIPS 2020, as
    a mean over anchors; without the factor of its published code, which is 1 by default.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> supcon_loss(x, torch.tensor([0, 0, 1]), temperature=0.5)[0]
        tensor(0.5881)

    """
    distances = cosine_distances(embeddings)
    same = same_class(labels, distances.dtype)
    positives = positive_pairs(same)
    logits = distances / -temperature  # of every row 1/T too small, which cancels
    others = log_total(logits, positive_pairs(torch.ones_like(same)))
    sizes = same.sum(1)
    count = (sizes - 1).clamp(min=1)
    if form == "out":
        terms = others - (positives * logits).sum(1) / count
    else:
        terms = others - log_total(logits, positives) + count.log()
    valid = has_both(sizes)
    return mean_over_anchors(terms, valid, sizes, "soft")


@register_loss("supcon")
class SupConLoss(SimilarityLoss, function=supcon_loss):
    """Supervised contrastive loss as a module; see `supcon_loss`."""

    # The Reality Check's range for NT-Xent (Musgrave, Belongie and Lim, ECCV 2020).
    search: ClassVar[dict[str, Range]] = {
        "temperature": Range(1e-4, 1e2, "log"),
    }
