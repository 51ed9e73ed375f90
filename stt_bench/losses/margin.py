"""Margin loss: pairs on either side of a learned boundary, with distance-weighted negatives."""

import math
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from stt_bench.losses.base import LossResult, RankingLoss, loss_function
from stt_bench.losses.distances import pairwise_distances
from stt_bench.losses.parameters import AtLeast0, Count, Limits
from stt_bench.losses.registry import register_loss
from stt_bench.losses.search import Range
from stt_bench.losses.terms import (
    above_zero,
    anchor_counts,
    check_class_range,
    has_both,
    out_of_reach,
    positive_pairs,
    same_class,
)
from stt_bench.losses.weights import counted, divisor
from stt_bench.unit_length import unit_length

Sampling = Literal["distance", "all", "pairs"]
OnTheSphere = Annotated[float, Limits(low=0.0, high=2.0, strict=True)]


@loss_function
def margin_loss(
    embeddings: Tensor,
    labels: Tensor,
    beta: Tensor,
    negatives: Tensor | None = None,
    *,
    margin: AtLeast0 = 0.2,
    nu: AtLeast0 = 0.0,
    sampling: Sampling = "distance",
    cutoff: OnTheSphere = 0.5,
    upper: OnTheSphere = 1.4,
    normalize: bool = True,
) -> LossResult:
    """Return (loss, diagnostics) of the margin loss.

        Σ_(a,p,n) [d(a, p) − β + margin]₊ + [β − d(a, n) + margin]₊ + nu · β
        / number of the 2·|triplets| hinge terms above 0

    with β that of the anchor's class and d the Euclidean distance. With sampling "distance" every
    positive pair (a, p) gets one negative, drawn by torch's generator with a probability of 1/q(d),
    cut to the distances from `cutoff`, to which nearer negatives are raised, to `upper`; q(d) ∝
    dᴰ⁻²·(1 − d²/4)^((D−3)/2) is how often two points of the unit sphere are d apart. An anchor
    without a negative nearer than `upper` makes no triplet. No gradient goes through the draw.

    Args:
        embeddings: (B, D).
        labels: (B,) or (B, 1); from 0 to C − 1 where `beta` has one number a class.
        beta: β, () or (C,), the distance that parts positive from negative pairs.
        negatives: (B, B), in row a and column p the row that is the negative of the pair (a, p),
            in place of a draw, or −1 for none.
        margin: a number, in the unit of the distance.
        nu: what a large β costs; without it β grows as long as more negatives than positives are
            beyond their margin.
        sampling: "distance", "all" triplets, or "pairs": every ordered pair once, without nu.
        cutoff: the distance of unit vectors to which nearer negatives are raised, below `upper`.
        upper: the distance of unit vectors from which on a negative is not drawn.
        normalize: scale the embeddings to length 1 first.

    Raises:
        ValueError: for a malformed batch, an impossible parameter, or (on CPU, where looking costs
            nothing) a label that has no β.

    Source: Wu, Manmatha, Smola and Krähenbühl, "Sampling Matters in Deep Embedding Learning", ICCV
    2017; the defaults are the paper's. Its published code draws uniformly where an anchor has no
    negative near enough.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> y = torch.tensor([0, 0, 1])
        >>> margin_loss(x, y, torch.tensor(0.8), sampling="pairs")[0]
        tensor(0.3188)

    """
    _check_cuts(cutoff, upper)
    rows = unit_length(embeddings) if normalize else embeddings
    distances = pairwise_distances(rows)
    same = same_class(labels, distances.dtype)
    if beta.ndim:
        check_class_range(labels, len(beta))
        beta = beta.index_select(0, labels)[:, None]
    beta = beta.to(distances.dtype)
    sizes = same.sum(1)
    valid = has_both(sizes)[:, None]
    positive, negative = valid * positive_pairs(same), valid * (1 - same)
    diagnostics = anchor_counts(sizes)
    pull = (distances - beta + margin).relu()
    push = (beta - distances + margin).relu()
    if sampling == "all":
        # A pair is in as many triplets as its anchor has members of the other kind.
        positives, others = positive.sum(1, keepdim=True), negative.sum(1, keepdim=True)
        positive, negative = positive * others, negative * positives
        triplets = positives * others
    elif sampling == "pairs":
        triplets = torch.zeros_like(valid)
    else:
        if negatives is None:
            negatives = draw(chances(distances, same, embeddings, normalize, cutoff, upper))
        has_one = (negatives >= 0).to(same.dtype)
        lacking = valid[:, 0] * (1 - (positive * has_one).amax(1))
        diagnostics["anchors_without_candidate"] = lacking.sum().long()
        positive = positive * has_one
        push = push.gather(1, negatives.clamp(min=0))
        negative = positive
        triplets = positive.sum(1, keepdim=True)
    above = _counts(positive, above_zero(pull)) + _counts(negative, above_zero(push))
    share = 1 / divisor(above).to(distances.dtype)
    active = counted(above).sum()
    loss = (pull * (positive * share)).sum() + (push * (negative * share)).sum()
    loss = loss + nu * (triplets * share * beta).sum() * (active > 0)
    diagnostics["terms"] = counted(_counts(positive) + _counts(negative)).sum()
    diagnostics["active"] = active.to(distances.dtype) / diagnostics["terms"].clamp(min=1)
    return loss, diagnostics


