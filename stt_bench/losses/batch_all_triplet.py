"""Batch-all triplet loss: every valid triplet of the batch, or every one of a kind."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from stt_bench.losses.base import LossResult, RankingLoss, loss_function
from stt_bench.losses.distances import (
    Distance,
    pairwise_distances,
    rank_with_bounds,
    tie_width,
    unsorted,
)
from stt_bench.losses.parameters import AtLeast0
from stt_bench.losses.registry import register_loss
from stt_bench.losses.search import Range
from stt_bench.losses.semi_hard_triplet import SemiHardMargin
from stt_bench.losses.terms import (
    BLOCK,
    SPREAD,
    anchor_counts,
    largest_class,
    positive_pairs,
    same_class,
)
from stt_bench.losses.weights import counted, divisor, weights_now
from stt_bench.unit_length import unit_length

Triplets = Literal["all", "hard", "semi_hard", "easy"]


@loss_function
def batch_all_triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: SemiHardMargin = 0.5,
    distance: Distance = "euclidean",
    normalize: bool = False,
    triplets: Triplets = "all",
    reach: AtLeast0 = 0.5,
) -> LossResult:
    """Return (loss, diagnostics) of the batch-all triplet loss.

        Σ_(a,p,n) [ d(a, p) − d(a, n) + margin ]₊  /  number of triplets with a term above 0

    with v = d(a, p) − d(a, n); for margin "soft" the mean of log(1 + eᵛ) over all triplets, which
    are never 0. Of the `triplets` only those of one kind may count: hard v ≥ 0, semi-hard
    −margin < v < 0, easy v ≤ −margin, where `reach` stands for a margin that is "soft".

    With a number for a margin no triplet is ever formed, and the value, its gradient and the share
    `active` are exact. With pos(a, p) the number of active triplets that hold the pair (a, p), and
    neg(a, n) likewise, the sum is Σ pos(a, p)·(d(a, p) + margin) − Σ neg(a, n)·d(a, n). The counts
    are found by sorting the distances of each anchor: O(B² log B) time, O(B²) memory. The soft
    margin takes O(B²·K) time, in blocks of anchors, K rows in the largest class on a CPU, O(B³)
    elsewhere, and O(B²) memory.

    Args:
        embeddings: (B, D).
        labels: (B,) or (B, 1).
        margin: a number in the unit of `distance`, or "soft".
        distance: "euclidean", "squared_euclidean", "cosine" or "cityblock".
        normalize: scale the embeddings to length 1 first.
        triplets: "all", "hard", "semi_hard" or, with margin "soft", "easy".
        reach: how far behind a positive the semi-hard negatives of margin "soft" lie, in the unit
            of `distance`.

    Raises:
        ValueError: for a malformed batch, an impossible parameter, or easy triplets with a margin,
            none of which has a term above 0.

    Source: Hermans, Beyer and Leibe, "In Defense of the Triplet Loss for Person
    Re-Identification", 2017, averaged over active triplets only; the post "Softmax vs
    Triplet loss: Fashion-MNIST". Semi-hard triplets as in Schroff, Kalenichenko and Philbin,
    "FaceNet", CVPR 2015.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [3.0]])
        >>> loss, diagnostics = batch_all_triplet_loss(x, torch.tensor([0, 0, 1]), margin=1.5)
        >>> loss, diagnostics["active"]
        (tensor(0.5000), tensor(0.5000))

    """
    _check_easy(margin, triplets)
    if normalize:
        embeddings = unit_length(embeddings)
    distances = pairwise_distances(embeddings, distance)
    same = same_class(labels, distances.dtype)
    counts = anchor_counts(same.sum(1).long())
    if margin == "soft":
        loss, terms = _soft(distances, same, triplets, reach)
        return loss, {"terms": terms} | counts
    loss, active, terms = _with_margin(distances, same, float(margin), triplets)
    diagnostics = {"terms": terms, "active": active.to(distances.dtype) / terms.clamp(min=1)}
    return loss, diagnostics | counts


def _check_easy(margin: float | str, triplets: str) -> None:
    if triplets == "easy" and margin != "soft":
        raise ValueError(
            "triplets must be all, hard or semi_hard with a number for a margin, got 'easy': no "
            "easy triplet has a term above 0"
        )


def _with_margin(
    distances: Tensor, same: Tensor, margin: float, triplets: Triplets
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss, and how many triplets of the kind are active and how many there are."""
    with torch.no_grad():
        # A triplet is active if the negative's distance is below the reach of its pair.
        bounds = distances + margin
        bounds -= tie_width(distances, bounds)
        counts = _triplets_within(bounds, distances, same)
        sizes = same.sum(1).long()
        terms = (sizes - 1) * (same.shape[1] - sizes)
        if triplets != "all":
            nearer = distances + tie_width(distances, distances)
            hard = _triplets_within(torch.minimum(nearer, bounds), distances, same)
            counts = hard if triplets == "hard" else counts - hard
            terms = _triplets_within(nearer, distances, same) if triplets == "hard" else counts
            terms = terms.relu().sum(1, dtype=torch.long)
        above = counts.relu().sum(1, dtype=torch.long)
        # Dividing the counts first keeps the sums small.
        weights = counts / divisor(above)
        active, terms = counted(above).sum(), counted(terms).sum()
    loss = (weights * distances).sum() + margin * (active > 0).to(distances.dtype)
    return loss, active, terms


