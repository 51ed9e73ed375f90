"""Circle loss: each cosine is pulled the harder, the farther it is from where it should be."""

from typing import Annotated, ClassVar

from torch import Tensor

from stt_bench.losses.base import LossResult, loss_function
from stt_bench.losses.parameters import AtLeast0
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
    has_both,
    mean_over_anchors,
    positive_pairs,
    same_class,
)


@loss_function
def circle_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: AtLeast0 = 0.4,
    gamma: Annotated[float, ABOVE_0] = 80.0,
) -> LossResult:
    """Return (loss, diagnostics) of the circle loss.

        mean over anchors a of log(1 + Σ_n exp(γ · v_an · (s_an − margin))
                                     · Σ_p exp(−γ · w_ap · (s_ap − 1 + margin))),
        w_ap = [1 + margin − s_ap]₊,  v_an = [s_an + margin]₊

    where s is the cosine. The weights w and v are constants to the gradient, as in the source, so
    the gradient is not that of the value.

    Args:
        embeddings: (B, D), of any length: only their directions count.
        labels: (B,) or (B, 1).
        margin: a number: positives aim at cosines from 1 − margin on, negatives at those up to
            the margin.
        gamma: above 0, the scale of the cosines.

    Raises:
        ValueError: for a malformed batch or an impossible parameter.

    Source: Sun, Cheng, Zhang and others, "Circle Loss: A Unified Perspective of Pair Similarity
    Optimization", CVPR 2020, anchor by anchor.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> circle_loss(x, torch.tensor([0, 0, 1]), gamma=4.0)[0]
        tensor(1.2402)

    """
    distances = cosine_distances(embeddings)
    same = same_class(labels, distances.dtype)
    fixed = distances.detach()
    pull = gamma * (fixed + margin).relu() * (distances - margin)
    push = gamma * (1 + margin - fixed).relu() * (1 - margin - distances)
    terms = soft_plus(log_total(push, 1 - same) + log_total(pull, positive_pairs(same)))
    sizes = same.sum(1)
    valid = has_both(sizes)
    return mean_over_anchors(terms, valid, sizes, "soft")


@register_loss("circle")
class CircleLoss(SimilarityLoss, function=circle_loss):
    """Circle loss as a module; see `circle_loss`."""

    # Our own ranges, the same for all data.
    search: ClassVar[dict[str, Range]] = {
        "margin": Range(0.0, 1.0),
        "gamma": Range(1.0, 1000.0, "log"),
    }
