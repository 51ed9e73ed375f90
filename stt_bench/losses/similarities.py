"""Losses of cosines: log-sum-exps over some of the pairs of a batch.

These losses take the cosine of two rows as 1 − d, with d the cosine distance of
`stt_bench.losses.distances`, and where the 1 cancels as −d: so close rows keep their digits, rows
that coincide have no gradient, and rows of every length that a float holds will do. A row of zeros
has distance ½, and so cosine ½, to any other.
"""

import torch
from torch import Tensor
from torch.nn import functional

from stt_bench.losses.base import RankingLoss
from stt_bench.losses.distances import pairwise_distances
from stt_bench.losses.parameters import Limits
from stt_bench.losses.terms import out_of_reach

ABOVE_0 = Limits(low=0.0, strict=True)
FAR = 4.0  # farther than any cosine distance, which is at most 2
LINEAR = 40.0  # from here on log(1 + eᵛ) is v, to the last digit of float64


class SimilarityLoss(RankingLoss):
    """A loss of cosines: the length of a row means nothing to it."""

    normalize = True
    with_memory = True
    with_weights = True


def cosine_distances(embeddings: Tensor) -> Tensor:
    """Return (B, B) distances 1 − cos of all rows, from 0 to 2."""
    return pairwise_distances(embeddings, "cosine")


def log_total(logits: Tensor, chosen: Tensor) -> Tensor:
    """Return (B,) log Σ exp of the chosen logits of each row, of (B, B).

    `chosen` is 1 or 0. A row without a chosen one gives a finite number below any other, which
    passes no gradient on to a term that is left out, or to `soft_plus`.
    """
    return torch.sub(logits, 1 - chosen, alpha=out_of_reach(logits.dtype)).logsumexp(1)


def soft_plus(v: Tensor) -> Tensor:
    """Return log(1 + eᵛ), for v of any size."""
    return functional.softplus(v, threshold=LINEAR)
