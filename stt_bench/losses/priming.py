"""Priming loss: pulls a fresh or collapsed network apart before a triplet loss takes over."""

from torch import Tensor

from stt_bench.losses.base import LossResult, RankingLoss, loss_function
from stt_bench.losses.distances import Distance
from stt_bench.losses.hard_triplet import hardest
from stt_bench.losses.registry import register_loss
from stt_bench.losses.terms import has_both, mean_over_anchors
from stt_bench.unit_length import unit_length


@loss_function
def priming_loss(
    embeddings: Tensor, labels: Tensor, *, distance: Distance = "euclidean", normalize: bool = True
) -> LossResult:
    """Return (loss, diagnostics) of the priming loss.

        mean over anchors a of max_p d(a, p)² + exp(−10 · min_n d(a, n))

    There is no margin: the second part is steep where classes coincide, and vanishes once they
    are apart.

    Args:
        embeddings: (B, D).
        labels: (B,) or (B, 1).
        distance: "euclidean", "squared_euclidean", "cosine" or "cityblock".
        normalize: scale the embeddings to length 1 first.

    Raises:
        ValueError: for a malformed batch or an impossible parameter.

    Source: triplet-tools, whose `euclidean_norm` is the default here.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0], [-0.6, -0.8]])
        >>> priming_loss(x, torch.tensor([0, 0, 1, 1]))[0]
        tensor(0.8000)

    """
    if normalize:
        embeddings = unit_length(embeddings)
    positive, negative, sizes = hardest(embeddings, labels, distance)
    terms = positive.square() + (-10 * negative).exp()
    return mean_over_anchors(terms, has_both(sizes), sizes, "soft")


@register_loss("priming")
class PrimingLoss(RankingLoss, function=priming_loss):
    """Priming loss as a module; see `priming_loss`."""

    with_memory = True
    with_weights = True
