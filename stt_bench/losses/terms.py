"""Small pieces the losses are put together from: who is of whose class, hinges, means of terms."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from stt_bench.losses.base import Diagnostics, LossResult
from stt_bench.losses.distances import TIE
from stt_bench.losses.others import all_rows, beside_itself, columns, others_now
from stt_bench.losses.weights import by_anchor, counted, mean_of_rows, weighted_mean, weights_now

SPREAD = 2.0**-16  # keeps a sum of large terms finite; a power of two changes no digit
_NO_LABEL = -(2**62) - 1  # which no float becomes
BLOCK = 2**20  # triplets that are looked at together where each must be

Margin = float | Literal["soft", "none"]


def same_class(labels: Tensor, dtype: torch.dtype) -> Tensor:
    """Return (B, B) numbers: 1 where two rows are of one class, as a row is with itself, else 0.

    Its sums over a row are the sizes of the anchors' classes. For finite numbers
    torch.lerp(a, b, same) is b or a, exactly; a CPU chooses by numbers five times quicker than by
    booleans. Inside `compared_with` of `stt_bench.losses.others` the columns are the rows of that.
    """
    others = others_now()
    if others is not None:
        of_others = all_rows(labels, others.labels, others.with_batch)
        equal = (labels[:, None] == of_others).to(dtype)
        return beside_itself(equal, 1.0, others.with_batch)
    same = labels.new_empty(len(labels), len(labels), dtype=dtype)
    return torch.eq(labels[:, None], labels, out=same)


def positive_pairs(same: Tensor) -> Tensor:
    """Return (B, B): 1 where a row is a positive of the anchor, which it is not of itself."""
    return same.diagonal_scatter(same.new_zeros(len(same)))


def out_of_reach(dtype: torch.dtype) -> float:
    """Return a number beyond any distance or similarity.

    It is finite: a share of 0 of it is 0, and a row of nothing else still has a gradient.
    """
    return torch.finfo(dtype).max / 4


def has_negative(sizes: Tensor) -> Tensor:
    """Return (B,): 1 where an anchor, by the size of its class, has a negative, else 0."""
    return (sizes < columns(len(sizes))).to(sizes.dtype)


def has_both(sizes: Tensor) -> Tensor:
    """Return (B,): 1 where an anchor has a positive and a negative, else 0."""
    return has_negative(sizes) * (sizes > 1)


def hinge(excess: Tensor, margin: Margin) -> Tensor:
    """Return [v + margin]₊ of the excess v = d_ap − d_an; log(1 + eᵛ) if "soft"; v if "none"."""
    if margin == "none":
        return excess
    if margin == "soft":
        return torch.logaddexp(excess, torch.zeros_like(excess))
    return (excess + margin).relu()


def masked_mean(terms: Tensor, valid: Tensor) -> Tensor:
    """Return the mean of the valid terms; 0, still attached to the graph, if there are none.

    `valid` is 1 or 0. A term that is not finite spoils the mean even where it is not valid.
    """
    shares = SPREAD * valid.to(terms.dtype)
    return (terms * shares).sum() / shares.sum().clamp(min=SPREAD)


def mean_over_anchors(
    terms: Tensor, valid: Tensor, sizes: Tensor, margin: Margin = 0.0
) -> LossResult:
    """Return the mean of the valid terms, (B,) or (B, N), by their anchors' weights, and counts.

    `sizes` are those of the anchors' classes; of a smooth term the margin is a word. An anchor of
    weight 0 has no term.
    """
    diagnostics = term_counts(terms, counted(valid), margin) | anchor_counts(sizes)
    weights = weights_now()
    if weights is None:
        return masked_mean(terms, valid), diagnostics
    return weighted_mean(terms, by_anchor(weights, valid) * valid), diagnostics


def mean_over_rows(terms: Tensor) -> LossResult:
    """Return the mean of (B,) terms, one of every row of the batch, by weights, and counts."""
    return mean_of_rows(terms), row_counts(terms)


def mean_cross_entropy(
    logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0
) -> LossResult:
    """Return the mean cross-entropy of (B, C) logits, by the rows' weights, and counts.

    Raises:
        ValueError: a label is none of 0 to C − 1 (on CPU).
    """
    weighted = weights_now() is not None
    try:
        loss = cross_entropy(
            logits,
            labels,
            ignore_index=_NO_LABEL,  # or torch would pass over labels of −100
            reduction="none" if weighted else "mean",
            label_smoothing=label_smoothing,
        )
    except IndexError:
        check_class_range(labels, logits.shape[1])
        raise
    return mean_over_rows(loss) if weighted else (loss, row_counts(labels))


def row_counts(rows: Tensor) -> Diagnostics:
    """Return the diagnostics of a loss that every row of the batch is a term of."""
    if weights_now() is None:
        return {"terms": torch.full((), len(rows), device=rows.device)}
    return {"terms": counted(torch.ones_like(rows, dtype=torch.long)).sum()}


def anchor_counts(sizes: Tensor) -> Diagnostics:
    """Return how many anchors, by the sizes of their classes, lack a positive, or a negative."""
    return {
        "anchors_without_positive": (sizes == 1).sum(),
        "anchors_without_negative": (sizes == columns(len(sizes))).sum(),
    }


def above_zero(terms: Tensor, unit: float = 1.0) -> Tensor:
    """Return 1 where a term, in parts of `unit`, is above 0 by more than rounding, else 0."""
    return torch.gt(terms.detach(), unit * TIE, out=torch.empty_like(terms))


def term_counts(terms: Tensor, valid: Tensor, margin: Margin = 0.0) -> Diagnostics:
    """Return the number of valid terms and, unless the margin makes them smooth, `active`."""
    total = valid.sum(-1).long().sum()  # of rows first: float32 counts no further than 2²⁴
    if isinstance(margin, str):
        return {"terms": total}
    return {"terms": total, "active": masked_mean(above_zero(terms), valid)}


def largest_class(sizes: Tensor) -> int:
    """Return how many rows the largest class has; all where looking would stall the device."""
    if sizes.device.type != "cpu" or torch.compiler.is_compiling():
        return columns(len(sizes))
    return int(sizes.max())


def check_class_range(labels: Tensor, num_classes: int) -> None:
    """Raise ValueError for a label outside [0, num_classes), on CPU only.

    Elsewhere looking at the labels would stall the device, and indexing reports it anyway.
    """
    if labels.device.type != "cpu" or torch.compiler.is_compiling():
        return
    low, high = (int(label) for label in labels.aminmax())
    if low < 0 or high >= num_classes:
        raise ValueError(f"labels must be from 0 to {num_classes - 1}, got {low} to {high}")
