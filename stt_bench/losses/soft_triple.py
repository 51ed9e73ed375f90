"""SoftTriple: softmax over classes that have several centres each, of which the nearest count."""

from typing import Any, ClassVar

from torch import Tensor

from stt_bench.losses.base import LossResult, loss_function
from stt_bench.losses.parameters import AtLeast0, Count, Positive
from stt_bench.losses.proxies import ProxyLoss, own_class, similarities, unit_rows
from stt_bench.losses.registry import register_loss
from stt_bench.losses.search import Range
from stt_bench.losses.terms import mean_cross_entropy

ROOT = 1e-5  # under the root, as in the source: coinciding centres have a finite gradient


@loss_function
def soft_triple_loss(
    embeddings: Tensor,
    labels: Tensor,
    proxies: Tensor,
    *,
    scale: Positive = 20.0,
    gamma: Positive = 0.1,
    tau: AtLeast0 = 0.2,
    margin: AtLeast0 = 0.01,
) -> LossResult:
    """Return (loss, diagnostics) of the SoftTriple loss.

        mean over i of − log softmax(λ · (S_ic − δ·[c = y_i]) over the classes c)_(y_i) + τ · R

        S_ic = Σ_k softmax_k(s_ick / γ) · s_ick,    s_ick the cosine of x_i and w_ck
        R = Σ_c Σ_(k < l) √(2 + 0.00001 − 2 w_ck·w_cl) / (C · K · (K − 1))

    R is half the mean distance between the centres of a class: it draws centres together that are
    not needed. With one centre a class there is none.

    Args:
        embeddings: (B, D), normalised by this loss.
        labels: (B,) or (B, 1), from 0 to C − 1.
        proxies: w, (C, K, D), or (C, D) for one centre a class, normalised by this loss.
        scale: λ.
        gamma: γ, the temperature of the choice among a class's centres.
        tau: τ, the weight of R.
        margin: δ, a difference of cosines.

    Raises:
        ValueError: for a malformed batch or an impossible parameter, a D that differs from the
            proxies', or (on CPU, where looking costs nothing) a label that is no class of theirs.

    Source: Qian, Shang, Sun, Hu, Li and Jin, "SoftTriple Loss: Deep Metric Learning Without Triplet
    Sampling", ICCV 2019. Its centres learn at 100 times the learning rate
    (`optimizer.proxy_lr_factor` in a table).

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> soft_triple_loss(x, torch.tensor([0, 1]), torch.eye(2), scale=1.0, margin=1.0)[0]
        tensor(0.6931)

    """
    rows, vectors = unit_rows(embeddings, labels, proxies)
    scores = soft_maximum(similarities(rows, vectors), gamma)
    logits = scale * (scores - margin * own_class(labels, scores))
    loss, counts = mean_cross_entropy(logits, labels)
    centers = vectors.shape[1] if vectors.ndim == 3 else 1
    if tau > 0 and centers > 1:
        apart = (2 + ROOT - 2 * vectors @ vectors.mT).sqrt().triu(1)
        loss = loss + tau * apart.sum() / (len(vectors) * centers * (centers - 1))
    return loss, counts


def soft_maximum(cosines: Tensor, gamma: float) -> Tensor:
    """Return the (B, C) means of (B, C, K) cosines, weighed by their softmax at temperature γ."""
    if cosines.ndim == 2:
        return cosines
    return ((cosines / gamma).softmax(2) * cosines).sum(2)


@register_loss("soft_triple")
class SoftTripleLoss(ProxyLoss, function=soft_triple_loss):
    """SoftTriple as a module that owns the centres, `proxies`; see `soft_triple_loss`.

    Args:
        num_classes: number of classes.
        embedding_dim: size of an embedding.
        centers: K, the centres of a class; `proxies` is (C, K, D).

    """

    # The Reality Check's range (Musgrave, Belongie and Lim, ECCV 2020); λ and γ, linear there, as
    # logarithms.
    search: ClassVar[dict[str, Range]] = {
        "scale": Range(0.01, 100.0, "log"),
        "gamma": Range(0.01, 100.0, "log"),
        "tau": Range(0.0, 1.0),
        "margin": Range(0.0, 1.0),
    }

    scale: float
    gamma: float
    centers: int

    def __init__(
        self, *, num_classes: Count, embedding_dim: Count, centers: Count = 10, **parameters: Any
    ) -> None:
        """Check and keep the parameters; ValueError for an impossible one."""
        super().__init__(
            num_classes=num_classes, embedding_dim=embedding_dim, centers=centers, **parameters
        )

    def vectors_of_a_class(self) -> tuple[int, ...]:
        """Return (K,)."""
        return (self.centers,)

    def class_scores(self, cosines: Tensor) -> Tensor:
        """Return λ · S."""
        return self.scale * soft_maximum(cosines, self.gamma)

    def search_ranges(self) -> dict[str, Range]:
        """Return the ranges; one centre a class needs no choice and is drawn to no other."""
        found = super().search_ranges()
        if self.centers == 1:
            del found["gamma"], found["tau"]
        return found
