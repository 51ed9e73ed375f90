"""Center loss: pulls every embedding to a moving centre of its class."""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from stt_bench.losses.base import LossResult, RankingLoss, loss_function
from stt_bench.losses.parameters import Count, Share
from stt_bench.losses.registry import register_loss
from stt_bench.losses.search import Range
from stt_bench.losses.terms import check_class_range, row_counts
from stt_bench.losses.weights import weights_now
from stt_bench.unit_length import unit_length

Init = Literal["zeros", "normal"]


@loss_function
def center_loss(
    embeddings: Tensor, labels: Tensor, centers: Tensor, *, normalize: bool = True
) -> LossResult:
    """Return (loss, diagnostics) of the center loss.

        ½ Σ_i ‖x_i − c_(y_i)‖²

    A sum over the batch, not a mean, so its weight beside another loss depends on the batch size.
    With sample weights it is B times the weighted mean.

    Args:
        embeddings: (B, D).
        labels: (B,) or (B, 1), from 0 to C − 1.
        centers: (C, D), one for each class; no gradient flows into them.
        normalize: scale the embeddings to length 1 first.

    Raises:
        ValueError: for a malformed batch, a D that differs from the centres', or (on CPU, where
            looking costs nothing) a label that is no row of `centers`.

    Source: Wen, Zhang, Li and Qiao, "A Discriminative Feature Learning Approach for Deep Face
    Recognition", ECCV 2016; softmax_triplet_loss.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> center_loss(x, torch.tensor([0, 1]), torch.zeros(2, 2))[0]
        tensor(1.)

    """
    offsets = _offsets(embeddings, labels, centers, normalize)
    weights = _weights()
    squares = offsets.square() if weights is None else weights * offsets.square()
    return 0.5 * squares.sum(), row_counts(labels)


@torch.no_grad()
def move_centers(
    embeddings: Tensor,
    labels: Tensor,
    centers: Tensor,
    *,
    alpha: float = 0.5,
    normalize: bool = True,
) -> None:
    """Move the (C, D) centres in place towards the embeddings of their class.

        c_j ← c_j + α · Σ_(i: y_i = j) (x_i − c_j) / (1 + n_j),   n_j = count of class j

    The 1 in the denominator damps the step of a class that is rare in the batch. With sample
    weights, of mean 1 in the batch, a row counts as so many.
    """
    offsets = _offsets(embeddings, labels, centers, normalize)
    same = labels[:, None] == labels[None, :]
    weights = _weights()
    if weights is None:
        steps = alpha * offsets / (1 + same.sum(1, keepdim=True))
    else:
        steps = alpha * weights * offsets / (1 + same.to(weights.dtype) @ weights)
    centers.index_add_(0, labels, steps.to(centers.dtype))


def _weights() -> Tensor | None:
    """Return the (B, 1) weights of the rows, of mean 1, or None."""
    weights = weights_now()
    if weights is None:
        return None
    mean = weights.mean().clamp(min=torch.finfo(weights.dtype).tiny)
    return (weights / mean)[:, None]


def _offsets(embeddings: Tensor, labels: Tensor, centers: Tensor, normalize: bool) -> Tensor:
    if embeddings.shape[1] != centers.shape[1]:
        raise ValueError(
            f"embeddings have {embeddings.shape[1]} dimensions but the centres {centers.shape[1]}"
        )
    check_class_range(labels, len(centers))
    rows = unit_length(embeddings) if normalize else embeddings
    return rows - centers.detach().index_select(0, labels).to(rows.dtype)


@register_loss("center")
class CenterLoss(RankingLoss, function=center_loss):
    """Center loss as a module that owns the centres; see `center_loss` and `move_centers`.

    `centers` is a buffer (num_classes, embedding_dim): saved with the model, not seen by the
    optimiser. In training mode each call moves the centres, after the loss is taken; in
    evaluation mode they rest. In the source system they never moved, by mistake.

    Args:
        num_classes: number of classes.
        embedding_dim: size of an embedding.
        alpha: step of the centres, from 0 to 1.
        init: where the centres start: "zeros", or "normal" as in the source system (standard
            normal: length √D, far outside the unit sphere).

    """

    # Our own ranges, the same for all data.
    search: ClassVar[dict[str, Range]] = {
        "alpha": Range(0.1, 0.9),
    }
    search_weight = Range(1e-3, 1.0, "log")

    needs_positives = False
    needs_negatives = False
    with_weights = True
    centers: Tensor
    alpha: float
    normalize: bool

    def __init__(
        self,
        *,
        num_classes: Count,
        embedding_dim: Count,
        alpha: Share = 0.5,
        init: Init = "zeros",
        **parameters: Any,
    ) -> None:
        """Check and keep the parameters; ValueError for an impossible one."""
        super().__init__(
            num_classes=num_classes,
            embedding_dim=embedding_dim,
            alpha=alpha,
            init=init,
            **parameters,
        )
        start = torch.randn if init == "normal" else torch.zeros
        self.register_buffer("centers", start(num_classes, embedding_dim))

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossResult:
        """Return (loss, diagnostics), and move the centres in training mode."""
        result = center_loss.formula(embeddings, labels, self.centers, normalize=self.normalize)
        if self.training:
            move_centers(
                embeddings, labels, self.centers, alpha=self.alpha, normalize=self.normalize
            )
        return result
