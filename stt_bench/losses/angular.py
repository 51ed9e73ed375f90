"""Angular loss: bounds the angle at the negative instead of a difference of distances."""

import math
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from stt_bench.losses.base import BatchLayout, LossResult, RankingLoss, loss_function
from stt_bench.losses.pairs import pair_cross_entropy, split_pairs
from stt_bench.losses.parameters import AtLeast0, Limits
from stt_bench.losses.registry import register_loss
from stt_bench.losses.search import Range
from stt_bench.unit_length import unit_length


@loss_function
def angular_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    angle: Annotated[float, Limits(low=0.0, high=90.0, strict=True)] = 45.0,
    l2_weight: AtLeast0 = 0.002,
    normalize: bool = True,
) -> LossResult:
    """Return (loss, diagnostics) of the angular loss.

        mean over pairs i of − Σ_j t_ij · log softmax_j(s_ij)
        + ¼ · l2_weight · (mean ‖a‖² + mean ‖p‖²),
        s_ii = 2(1 + tan²α) a_i·p_i,   s_ij = 4 tan²α (a_i + p_i)·p_j

    where a_i is row 2i, p_i row 2i + 1, and t_ij spreads a mass of 1 over the pairs j of the class
    of pair i. If all classes differ this is mean log(1 + Σ_j≠i exp(s_ij − s_ii)): only the other
    pairs' positives serve as negatives. Pairs are skipped as in `npairs_loss`.

    Args:
        embeddings: (B, D).
        labels: (B,) or (B, 1).
        angle: α in degrees, between 0 and 90.
        l2_weight: weight of the penalty on the embeddings' length, a constant if `normalize`.
        normalize: scale the embeddings to length 1 first.

    Raises:
        ValueError: for a malformed batch or an impossible parameter.

    Source: Wang, Zhou, Wen, Liu and Lin, "Deep Metric Learning with Angular Loss", ICCV 2017;
    tf_retrieval_baseline.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> angular_loss(x, torch.tensor([0, 0, 1, 1]), l2_weight=0.0)[0]
        tensor(0.0181)

    """
    if normalize:
        embeddings = unit_length(embeddings)
    pairs = split_pairs(embeddings, labels)
    anchors, positives = pairs.anchors, pairs.positives
    tan2 = math.tan(math.radians(angle)) ** 2
    between = 4 * tan2 * (anchors + positives) @ positives.T
    within = 2 * (1 + tan2) * (anchors * positives).sum(1)
    diagonal = torch.eye(len(within), dtype=torch.bool, device=within.device)
    logits = torch.where(diagonal, within[:, None], between)
    return pair_cross_entropy(logits, pairs, l2_weight)


@register_loss("angular")
class AngularLoss(RankingLoss, function=angular_loss):
    """Angular loss as a module; see `angular_loss`."""

    # Our own range, the same for all data.
    search: ClassVar[dict[str, Range]] = {
        "angle": Range(30.0, 60.0),
        "l2_weight": Range(1e-4, 1e-1, "log"),
    }

    batch_layout: BatchLayout = "pairs"
    with_weights = True

    def search_ranges(self) -> dict[str, Range]:
        """Return the ranges; the penalty is a constant where the length is 1."""
        found = super().search_ranges()
        if self.normalize:
            del found["l2_weight"]
        return found
