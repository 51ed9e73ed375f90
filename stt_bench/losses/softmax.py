"""Softmax loss: cross-entropy of a linear classifier on top of the embedding."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from stt_bench.losses.base import LossResult, RankingLoss, at_least_float32, loss_function
from stt_bench.losses.parameters import AtLeast0, Count, Share
from stt_bench.losses.registry import register_loss
from stt_bench.losses.search import Range
from stt_bench.losses.terms import mean_cross_entropy


@loss_function
def softmax_loss(
    embeddings: Tensor,
    labels: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    class_counts: Tensor | None = None,
    *,
    label_smoothing: Share = 0.0,
    logit_adjustment: AtLeast0 = 0.0,
) -> LossResult:
    """Return (loss, diagnostics) of the softmax loss.

        mean over i of − log softmax(W x_i + b + τ · log π)_(y_i)

    where π_c = n_c / Σ n is the share of class c among the training images, and τ = 0 unless
    `logit_adjustment` is given. A class is then predicted by W x + b alone, which the rare classes
    had to raise above their log π.

    Args:
        embeddings: (B, D).
        labels: (B,) or (B, 1), from 0 to C − 1.
        weight: W, (C, D).
        bias: b, (C,), or None.
        class_counts: n, (C,), read with `logit_adjustment` only; a class of 0 is left out.
        label_smoothing: the share of the target's mass that is spread evenly over all classes.
        logit_adjustment: τ; 1 asks for the best balanced accuracy, as if all classes were equally
            frequent.

    Raises:
        ValueError: for a malformed batch, a D that differs from the weight's, a `logit_adjustment`
            without counts of all classes, or (on CPU, where looking costs nothing) a label that is
            no row of `weight`.

    Source: the baseline of softmax_triplet_loss and of the post "Softmax vs Triplet loss:
    Fashion-MNIST"; Szegedy et al., "Rethinking the Inception Architecture for Computer Vision",
    CVPR 2016 (label smoothing); Menon et al., "Long-tail Learning via Logit Adjustment", ICLR 2021.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> softmax_loss(x, torch.tensor([0, 1]), torch.eye(2))[0]
        tensor(0.3133)

    """
    logits = _logits(embeddings, weight, bias)
    if logit_adjustment > 0:
        counts = _counts(class_counts, len(weight)).to(logits.dtype)
        logits = logits + logit_adjustment * (counts / counts.sum()).log()
    return mean_cross_entropy(logits, labels, label_smoothing=label_smoothing)


def _logits(embeddings: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if embeddings.shape[1] != weight.shape[1]:
        raise ValueError(
            f"embeddings have {embeddings.shape[1]} dimensions but the classifier {weight.shape[1]}"
        )
    bias = None if bias is None else bias.to(embeddings.dtype)
    return linear(embeddings, weight.to(embeddings.dtype), bias)


def _counts(counts: Tensor | None, num_classes: int) -> Tensor:
    """Return the images of each class, or raise ValueError: there are none, or not of each."""
    if counts is None or counts.shape != (num_classes,):
        given = "none" if counts is None else f"a shape of {tuple(counts.shape)}"
        raise ValueError(
            f"logit_adjustment needs class_counts, the training images of each of the "
            f"{num_classes} classes, got {given}"
        )
    return counts


@register_loss("softmax")
class SoftmaxLoss(RankingLoss, function=softmax_loss):
    """Softmax loss as a module that owns the classifier; see `softmax_loss`.

    `linear` is an `nn.Linear`, whose parameters the optimiser must be given.

    Args:
        num_classes: number of classes.
        embedding_dim: size of an embedding.
        class_counts: training images of each class, needed to train with `logit_adjustment`; no
            part of the state, since the trained classifier does without.
        bias: whether the classifier has a bias.

    """

    # Our own ranges, the same for all data.
    search: ClassVar[dict[str, Range]] = {
        "label_smoothing": Range(0.0, 0.2),
        "logit_adjustment": Range(0.0, 2.0),
    }

    needs_positives = False
    needs_negatives = False
    with_weights = True

    class_counts: Tensor | None
    logit_adjustment: float

    def __init__(
        self,
        *,
        num_classes: Count,
        embedding_dim: Count,
        class_counts: Sequence[int] | None = None,
        bias: bool = True,
        **parameters: Any,
    ) -> None:
        """Check and keep the parameters; ValueError for an impossible one."""
        super().__init__(
            num_classes=num_classes, embedding_dim=embedding_dim, bias=bias, **parameters
        )
        self.linear = nn.Linear(embedding_dim, num_classes, bias=bias)
        del self.class_counts  # a place for the buffer
        counts = None
        if class_counts is not None and self.logit_adjustment > 0:
            counts = _counts(torch.tensor(class_counts, dtype=torch.float32), num_classes)
            if not bool((counts >= 1).all()):
                raise ValueError(f"class_counts must be at least 1, got {list(class_counts)}")
        self.register_buffer("class_counts", counts, persistent=False)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return the (B, C) class scores of (B, D) embeddings: W x + b, never adjusted."""
        with torch.autocast(embeddings.device.type, enabled=False):
            return _logits(at_least_float32(embeddings), self.linear.weight, self.linear.bias)

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossResult:
        """Return (loss, diagnostics)."""
        return softmax_loss.formula(
            embeddings,
            labels,
            self.linear.weight,
            self.linear.bias,
            self.class_counts,
            label_smoothing=self.label_smoothing,
            logit_adjustment=self.logit_adjustment,
        )

    def search_ranges(self) -> dict[str, Range]:
        """Return the ranges; only what is used is tuned, so that plain Softmax stays that."""
        return {
            name: bounds for name, bounds in super().search_ranges().items() if getattr(self, name)
        }
