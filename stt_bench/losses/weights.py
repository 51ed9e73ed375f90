"""Sample weights: how much each row of a batch counts where it is an anchor."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from stt_bench.losses.others import others_now

_weights: ContextVar[Tensor | None] = ContextVar("weights", default=None)


@contextmanager
def weighted_by(weights: Tensor) -> Iterator[None]:
    """Weigh the anchors of a batch, inside, by (B,) numbers that `checked_weights` gave.

    torch.compile breaks its graph here.
    """
    token = _weights.set(weights)
    try:
        yield
    finally:
        _weights.reset(token)


def weights_now() -> Tensor | None:
    """Return the (B,) weights of the batch, the greatest of them 1, or None: all count alike."""
    return _weights.get()


def checked_weights(weights: Tensor, embeddings: Tensor) -> Tensor:
    """Return (B,) weights in the type of the embeddings, in parts of the greatest.

    Raises:
        ValueError: they are no (B,) numbers on the embeddings' device, or (on CPU, where looking
            costs nothing) one is below 0 or not finite.
    """
    size = len(embeddings)
    if not isinstance(weights, Tensor) or weights.shape != (size,) or weights.is_complex():
        given = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        raise ValueError(f"weights must be a ({size},) tensor of numbers, got {given}")
    if weights.device != embeddings.device:
        raise ValueError(
            f"weights are on {weights.device} but embeddings are on {embeddings.device}: "
            f"move them to one device"
        )
    weights = weights.detach()
    weights = weights if weights.is_floating_point() else weights.to(embeddings.dtype)
    looked_at = weights.device.type == "cpu" and not torch.compiler.is_compiling()
    if looked_at and not (weights.isfinite() & (weights >= 0)).all():
        raise ValueError("weights must be finite and at least 0")
    if not size:
        return weights
    return (weights / weights.amax().clamp(min=torch.finfo(weights.dtype).tiny)).to(
        embeddings.dtype
    )


def weighted_mean(terms: Tensor, shares: Tensor) -> Tensor:
    """Return Σ share · term / Σ share; 0, still attached to the graph, if all shares are 0.

    A term that is not finite spoils the mean even where its share is 0.
    """
    total = shares.sum().clamp(min=torch.finfo(shares.dtype).tiny)
    return (terms * (shares / total)).sum()


def pair_weights() -> Tensor | None:
    """Return (B, 1) or (B, B) weights of pairs of rows, or None.

    A pair has two anchors, and so the mean of its rows' weights; but that of its anchor alone where
    this is compared with the rows of a memory.
    """
    weights = weights_now()
    if weights is None or others_now() is not None:
        return None if weights is None else weights[:, None]
    return (weights[:, None] + weights) / 2


def mean_of_rows(terms: Tensor) -> Tensor:
    """Return the mean of (B,) terms of the rows of a batch, by their weights."""
    weights = weights_now()
    return terms.mean() if weights is None else weighted_mean(terms, weights)


def counted(valid: Tensor) -> Tensor:
    """Return numbers, (B,) or (B, N), of anchors' terms, 0 for an anchor of weight 0."""
    weights = weights_now()
    return valid if weights is None else valid * by_anchor(weights > 0, valid).to(valid.dtype)


def by_anchor(weights: Tensor, like: Tensor) -> Tensor:
    """Return (B,) weights so that they multiply the rows of (B,) or (B, N) numbers."""
    return weights if like.ndim == 1 else weights[:, None]


def divisor(rows: Tensor) -> Tensor:
    """Return what a sum over the anchors' terms is divided by for their mean.

    `rows` are (B,) whole numbers, how many terms each anchor has: the divisor is their sum, (), and
    1 at least. With weights it is that of each anchor, (B, 1), infinite where its weight is 0.
    """
    weights = weights_now()
    if weights is None:
        return rows.sum().clamp(min=1)
    heights = weights * rows.sign()
    weights = weights / heights.amax().clamp(min=torch.finfo(weights.dtype).tiny)
    return ((weights * rows).sum().clamp(min=1) / weights)[:, None]
