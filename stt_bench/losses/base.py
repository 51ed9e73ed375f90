"""What every loss shares: the batch contract, and the class that the trainer talks to."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec

import torch
from torch import Tensor, nn

Diagnostics = dict[str, Tensor]
LossResult = tuple[Tensor, Diagnostics]
BatchLayout = Literal["any", "pairs", "blocks"]

P = ParamSpec("P")


def check_batch(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Return the labels as a (B,) int64 tensor, or raise ValueError if the batch is malformed."""
    if embeddings.ndim != 2 or embeddings.numel() == 0 or not embeddings.is_floating_point():
        raise ValueError(
            f"embeddings must be a non-empty (B, D) float tensor, "
            f"got shape {tuple(embeddings.shape)} of {embeddings.dtype}"
        )
    size = embeddings.shape[0]
    if tuple(labels.shape) not in ((size,), (size, 1)):
        raise ValueError(
            f"labels must have shape ({size},) or ({size}, 1) to match the embeddings, "
            f"got {tuple(labels.shape)}"
        )
    if labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    if labels.device != embeddings.device:
        raise ValueError(
            f"labels are on {labels.device} but embeddings are on {embeddings.device}: "
            f"move them to one device"
        )
    return labels.reshape(size).long()


def loss_function(
    function: Callable[Concatenate[Tensor, Tensor, P], LossResult],
) -> Callable[Concatenate[Tensor, Tensor, P], LossResult]:
    """Give `function(embeddings, labels, ...)` the batch contract of the package.

    The wrapped function sees checked (B,) int64 labels and embeddings of at least float32, and
    runs with autocast switched off: half precision holds neither a squared distance of large
    embeddings nor the difference of two close ones. float64 stays float64. Diagnostics come back
    detached.
    """

    @wraps(function)
    def checked(
        embeddings: Tensor, labels: Tensor, *args: P.args, **kwargs: P.kwargs
    ) -> LossResult:
        return _checked_call(function, embeddings, labels, *args, **kwargs)

    return checked


def _checked_call(
    function: Callable[..., LossResult],
    embeddings: Tensor,
    labels: Tensor,
    *args: Any,
    **kwargs: Any,
) -> LossResult:
    labels = check_batch(embeddings, labels)
    with torch.autocast(embeddings.device.type, enabled=False):
        loss, diagnostics = function(at_least_float32(embeddings), labels, *args, **kwargs)
    return loss, {key: value.detach() for key, value in diagnostics.items()}


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x`, widened to float32 if it is narrower."""
    return x.float() if x.dtype.itemsize < 4 else x


class RankingLoss(nn.Module):
    """A loss on a batch of embeddings: `loss(embeddings, labels) -> 0-d tensor`.

    `embeddings` is (B, D) float, `labels` (B,) or (B, 1) integer. Half-precision embeddings are
    widened, so the value is float32 or float64, also under autocast.

    An anchor (or pair) without a positive or without a negative contributes nothing, and is not
    counted in the mean: this differs on purpose from the source systems, where such an anchor
    counts as a term with distance 0 to its missing positive, or dilutes the mean with a 0. If no
    term is left, the loss is exactly 0 and still differentiable, with gradient 0.

    A subclass implements `compute` and keeps each constructor argument in an attribute of the
    same name. The trainer reads:

    - `name`: the name in the registry, set by `register_loss`;
    - `batch_layout`: "any"; "pairs" (rows 2i and 2i+1 are an anchor and its positive); or
      "blocks" (the rows of a class follow each other, four of each class);
    - `needs_positives`, `needs_negatives`: whether a batch that lacks them contributes nothing;
    - `least_rows`: what fewer rows than these contribute is nothing, too;
    - `diagnostics`: detached 0-d tensors about the last call, left on the device of the batch:
      `terms` (number of valid terms), `active` (share of the terms above 0; only for losses with
      a hinge, since a smooth term is never 0), `anchors_without_positive`,
      `anchors_without_negative`, and for losses that read pairs off the batch order
      `pairs_skipped`.

    Raises:
        ValueError: when called with a batch of the wrong shape, dtype or device.

    """

    name: str = ""
    batch_layout: BatchLayout = "any"
    needs_positives: bool = True
    needs_negatives: bool = True
    least_rows: int = 1

    def __init__(self) -> None:
        """Start without diagnostics."""
        super().__init__()
        self.diagnostics: Diagnostics = {}

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of the batch and keep its diagnostics."""
        loss, self.diagnostics = _checked_call(self.compute, embeddings, labels)
        return loss

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossResult:
        """Return (loss, diagnostics) of a checked batch; see `loss_function`."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Show the parameters when the module is printed."""
        parameters = inspect.signature(type(self)).parameters
        return ", ".join(
            f"{key}={getattr(self, key)!r}" for key in parameters if hasattr(self, key)
        )
