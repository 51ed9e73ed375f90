"""What the losses with learned class vectors share: the proxies, and how near a row is to each."""

from typing import Any

import torch
from torch import Tensor, nn

from stt_bench.losses.base import LossResult, RankingLoss, at_least_float32
from stt_bench.losses.parameters import Count
from stt_bench.losses.terms import check_class_range
from stt_bench.unit_length import unit_length


def unit_rows(embeddings: Tensor, labels: Tensor | None, proxies: Tensor) -> tuple[Tensor, Tensor]:
    """Return embeddings (B, D) and proxies (C, D) or (C, K, D), each vector scaled to length 1.

    Raises:
        ValueError: a D that differs, or (on CPU) a label that is no class of the proxies.
    """
    if embeddings.shape[1] != proxies.shape[-1]:
        raise ValueError(
            f"embeddings have {embeddings.shape[1]} dimensions but the proxies {proxies.shape[-1]}"
        )
    if labels is not None:
        check_class_range(labels, len(proxies))
    rows = unit_length(proxies.to(embeddings.dtype).flatten(0, -2))
    return unit_length(embeddings), rows.unflatten(0, proxies.shape[:-1])


def similarities(rows: Tensor, proxies: Tensor) -> Tensor:
    """Return the (B, C) or (B, C, K) cosines of unit rows (B, D) and proxies of unit length."""
    return (rows @ proxies.flatten(0, -2).T).unflatten(1, proxies.shape[:-1])


def own_class(labels: Tensor, scores: Tensor) -> Tensor:
    """Return (B, C) numbers: 1 in the column of a row's class, else 0."""
    return torch.zeros_like(scores).scatter(1, labels[:, None], 1.0)


class ProxyLoss(RankingLoss):
    """Base of the losses that compare each embedding with learned vectors of all classes.

    The parameter `proxies` is (num_classes, embedding_dim), or (num_classes, K, embedding_dim) of
    a loss with K vectors a class. The loss sees their directions only; they start from a normal
    distribution of variance 1/D, at a length of about 1, which sets how far a step of the optimiser
    turns them. Weight decay would shorten them and so turn them faster: `stt_bench` trains them
    without it. Those of a class that the batch lacks move too, away from its rows.

    A row needs neither a positive nor a negative in its batch: every row is a term.
    """

    needs_positives = False
    needs_negatives = False
    with_weights = True
    num_classes: int
    embedding_dim: int

    def __init__(self, *, num_classes: Count, embedding_dim: Count, **parameters: Any) -> None:
        """Check and keep the parameters; ValueError for an impossible one."""
        super().__init__(num_classes=num_classes, embedding_dim=embedding_dim, **parameters)
        start = torch.randn(num_classes, *self.vectors_of_a_class(), embedding_dim)
        self.proxies = nn.Parameter(start / embedding_dim**0.5)

    def vectors_of_a_class(self) -> tuple[int, ...]:
        """Return (K,) where a class has K vectors."""
        return ()

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossResult:
        """Return (loss, diagnostics)."""
        assert self.function is not None
        options = {name: getattr(self, name) for name in self._formula_options}
        return self.function.formula(embeddings, labels, self.proxies, **options)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return the (B, C) class scores of (B, D) embeddings: the loss's own, without a margin."""
        with torch.autocast(embeddings.device.type, enabled=False):
            rows = at_least_float32(embeddings)
            return self.class_scores(similarities(*unit_rows(rows, None, self.proxies)))

    def class_scores(self, cosines: Tensor) -> Tensor:
        """Return (B, C) class scores from the cosines of rows and proxies."""
        raise NotImplementedError(f"{type(self).__name__} has no `class_scores`")
