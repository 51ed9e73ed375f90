"""N-pairs loss: each anchor must find its positive among the positives of all pairs."""

from typing import ClassVar

from torch import Tensor

from stt_bench.losses.base import BatchLayout, LossResult, RankingLoss, loss_function
from stt_bench.losses.pairs import pair_cross_entropy, split_pairs
from stt_bench.losses.parameters import AtLeast0
from stt_bench.losses.registry import register_loss
from stt_bench.losses.search import Range


@loss_function
def npairs_loss(embeddings: Tensor, labels: Tensor, *, l2_weight: AtLeast0 = 0.002) -> LossResult:
    """Return (loss, diagnostics) of the N-pairs loss.

        mean over pairs i of − Σ_j t_ij · log softmax_j(a_i · p_j)
        + ¼ · l2_weight · (mean ‖a‖² + mean ‖p‖²)

    where a_i is row 2i, p_i row 2i + 1, and t_ij spreads a mass of 1 over the pairs j of the class
    of pair i. A pair whose two labels differ, or an odd last row, is skipped, and counted in
    `pairs_skipped`. Without a pair of another class there is nothing to tell apart, and the loss
    is 0.

    Args:
        embeddings: (B, D), not normalised by this loss.
        labels: (B,) or (B, 1).
        l2_weight: weight of the penalty on the embeddings' length.

    Raises:
        ValueError: for a malformed batch or an impossible parameter.

    Source: Sohn, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", NeurIPS
    2016; tf_retrieval_baseline, in one direction as there.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> npairs_loss(x, torch.tensor([0, 0, 1, 1]), l2_weight=0.0)[0]
        tensor(0.3133)

    """
    pairs = split_pairs(embeddings, labels)
    return pair_cross_entropy(pairs.anchors @ pairs.positives.T, pairs, l2_weight)


@register_loss("npairs")
class NPairsLoss(RankingLoss, function=npairs_loss):
    """N-pairs loss as a module; see `npairs_loss`."""

    # Our own range, the same for all data.
    search: ClassVar[dict[str, Range]] = {
        "l2_weight": Range(1e-4, 1e-1, "log"),
    }

    batch_layout: BatchLayout = "pairs"
    with_weights = True
