"""Normalised softmax: cross-entropy of the cosines between an embedding and the class vectors."""

from typing import ClassVar

from torch import Tensor

from stt_bench.losses.base import LossResult, loss_function
from stt_bench.losses.parameters import Positive
from stt_bench.losses.proxies import ProxyLoss, similarities, unit_rows
from stt_bench.losses.registry import register_loss
from stt_bench.losses.search import Range
from stt_bench.losses.terms import mean_cross_entropy


@loss_function
def normalized_softmax_loss(
    embeddings: Tensor, labels: Tensor, proxies: Tensor, *, temperature: Positive = 0.05
) -> LossResult:
    """Return (loss, diagnostics) of the normalised softmax loss.

        mean over i of − log softmax(cos(x_i, w_c) / T over the classes c)_(y_i)

    Args:
        embeddings: (B, D), normalised by this loss.
        labels: (B,) or (B, 1), from 0 to C − 1.
        proxies: w, (C, D), normalised by this loss.
        temperature: T; the smaller it is, the harder a row is drawn from the nearest wrong class.

    Raises:
        ValueError: for a malformed batch or an impossible parameter, a D that differs from the
            proxies', or (on CPU, where looking costs nothing) a label that is no class of theirs.

    Source: Zhai and Wu, "Classification is a Strong Baseline for Deep Metric Learning", BMVC 2019,
    whose layer norm before the embedding is left to the network; Wang, Xiang, Cheng and Yuille,
    "NormFace", ACM MM 2017.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> normalized_softmax_loss(x, torch.tensor([0, 1]), torch.eye(2), temperature=1.0)[0]
        tensor(0.3133)

    """
    cosines = similarities(*unit_rows(embeddings, labels, proxies))
    return mean_cross_entropy(cosines / temperature, labels)


@register_loss("normalized_softmax")
class NormalizedSoftmaxLoss(ProxyLoss, function=normalized_softmax_loss):
    """Normalised softmax as a module that owns the proxies; see `normalized_softmax_loss`.

    Args:
        num_classes: number of classes.
        embedding_dim: size of an embedding.

    """

    # The Reality Check's range (Musgrave, Belongie and Lim, ECCV 2020).
    search: ClassVar[dict[str, Range]] = {
        "temperature": Range(1e-2, 1e2, "log"),
    }

    temperature: float

    def class_scores(self, cosines: Tensor) -> Tensor:
        """Return cos / T."""
        return cosines / self.temperature
