"""Small pieces the losses are put together from: class masks, hinges and means of valid terms."""

from typing import Literal

import torch
from torch import Tensor

from losses.base import Diagnostics
from losses.distances import TIE

Margin = float | Literal["soft", "none"]


def class_masks(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return two (B, B) masks: [a, j] is true where j is a positive, or a negative, of anchor a."""
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return same & ~itself, ~same


def any_in_row(mask: Tensor) -> Tensor:
    """Return (B,): whether a row of the (B, B) mask holds a true; four times quicker than `any`."""
    return mask.sum(1, dtype=torch.int32) > 0


def hinge(excess: Tensor, margin: Margin) -> Tensor:
    """Return [v + margin]₊ of the excess v = d_ap − d_an; log(1 + eᵛ) if "soft"; v if "none"."""
    if margin == "none":
        return excess
    if margin == "soft":
        return torch.logaddexp(excess, torch.zeros_like(excess))
    return (excess + margin).relu()


def masked_mean(terms: Tensor, valid: Tensor) -> Tensor:
    """Return the mean of the valid terms; 0, still attached to the graph, if there are none."""
    return torch.where(valid, terms, 0.0).sum() / valid.sum().clamp(min=1)


def anchor_counts(positives: Tensor, negatives: Tensor) -> Diagnostics:
    """Return how many anchors lack a positive, and how many a negative."""
    return {
        "anchors_without_positive": (~any_in_row(positives)).sum(),
        "anchors_without_negative": (~any_in_row(negatives)).sum(),
    }


def term_counts(terms: Tensor, valid: Tensor, margin: Margin = 0.0) -> Diagnostics:
    """Return the number of valid terms and, unless the margin makes them smooth, `active`."""
    total = valid.sum()
    if isinstance(margin, str):
        return {"terms": total}
    active = ((terms.detach() > TIE) & valid).sum()
    return {"terms": total, "active": active.to(terms.dtype) / total.clamp(min=1)}


def check_class_range(labels: Tensor, num_classes: int) -> None:
    """Raise ValueError for a label outside [0, num_classes), on CPU only.

    Elsewhere looking at the labels would stall the device, and indexing reports it anyway.
    """
    if labels.device.type != "cpu" or torch.compiler.is_compiling():
        return
    low, high = labels.min(), labels.max()
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"labels must be from 0 to {num_classes - 1}, got {int(low)} to {int(high)}"
        )
