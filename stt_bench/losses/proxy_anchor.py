"""Proxy-Anchor: each proxy pulls the rows of its class and pushes all others, the hardest most."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from stt_bench.losses.base import LossResult, loss_function
from stt_bench.losses.parameters import AtLeast0, Positive
from stt_bench.losses.proxies import ProxyLoss, own_class, similarities, unit_rows
from stt_bench.losses.registry import register_loss
from stt_bench.losses.search import Range
from stt_bench.losses.terms import row_counts
from stt_bench.losses.weights import weights_now


@loss_function
def proxy_anchor_loss(
    embeddings: Tensor,
    labels: Tensor,
    proxies: Tensor,
    *,
    alpha: Positive = 32.0,
    delta: AtLeast0 = 0.1,
) -> LossResult:
    """Return (loss, diagnostics) of the Proxy-Anchor loss.

          (1 / |C₊|) · Σ_(c in C₊) log(1 + Σ_(i: y_i = c) e^(−α · (s_ic − δ)))
        + (1 / C) · Σ_(all c) log(1 + Σ_(i: y_i ≠ c) e^(α · (s_ic + δ)))

    where s_ic is the cosine of x_i and w_c, and C₊ are the classes of the batch. The proxies of
    other classes push as well. A class that all rows are of pushes nothing and is counted in C.

    Args:
        embeddings: (B, D), normalised by this loss.
        labels: (B,) or (B, 1), from 0 to C − 1.
        proxies: w, (C, D), normalised by this loss.
        alpha: α, how much more the hardest rows weigh.
        delta: δ, the margin, a difference of cosines.

    Raises:
        ValueError: for a malformed batch or an impossible parameter, a D that differs from the
            proxies', or (on CPU, where looking costs nothing) a label that is no class of theirs.

    Source: Kim, Kim, Cho and Kwak, "Proxy Anchor Loss for Deep Metric Learning", CVPR 2020. Its
    proxies learn at 100 times the learning rate (`optimizer.proxy_lr_factor` in a table).

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> proxy_anchor_loss(x, torch.tensor([0, 1]), torch.eye(2), alpha=1.0, delta=0.0)[0]
        tensor(1.0064)

    """
    if weights_now() is not None:
        raise ValueError("proxy_anchor takes no sample weights: its terms are the proxies'")
    cosines = similarities(*unit_rows(embeddings, labels, proxies))
    own = own_class(labels, cosines).bool()
    pull = _log_one_plus_sum(alpha * (delta - cosines), own)
    push = _log_one_plus_sum(alpha * (cosines + delta), ~own)
    present = own.any(0).sum()
    return pull.sum() / present + push.mean(), row_counts(labels)


def _log_one_plus_sum(exponents: Tensor, counted: Tensor) -> Tensor:
    """Return (C,): log(1 + Σ_i eᵛ) of the entries of (B, C) that are counted; 0 if none is."""
    exponents = exponents.masked_fill(~counted, -math.inf)
    one = exponents.new_zeros(1, exponents.shape[1])  # e⁰, so that no column is empty
    return torch.cat([exponents, one]).logsumexp(0)


@register_loss("proxy_anchor")
class ProxyAnchorLoss(ProxyLoss, function=proxy_anchor_loss):
    """Proxy-Anchor as a module that owns the proxies; see `proxy_anchor_loss`.

    Args:
        num_classes: number of classes.
        embedding_dim: size of an embedding.

    """

    # Our own ranges, the same for all data; α as the scales of the Reality Check.
    search: ClassVar[dict[str, Range]] = {
        "alpha": Range(0.01, 100.0, "log"),
        "delta": Range(0.0, 1.0),
    }

    with_weights = False  # its terms are the proxies'

    alpha: float

    def class_scores(self, cosines: Tensor) -> Tensor:
        """Return α · cos: the class of the nearest proxy is the highest."""
        return self.alpha * cosines
