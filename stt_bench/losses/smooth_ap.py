"""Smooth-AP: average precision with ranks that have a gradient."""

from functools import partial
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from stt_bench.losses.base import LossResult, loss_function
from stt_bench.losses.registry import register_loss
from stt_bench.losses.search import Range
from stt_bench.losses.similarities import ABOVE_0, SimilarityLoss, cosine_distances
from stt_bench.losses.terms import (
    BLOCK,
    has_both,
    largest_class,
    mean_over_anchors,
    positive_pairs,
    same_class,
)

_DEVICE_BLOCK = 2**25  # comparisons at a time on a GPU, which starts too much for a few rows


@loss_function
def smooth_ap_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    temperature: Annotated[float, ABOVE_0] = 0.01,
    with_query: bool = True,
) -> LossResult:
    """Return (loss, diagnostics) of Smooth-AP.

        mean over queries q of 1 − mean over relevant i of rank⁺(q, i) / rank(q, i),
        rank(q, i) = 1 + Σ_j G(s_qj − s_qi),  G(v) = 1 / (1 + exp(−v / T))

    where s is the cosine, T the temperature, j runs over all rows but i, and in rank⁺ only over
    the relevant ones, that is those of the class of q. As T goes to 0 the loss goes to 1 − AP.
    Queries are taken in blocks, and their comparisons are made again for the gradient: O(B²)
    memory for O(B²·K) time on a CPU, K rows in the largest class, O(B³) elsewhere. Only in a graph
    of torch.compile, where blocks would fix B, they are all held at once. In half precision cosines
    would be too coarse for a small T, so they are taken in float32 at least.

    Args:
        embeddings: (B, D), of any length: only their directions count.
        labels: (B,) or (B, 1).
        temperature: above 0; the larger, the smoother and the farther from average precision.
        with_query: the query is one of its own relevant rows, always of rank 1, as in the
            published code; or it is left out.

    Raises:
        ValueError: for a malformed batch or an impossible parameter.

    Source: Brown, Xie, Kalogeiton and Zisserman, "Smooth-AP: Smoothing the Path Towards
    Large-Scale Image Retrieval", ECCV 2020.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> smooth_ap_loss(x, torch.tensor([0, 0, 1]), with_query=False)[0]
        tensor(0.2500)

    """
    distances = cosine_distances(embeddings)
    same = same_class(labels, distances.dtype)
    relevant = same if with_query else positive_pairs(same)
    gallery = torch.ones_like(same)
    if not with_query:
        gallery = positive_pairs(gallery)
    sizes = same.sum(1)
    terms = 1 - _precisions(distances / temperature, relevant, gallery, largest_class(sizes))
    valid = has_both(sizes)
    return mean_over_anchors(terms, valid, sizes, "soft")


def _precisions(far: Tensor, relevant: Tensor, gallery: Tensor, most: int) -> Tensor:
    """Return each query's smooth average precision, (B,), of (B, B) distances in units of T.

    `relevant` and `gallery` are (B, B) of 1 and 0, with `most` relevant rows a query at the most.
    """
    found, chosen = far, relevant
    if most < far.shape[1]:
        chosen, columns = relevant.topk(most, 1)
        found = far.gather(1, columns)
    queries = (found, chosen, far, relevant, gallery)
    block = BLOCK if far.device.type == "cpu" else _DEVICE_BLOCK
    at_a_time = max(1, block // (most * far.shape[1]))
    if torch.compiler.is_compiling() or at_a_time >= len(far):  # a loop would fix B
        return _precisions_of(*queries)
    blocks = zip(*(part.split(at_a_time) for part in queries), strict=True)
    again = partial(checkpoint, _precisions_of, use_reentrant=False, preserve_rng_state=False)
    return torch.cat([again(*block) for block in blocks])


def _precisions_of(
    found: Tensor, chosen: Tensor, far: Tensor, relevant: Tensor, gallery: Tensor
) -> Tensor:
    """Return (Q,) average precisions, from the distances (Q, K) of the relevant rows and (Q, B)."""
    nearer = (found[:, :, None] - far[:, None, :]).sigmoid()
    # A row beside itself gives the missing ½, without a gradient.
    precise = 0.5 + (nearer @ relevant[:, :, None]).squeeze(2)
    rank = 0.5 + (nearer @ gallery[:, :, None]).squeeze(2)
    shares = chosen / chosen.sum(1, keepdim=True).clamp(min=1)
    return (shares * precise / rank).sum(1)


@register_loss("smooth_ap")
class SmoothAPLoss(SimilarityLoss, function=smooth_ap_loss):
    """Smooth-AP as a module; see `smooth_ap_loss`."""

    # Our own range, the same for all data.
    search: ClassVar[dict[str, Range]] = {
        "temperature": Range(1e-3, 1.0, "log"),
    }
