"""Softmax loss: cross-entropy of a linear classifier on top of the embedding."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from stt_bench.losses.base import LossResult, RankingLoss, at_least_float32, loss_function
from stt_bench.losses.parameters import Count, Share
from stt_bench.losses.registry import register_loss
from stt_bench.losses.terms import check_class_range


@loss_function
def softmax_loss(
    embeddings: Tensor,
    labels: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    label_smoothing: Share = 0.0,
) -> LossResult:
    """Return (loss, diagnostics) of the softmax loss.

        mean over i of − log softmax(W x_i + b)_(y_i)

    Args:
        embeddings: (B, D).
        labels: (B,) or (B, 1), from 0 to C − 1.
        weight: W, (C, D).
        bias: b, (C,), or None.
        label_smoothing: the share of the target's mass that is spread evenly over all classes.

    Raises:
        ValueError: for a malformed batch, a D that differs from the weight's, or (on CPU, where
            looking costs nothing) a label that is no row of `weight`.

    Source: the baseline of softmax_triplet_loss and of the post "Softmax vs Triplet loss:
    Fashion-MNIST".

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> softmax_loss(x, torch.tensor([0, 1]), torch.eye(2))[0]
        tensor(0.3133)

    """
    check_class_range(labels, len(weight))
    loss = cross_entropy(_logits(embeddings, weight, bias), labels, label_smoothing=label_smoothing)
    return loss, {"terms": labels.new_full((), len(labels))}


def _logits(embeddings: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if embeddings.shape[1] != weight.shape[1]:
        raise ValueError(
            f"embeddings have {embeddings.shape[1]} dimensions but the classifier {weight.shape[1]}"
        )
    bias = None if bias is None else bias.to(embeddings.dtype)
    return linear(embeddings, weight.to(embeddings.dtype), bias)


@register_loss("softmax")
class SoftmaxLoss(RankingLoss, function=softmax_loss):
    """Softmax loss as a module that owns the classifier; see `softmax_loss`.

    `linear` is an `nn.Linear`, whose parameters the optimiser must be given.

    Args:
        num_classes: number of classes.
        embedding_dim: size of an embedding.
        bias: whether the classifier has a bias.

    """

    needs_positives = False
    needs_negatives = False

    def __init__(
        self, *, num_classes: Count, embedding_dim: Count, bias: bool = True, **parameters: Any
    ) -> None:
        """Check and keep the parameters; ValueError for an impossible one."""
        super().__init__(
            num_classes=num_classes, embedding_dim=embedding_dim, bias=bias, **parameters
        )
        self.linear = nn.Linear(embedding_dim, num_classes, bias=bias)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return the (B, C) class scores of (B, D) embeddings, as the loss sees them."""
        with torch.autocast(embeddings.device.type, enabled=False):
            return _logits(at_least_float32(embeddings), self.linear.weight, self.linear.bias)

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossResult:
        """Return (loss, diagnostics)."""
        return softmax_loss.formula(
            embeddings,
            labels,
            self.linear.weight,
            self.linear.bias,
            label_smoothing=self.label_smoothing,
        )
