"""CosFace: normalised softmax in which the cosine of a row's own class is lowered by a margin."""

from typing import ClassVar

from torch import Tensor

from stt_bench.losses.base import LossResult, loss_function
from stt_bench.losses.parameters import AtLeast0, Positive
from stt_bench.losses.proxies import ProxyLoss, own_class, similarities, unit_rows
from stt_bench.losses.registry import register_loss
from stt_bench.losses.search import Range
from stt_bench.losses.terms import mean_cross_entropy


@loss_function
def cosface_loss(
    embeddings: Tensor,
    labels: Tensor,
    proxies: Tensor,
    *,
    scale: Positive = 64.0,
    margin: AtLeast0 = 0.35,
) -> LossResult:
    """Return (loss, diagnostics) of the CosFace loss.

        mean over i of − log softmax(s · (cos(x_i, w_c) − m·[c = y_i]) over the classes c)_(y_i)

    Args:
        embeddings: (B, D), normalised by this loss.
        labels: (B,) or (B, 1), from 0 to C − 1.
        proxies: w, (C, D), normalised by this loss.
        scale: s.
        margin: m, a difference of cosines.

    Raises:
        ValueError: for a malformed batch or an impossible parameter, a D that differs from the
            proxies', or (on CPU, where looking costs nothing) a label that is no class of theirs.

    Source: Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> cosface_loss(x, torch.tensor([0, 1]), torch.eye(2), scale=1.0, margin=1.0)[0]
        tensor(0.6931)

    """
    cosines = similarities(*unit_rows(embeddings, labels, proxies))
    logits = scale * (cosines - margin * own_class(labels, cosines))
    return mean_cross_entropy(logits, labels)


@register_loss("cosface")
class CosFaceLoss(ProxyLoss, function=cosface_loss):
    """CosFace as a module that owns the proxies; see `cosface_loss`.

    Args:
        num_classes: number of classes.
        embedding_dim: size of an embedding.

    """

    # The Reality Check's range (Musgrave, Belongie and Lim, ECCV 2020); the scale, linear
    # there, as a logarithm.
    search: ClassVar[dict[str, Range]] = {
        "margin": Range(0.0, 1.0),
        "scale": Range(0.01, 200.0, "log"),
    }

    scale: float

    def class_scores(self, cosines: Tensor) -> Tensor:
        """Return s · cos."""
        return self.scale * cosines
