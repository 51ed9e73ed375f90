"""ProxyNCA and ProxyNCA++: a row must be nearer to the proxy of its class than to the others."""

import math
from typing import ClassVar

from torch import Tensor

from stt_bench.losses.base import LossResult, loss_function
from stt_bench.losses.parameters import Positive
from stt_bench.losses.proxies import ProxyLoss, similarities, unit_rows
from stt_bench.losses.registry import register_loss
from stt_bench.losses.search import Range
from stt_bench.losses.terms import mean_cross_entropy, mean_over_rows


@loss_function
def proxy_nca_loss(
    embeddings: Tensor,
    labels: Tensor,
    proxies: Tensor,
    *,
    temperature: Positive = 1 / 9,
    positive_in_denominator: bool = True,
) -> LossResult:
    """Return (loss, diagnostics) of the ProxyNCA++ or the ProxyNCA loss.

        mean over i of − log( e^(−d(x_i, w_(y_i)) / T) / Σ_c e^(−d(x_i, w_c) / T) )

    where d is the squared Euclidean distance of unit vectors. ProxyNCA++ has all classes c in the
    sum, which makes it a normalised softmax of temperature T/2; ProxyNCA leaves the row's own out,
    so that it may fall below 0, and with a single class it is exactly 0.

    Args:
        embeddings: (B, D), normalised by this loss.
        labels: (B,) or (B, 1), from 0 to C − 1.
        proxies: w, (C, D), normalised by this loss.
        temperature: T; ProxyNCA's paper has 1, its public code and ProxyNCA++ 1/9.
        positive_in_denominator: true: ProxyNCA++; false: ProxyNCA.

    Raises:
        ValueError: for a malformed batch or an impossible parameter, a D that differs from the
            proxies', or (on CPU, where looking costs nothing) a label that is no class of theirs.

    Source: Movshovitz-Attias, Toshev, Leung, Ioffe and Singh, "No Fuss Distance Metric Learning
    using Proxies", ICCV 2017; Teh, DeVries and Taylor, "ProxyNCA++", ECCV 2020.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> proxy_nca_loss(x, torch.tensor([0, 1]), torch.eye(2), temperature=2.0)[0]
        tensor(0.3133)

    """
    # −d = 2 cos − 2, and what all classes share cancels.
    scores = (2 / temperature) * similarities(*unit_rows(embeddings, labels, proxies))
    if positive_in_denominator:
        return mean_cross_entropy(scores, labels)
    if scores.shape[1] == 1:
        return 0 * scores.sum(), {"terms": labels.new_zeros(())}
    own = labels[:, None]
    others = scores.scatter(1, own, -math.inf).logsumexp(1)
    return mean_over_rows(others - scores.gather(1, own)[:, 0])


@register_loss("proxy_nca")
class ProxyNCALoss(ProxyLoss, function=proxy_nca_loss):
    """ProxyNCA++, or ProxyNCA, as a module that owns the proxies; see `proxy_nca_loss`.

    Args:
        num_classes: number of classes.
        embedding_dim: size of an embedding.

    """

    # The Reality Check's range (Musgrave, Belongie and Lim, ECCV 2020) of the scale, which
    # is 1 / temperature, as a logarithm.
    search: ClassVar[dict[str, Range]] = {
        "temperature": Range(1e-2, 1e2, "log"),
    }

    temperature: float

    def class_scores(self, cosines: Tensor) -> Tensor:
        """Return −d / T."""
        return (2 * cosines - 2) / self.temperature
