"""Batches laid out as anchor-positive pairs, and the cross-entropy between such pairs."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import threshold

from stt_bench.losses.base import LossResult
from stt_bench.losses.distances import power_of_two
from stt_bench.losses.terms import masked_mean, out_of_reach, same_class
from stt_bench.losses.weights import weighted_mean, weights_now

NEGLIGIBLE = 1e-26
HUGE = 2.0**40  # entries from which on products may leave what float32 can hold


class Pairs(NamedTuple):
    """The rows of a batch read as pairs: P = B // 2 anchors and their positives.

    `anchors` and `positives` are (P, D), in units of `scale`, which is 1 unless products of the
    rows would overflow; `squares` (P,) is the sum of both squared lengths, in units of 1,
    `labels` (P,); `matched` (P,) is false for a pair whose two labels differ; `weights` (P,) are
    the anchors', or None; `leftover` is 1 for an odd last row.
    """

    anchors: Tensor
    positives: Tensor
    squares: Tensor
    labels: Tensor
    matched: Tensor
    weights: Tensor | None
    leftover: int
    scale: Tensor


def split_pairs(embeddings: Tensor, labels: Tensor) -> Pairs:
    """Read rows 2i as anchors and rows 2i + 1 as their positives."""
    count, leftover = len(labels) // 2, len(labels) % 2  # no divmod in a compiled graph
    weights = weights_now()
    largest = embeddings.detach().abs().amax()
    if leftover:
        embeddings, labels = embeddings[:-1], labels[:-1]
    scale = power_of_two(largest).masked_fill(largest < HUGE, 1.0)
    rows = embeddings.unflatten(0, (count, 2)).flatten(1)
    anchors, positives, squares = _Split.apply(rows, scale)
    anchor_labels, positive_labels = labels.unflatten(0, (count, 2)).unbind(1)
    return Pairs(
        anchors=anchors,
        positives=positives,
        squares=squares,
        labels=anchor_labels,
        matched=anchor_labels == positive_labels,
        weights=None if weights is None else weights[: 2 * count : 2],
        leftover=leftover,
        scale=scale,
    )


def pair_cross_entropy(logits: Tensor, pairs: Pairs, l2_weight: float) -> LossResult:
    """Return the mean cross-entropy of (P, P) logits plus the penalty on the embeddings' length.

    The logits are products of rows of the pairs, and so in units of the square of their scale. Row
    i is to find the positives of its own class, each with an equal share. Pairs that are not
    matched are neither rows nor columns. The means are by the anchors' weights.
    The penalty is ¼·l2_weight·(mean‖a‖² + mean‖p‖²).
    """
    matched = pairs.matched.to(logits.dtype)
    own = same_class(pairs.labels, logits.dtype) * matched
    siblings = own.sum(1)
    valid = pairs.matched & (siblings < matched.sum())
    shares = own / siblings.clamp(min=1)[:, None]
    logits = torch.sub(logits, 1 - matched, alpha=out_of_reach(logits.dtype))
    some = len(logits) > 0  # a single row makes no pair, and no logit is the largest
    terms = _CrossEntropy.apply(logits, shares, pairs.scale) if some else logits.sum(1)
    terms = terms + 0.25 * l2_weight * pairs.squares
    total = pairs.matched.sum()
    diagnostics = {
        "terms": valid.sum(),
        "anchors_without_negative": total - valid.sum(),
        "pairs_skipped": len(matched) - total + pairs.leftover,
    }
    if pairs.weights is None:
        return masked_mean(terms, valid), diagnostics
    diagnostics["terms"] = (valid & (pairs.weights > 0)).sum()
    return weighted_mean(terms, pairs.weights * valid), diagnostics


class _Split(torch.autograd.Function):
    """The two halves of (P, 2D) rows in units of a scale, and the (P,) squares of their lengths.

    The gradient that comes back to the halves is that of the loss in units of the scale, so that
    it need not be divided by it.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(rows)
        left, right = rows.chunk(2, dim=1)
        return left / scale, right / scale, rows.square().sum(1)

    @staticmethod
    def backward(ctx: Any, left: Tensor, right: Tensor, squares: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return torch.addcmul(torch.cat([left, right], 1), rows, 2 * squares[:, None]), None


class _CrossEntropy(torch.autograd.Function):
    """(P,) terms log Σ_j exp(s²·logits_ij) − s² · Σ_j shares_ij · logits_ij.

    The shares of a row sum to 1 or 0. The gradient is in units of the scale s, as `_Split` expects
    it. It leaves out a logit worth less than 1e-26 of its row's total: that would be a denormal
    number, with which a CPU multiplies ten times slower.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, shares: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(logits, shares, scale)
        logits = below_largest(logits, scale)
        return logits.logsumexp(1) - torch.where(shares > 0, shares * logits, 0.0).sum(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        logits, shares, scale = ctx.saved_tensors
        found = threshold(below_largest(logits, scale).softmax(1), NEGLIGIBLE, 0.0)
        return (scale * gradient)[:, None] * (found - shares), None, None


def below_largest(logits: Tensor, scale: Tensor) -> Tensor:
    """Return how far each logit is below the largest of its row, in units of 1: 0 or less."""
    return (logits - logits.detach().amax(1, keepdim=True)).mul(scale).mul(scale)
