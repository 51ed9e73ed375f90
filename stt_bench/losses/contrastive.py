"""Contrastive loss: positive pairs to distance 0, negative pairs beyond a margin."""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from stt_bench.losses.base import LossResult, RankingLoss, loss_function
from stt_bench.losses.distances import Distance, pairwise_distances, selected_distances
from stt_bench.losses.parameters import AtLeast0, Count
from stt_bench.losses.registry import register_loss
from stt_bench.losses.search import Range
from stt_bench.losses.terms import SPREAD, above_zero, anchor_counts, same_class
from stt_bench.losses.weights import pair_weights, weighted_mean, weights_now
from stt_bench.unit_length import unit_length

PairRule = Literal["all", "fast"]
Mean = Literal["all", "separate", "separate_all"]

SMOOTHING = 1e-5


@loss_function
def contrastive_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: AtLeast0 = 1.0,
    normalize: bool = True,
    pairs: PairRule = "all",
    positive_margin: AtLeast0 = 0.0,
    power: Count = 2,
    mean: Mean = "all",
    distance: Distance = "euclidean",
) -> LossResult:
    """Return (loss, diagnostics) of the contrastive loss.

        mean over pairs of [D − positive_margin]₊^power (same class)
        or [margin − D]₊^power (different)

    Positive and negative pairs stand on their own: a batch without positives still pushes its
    negatives apart. With mean "all" the Euclidean D is √(‖u − v‖² + 1e-5): the constant keeps the
    gradient finite where two rows coincide, at the price of 1e-5 for a perfect positive pair.
    Everything else takes the distances as they are, with gradient 0 where they are 0.

    Args:
        embeddings: (B, D).
        labels: (B,) or (B, 1).
        margin: a number, in the unit of the distance.
        normalize: scale the embeddings to length 1 first.
        pairs: "all" B(B − 1)/2 pairs; or "fast", B/2 fixed pairs of a batch in which the rows of a
            class follow each other, four of each class. Of every eight rows it compares 0 with 1,
            2 with 5, 4 with 3 and 6 with 7, by their true labels; rows after the last full eight
            are left out, and counted in `pairs_skipped` as half as many pairs.
        positive_margin: a number, in the unit of the distance; a positive pair nearer than that
            is left alone.
        power: of a term; 2 squares it.
        mean: "all": over all pairs; "separate": one mean over the positive pairs with a term above
            0 plus one over such negative pairs; "separate_all": the same over all positive pairs
            and all negative pairs.
        distance: "euclidean", "squared_euclidean", "cosine" or "cityblock".

    Raises:
        ValueError: for a malformed batch or an impossible parameter.

    Source: Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant
    Mapping", CVPR 2006; without the paper's ½, and "fast", from tf_retrieval_baseline. Two margins,
    power 1 and separate means are what pytorch-metric-learning does.

    Example:
        >>> x = torch.tensor([[0.0], [0.5], [0.75]])
        >>> contrastive_loss(x, torch.tensor([0, 0, 1]), normalize=False)[0]
        tensor(0.2917)

    """
    if normalize:
        embeddings = unit_length(embeddings)
    smoothed = distance == "euclidean" and mean == "all"
    if pairs == "fast":
        left, right = _fast_pairs(embeddings)
        lengths = _between(left, right, "squared_euclidean" if smoothed else distance)
        same = torch.eq(*_fast_pairs(labels)).to(lengths.dtype)
        seen = compared = len(same)
        diagnostics = {"pairs_skipped": labels.new_full((), (len(labels) % 8 + 1) // 2)}
    else:
        lengths = pairwise_distances(embeddings, "squared_euclidean" if smoothed else distance)
        same = same_class(labels, lengths.dtype)
        seen = same.numel() - len(same)
        compared = seen // 2 if same.shape[0] == same.shape[1] else seen  # each from both ends
        diagnostics = anchor_counts(same.sum(1))
    if smoothed:
        lengths = (lengths + SMOOTHING).sqrt()
    # D − positive margin where the classes are the same, margin − D where they differ; both so
    # small that a sum of their powers stays finite.
    small = SPREAD ** (1 / power)
    signs = 2 * small * same - small
    offsets = small * margin * (1 - same)
    if positive_margin:
        offsets = offsets - small * positive_margin * same
    terms = torch.addcmul(offsets, signs, lengths).relu().pow(power)
    if pairs == "all":
        terms.diagonal().fill_(0.0)
    above = above_zero(terms, SPREAD)
    weights = _weights(terms, pairs)
    if weights is None:
        diagnostics["terms"] = labels.new_full((), compared)
        diagnostics["active"] = above.sum() / max(seen, 1)
    else:
        above = above * weights.sign()
        kept = (weights > 0).sum()
        diagnostics["terms"] = kept // 2 if seen > compared else kept
        diagnostics["active"] = above.sum() / kept.clamp(min=1)
    if mean == "all":
        if weights is not None:
            return weighted_mean(terms, weights) / SPREAD, diagnostics
        return terms.sum() / (SPREAD * max(seen, 1)), diagnostics
    counted = above
    if mean == "separate_all":
        counted = torch.ones_like(terms)
        if pairs == "all":
            counted.diagonal().fill_(0.0)
    sides = [
        (terms * side).sum() / (SPREAD * (counted * side).sum().clamp(min=1))
        if weights is None
        else weighted_mean(terms, weights * counted * side) / SPREAD
        for side in (same, 1 - same)
    ]
    return sides[0] + sides[1], diagnostics


def _weights(terms: Tensor, pairs: PairRule) -> Tensor | None:
    """Return the weights of the terms of pairs, 0 for those of a row with itself, or None."""
    if pairs == "fast":
        rows = weights_now()
        return None if rows is None else torch.add(*_fast_pairs(rows)) / 2
    weights = pair_weights()
    if weights is None:
        return None
    return weights.expand_as(terms).diagonal_scatter(weights.new_zeros(len(terms)))


def _between(left: Tensor, right: Tensor, distance: Distance) -> Tensor:
    """Return (P,) the distances of the (P, D) rows of one side from those of the other."""
    if distance == "squared_euclidean":
        return (left - right).square().sum(1)
    count = len(left)
    partners = torch.arange(2 * count, device=left.device).roll(count)
    return selected_distances(torch.cat([left, right]), partners[None], distance)[0, :count]


def _fast_pairs(rows: Tensor) -> tuple[Tensor, Tensor]:
    # Of eight rows, 0 2 4 6 against 1 5 3 7: odd rows 3 and 5 swapped, without an index tensor
    # that would have to be copied to the device.
    blocks = rows[: len(rows) - len(rows) % 8].unflatten(0, (len(rows) // 8, 8))
    odd = blocks[:, 1::2].unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2)
    return blocks[:, 0::2].flatten(0, 1), odd.flatten(0, 1)


@register_loss("contrastive")
class ContrastiveLoss(RankingLoss, function=contrastive_loss):
    """Contrastive loss as a module; see `contrastive_loss`. Its batch layout depends on `pairs`."""

    # The Reality Check's range (Musgrave, Belongie and Lim, ECCV 2020), from 0 on: below
    # they are the same.
    search: ClassVar[dict[str, Range]] = {
        "margin": Range(0.0, 2.0),
        "positive_margin": Range(0.0, 2.0),
    }

    with_memory = True
    with_weights = True

    needs_positives = False
    needs_negatives = False

    def __init__(self, **parameters: Any) -> None:
        """Check and keep the parameters; ValueError for an impossible one."""
        super().__init__(**parameters)
        self.batch_layout = "blocks" if self.pairs == "fast" else "any"
        self.least_rows = 8 if self.pairs == "fast" else 2

    def search_ranges(self) -> dict[str, Range]:
        """Return the ranges; a positive margin is tuned only where there is one."""
        found = super().search_ranges()
        if self.positive_margin == 0:
            del found["positive_margin"]
        return found