@torch.no_grad()
def chances(
    distances: Tensor,
    same: Tensor,
    embeddings: Tensor,
    normalize: bool,
    cutoff: float,
    upper: float,
) -> Tensor:
    """Return (B, B) probabilities of each row to be drawn; 0 of all, if none is below `upper`."""
    on_sphere = distances if normalize else of_unit_vectors(embeddings)
    raised = on_sphere.clamp(min=cutoff)
    near = (1 - same) * (raised < upper)
    size = embeddings.shape[1]
    inside = raised.clamp(max=upper)  # so that no logarithm is taken of 0
    logits = (2 - size) * inside.log() - 0.5 * (size - 3) * (1 - inside.square() / 4).log()
    # By row: next to one close pair of the batch, no other row would be left any probability.
    logits = torch.sub(logits, 1 - near, alpha=out_of_reach(logits.dtype))
    return logits.softmax(1) * near


@torch.no_grad()
def draw(probabilities: Tensor) -> Tensor:
    """Return (B, B) columns, each drawn with the chances of its row by torch's generator, or −1."""
    chance = probabilities.cumsum(1)
    level = torch.rand_like(chance) * chance[:, -1:]
    place = torch.arange(chance.shape[1], device=chance.device)
    last = ((probabilities > 0) * (place + 1)).amax(1, keepdim=True) - 1  # −1: there is none
    return torch.minimum(torch.searchsorted(chance, level, right=True), last)


@torch.no_grad()
def nearest(embeddings: Tensor, labels: Tensor, *, cutoff: float, upper: float) -> Tensor:
    """Return (B, B) columns: of each anchor the nearest negative below `upper`, or −1."""
    distances = of_unit_vectors(embeddings)
    near = (1 - same_class(labels, distances.dtype)) * (distances.clamp(min=cutoff) < upper)
    least = torch.where(near > 0, distances, math.inf).min(1, keepdim=True)
    return torch.where(least.values.isinf(), -1, least.indices).expand_as(distances)


def of_unit_vectors(embeddings: Tensor) -> Tensor:
    """Return (B, B) Euclidean distances of the rows scaled to length 1."""
    return (2 * pairwise_distances(embeddings, "cosine")).sqrt()


def _counts(numbers: Tensor, chosen: Tensor | None = None) -> Tensor:
    """Return (B,) sums of whole numbers, (B, B), whose sum float32 may not hold: it ends at 2²⁴."""
    return (numbers if chosen is None else numbers * chosen).sum(1).long()


def _check_cuts(cutoff: float, upper: float) -> None:
    if cutoff >= upper:
        raise ValueError(f"cutoff must be below upper, got {cutoff:g} and {upper:g}")


@register_loss("margin")
class MarginLoss(RankingLoss, function=margin_loss):
    """Margin loss as a module that owns β; see `margin_loss`.

    The parameter `beta` is (), or (num_classes,) with `beta_per_class`; the optimiser must be given
    it. In training mode negatives are drawn; in evaluation mode each anchor meets its nearest
    candidate, which is the most likely one.

    Args:
        beta: where β starts.
        beta_per_class: whether each class has a β of its own.
        num_classes: number of classes; for `beta_per_class`.

    """

    # The Reality Check's range (Musgrave, Belongie and Lim, ECCV 2020), from 0 on.
    search: ClassVar[dict[str, Range]] = {
        "margin": Range(0.0, 2.0),
        "beta": Range(0.0, 2.0),
    }

    with_memory = True
    with_weights = True

    beta: Any
    sampling: str
    cutoff: float
    upper: float

    def __init__(
        self,
        *,
        beta: AtLeast0 = 1.2,
        beta_per_class: bool = False,
        num_classes: Count = 1,
        **parameters: Any,
    ) -> None:
        """Check and keep the parameters; ValueError for an impossible one."""
        super().__init__(
            beta=beta, beta_per_class=beta_per_class, num_classes=num_classes, **parameters
        )
        _check_cuts(self.cutoff, self.upper)
        if beta_per_class and num_classes == 1:
            raise ValueError("beta_per_class needs num_classes, the number of classes")
        self.start: float = self.beta
        self.beta = nn.Parameter(torch.full((num_classes,) if beta_per_class else (), self.start))

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossResult:
        """Return (loss, diagnostics)."""
        options = {name: getattr(self, name) for name in self._formula_options}
        negatives = None
        if self.sampling == "distance" and not self.training:
            negatives = nearest(embeddings, labels, cutoff=self.cutoff, upper=self.upper)
        return margin_loss.formula(embeddings, labels, self.beta, negatives, **options)

    def extra_repr(self) -> str:
        """Show the parameters when the module is printed, of β its start."""
        return super().extra_repr().replace(f"beta={self.beta!r}", f"beta={self.start!r}")