def _triplets_within(bounds: Tensor, distances: Tensor, same: Tensor) -> Tensor:
    """Return (B, B): for a pair the negatives nearer than its bound; for these, below 0, pairs."""
    order, is_negative = rank_with_bounds(distances, same, bounds)
    farther = is_negative.cumsum(1)  # negatives, up to each place
    place = torch.arange(1, same.shape[1] + 1, dtype=same.dtype, device=same.device)
    # A pair counts the negatives after it; a negative, below 0, the pairs before it.
    counts = torch.lerp(farther[:, -1:] - farther, farther - place, is_negative)
    return unsorted(counts, order)


def _soft(
    distances: Tensor, same: Tensor, triplets: Triplets, reach: float
) -> tuple[Tensor, Tensor]:
    """Return the mean of log(1 + eᵛ) over the triplets of a kind, and how many there are."""
    pairs = positive_pairs(same)
    with torch.no_grad():  # negatives count that are farther than `low` and no farther than `high`
        hard = distances + tie_width(distances, distances)
        far = distances + reach
        far = torch.maximum(far - tie_width(distances, far), hard)
        low = {"semi_hard": hard, "easy": far}.get(triplets)
        high = {"hard": hard, "semi_hard": far}.get(triplets)
    return _SoftTriplets.apply(distances, pairs, 1 - same, low, high, weights_now())


class _SoftTriplets(torch.autograd.Function):
    """The mean of the soft terms of (B, B) distances, and their number.

    A triplet counts whose `pairs` and `negatives` are both 1, and whose negative is farther than
    `low` and no farther than `high` of its pair, where those are given; by the weight of its
    anchor, where `weights` are.
    """

    @staticmethod
    def forward(ctx: Any, distances: Tensor, *limits: Tensor | None) -> tuple[Tensor, Tensor]:
        sums, slopes, counts, totals = zip(*_soft_blocks(distances, limits), strict=True)
        count = torch.stack(counts).sum()
        least = 1 if limits[-1] is None else torch.finfo(distances.dtype).tiny
        total = torch.stack(totals).sum().clamp(min=least)
        ctx.save_for_backward(distances, total, torch.cat(slopes), *limits)
        ctx.mark_non_differentiable(count)
        return torch.stack(sums).sum() / (SPREAD * total), count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        distances, total, slopes, *limits = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody wants the gradient of the gradient
            slopes = torch.cat([block[1] for block in _soft_blocks(distances, limits)])
        return gradient * (slopes / total), *[None] * len(limits)


def _soft_blocks(
    distances: Tensor, limits: Sequence[Tensor | None]
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Yield for each block of anchors the sum of its terms, their slopes, number and weight."""
    pairs, negatives, low, high, weights = limits
    assert pairs is not None
    assert negatives is not None
    most = largest_class(pairs.detach().sum(1))
    chosen, places = pairs.topk(max(most, 1), 1)  # the positives, and others that do not count
    if weights is not None:
        chosen = chosen * weights[:, None]
    size = max(1, BLOCK // (places.shape[1] * distances.shape[1]))
    for start in range(0, len(distances), size):
        rows = slice(start, start + size)
        place = places[rows]
        far = distances[rows]
        near = far.gather(1, place)
        valid = chosen[rows, :, None] * negatives[rows, None, :]
        if low is not None:
            valid *= far[:, None, :] > low[rows].gather(1, place)[:, :, None]
        if high is not None:
            valid *= far[:, None, :] <= high[rows].gather(1, place)[:, :, None]
        excess = near[:, :, None] - far[:, None, :]
        terms = SPREAD * valid * torch.logaddexp(excess, torch.zeros_like(excess))
        slopes = valid * excess.sigmoid()
        pull = torch.zeros_like(far).scatter_add(1, place, slopes.sum(2))
        count = torch.count_nonzero(valid)
        total = count if weights is None else valid.sum()
        yield terms.sum(), pull - slopes.sum(1), count, total


@register_loss("batch_all_triplet")
class BatchAllTripletLoss(RankingLoss, function=batch_all_triplet_loss):
    """Batch-all triplet loss as a module; see `batch_all_triplet_loss`."""

    # Our own range for every form of triplets, the same for all data.
    search: ClassVar[dict[str, Range]] = {
        "margin": Range(0.01, 1.0, "log"),
        "reach": Range(0.01, 1.0, "log"),
    }

    with_memory = True
    with_weights = True

    margin: float | str
    triplets: str

    def __init__(self, **parameters: Any) -> None:
        """Check and keep the parameters; ValueError for an impossible one."""
        super().__init__(**parameters)
        _check_easy(self.margin, self.triplets)

    def search_ranges(self) -> dict[str, Range]:
        """Return the ranges; the reach says only which triplets without a margin are semi-hard."""
        found = super().search_ranges()
        if self.margin != "soft" or self.triplets not in ("semi_hard", "easy"):
            del found["reach"]
        return found
