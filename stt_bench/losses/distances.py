"""Distances between embeddings, exact for close rows and with finite gradients everywhere."""

import math
from collections.abc import Callable
from functools import reduce
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from stt_bench.losses.others import Others, all_rows, beside_itself, others_now
from stt_bench.unit_length import unit_length

Distance = Literal["euclidean", "squared_euclidean", "cosine", "cityblock"]
DISTANCES: tuple[str, ...] = get_args(Distance)

STRIP = 128  # rows of a product that a CPU takes at a time
TIE = 1e-12  # what two equal distances may differ by, in float64


def pairwise_distances(x: Tensor, distance: Distance = "euclidean") -> Tensor:
    """Return the (B, B) distances between all rows of `x` (B, D), differentiable.

    Inside `compared_with` of `stt_bench.losses.others` they are the (B, N) distances from those.

    `euclidean` ‖u − v‖, `squared_euclidean` ‖u − v‖², `cosine` 1 − cos(u, v), `cityblock`
    Σ|u_i − v_i|. Coinciding rows have distance 0, and gradient 0 as long as the one that comes
    back to their distance is finite. Cosine is taken as half the squared distance of the unit
    vectors, which is never negative and keeps its digits for close rows; a zero row is ½ away from
    any other. The backward pass of cityblock takes O(B²·D) memory on CUDA, everything else O(B²).

    Raises:
        ValueError: for an unknown distance.

    """
    others = others_now()
    if others is not None:
        return _from_others(x, others, distance)
    if distance == "cityblock":
        return torch.cdist(x, x, p=1.0)
    if distance == "cosine":
        return 0.5 * _EuclideanDistances.apply(unit_length(x), True)
    return _EuclideanDistances.apply(x, _is_squared(distance))


def distance_keys(x: Tensor, distance: Distance = "euclidean") -> Tensor:
    """Return (B, B) numbers, in float64 if there is one, that order pairs of rows by distance.

    They are squared distances of the rows of `x` (B, D), or for cityblock distances, without a
    gradient and without the passes that turn them into values: where two rows coincide, or nearly
    so, they are about 0, and may be below it.
    """
    x = x.detach()
    if distance == "cityblock" or others_now() is not None:
        return pairwise_distances(x, distance).to(_wide(x))
    _is_squared(distance)  # refuses an unknown one
    rows = _centred(unit_length(x) if distance == "cosine" else x)
    return _of_all_pairs(rows, lambda squares, _left, _right: squares)


def selected_distances(x: Tensor, chosen: Tensor, distance: Distance = "euclidean") -> Tensor:
    """Return the (K, B) distances between row i of `x` (B, D) and row chosen[k, i], differentiable.

    Taken from the coordinate differences, so that they cost O(K·B·D) both ways.
    """
    if others_now() is not None:
        return pairwise_distances(x, distance).gather(1, chosen.T).T
    if distance == "cityblock":
        return _differences(x, chosen).abs().sum(2)
    if distance == "cosine":
        return 0.5 * _SelectedDistances.apply(unit_length(x), chosen, True)
    return _SelectedDistances.apply(x, chosen, _is_squared(distance))


def power_of_two(sizes: Tensor) -> Tensor:
    """Return for each size the power of two below it, which it can be divided by exactly.

    Squares of numbers of about 1 neither overflow nor vanish. A size of 0 gives 1.
    """
    power = sizes / (2 * torch.frexp(sizes).mantissa)
    return power.masked_fill(sizes == 0, 1.0)


def tie_width(distances: Tensor, bounds: Tensor) -> Tensor:
    """Return (B, B): a distance this close to a bound of its row differs from it by rounding only.

    Where a comparison decides which terms there are, two distances that are equal on paper must
    not be told apart by the order in which the batch happens to be summed.
    """
    rounding = torch.finfo(distances.dtype)
    least = TIE * distances.amax(1, keepdim=True) + rounding.tiny
    return torch.add(least, bounds.abs(), alpha=4 * rounding.eps)


def rank_with_bounds(distances: Tensor, same: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor]:
    """Sort each anchor's negatives, by distance, together with its positives, by bound.

    `same` is 1 where two rows are of one class. Returns the (B, B) columns in falling order, the
    anchor itself coming last, and 1 in the same layout where there is a negative. So one sort
    tells, for every pair of an anchor, which negatives are nearer than its bound and which not.
    """
    keys = torch.lerp(distances, bounds, same)
    keys.diagonal().fill_(-math.inf)  # fill_diagonal_ would fix a compiled graph to one size
    order = keys.argsort(1, descending=True)
    return order, 1 - same.gather(1, order)


def unsorted(values: Tensor, order: Tensor) -> Tensor:
    """Return (B, B) values in the order of `rank_with_bounds`, put back into their columns."""
    return torch.empty_like(values).scatter_(1, order, values)


def _from_others(x: Tensor, others: Others, distance: Distance) -> Tensor:
    """Return (B, N) distances, from the differences of coordinates: exact for close rows."""
    squared = _is_squared(distance)
    rows = all_rows(x, others.rows, others.with_batch)
    if distance == "cosine":
        x, rows = unit_length(x), unit_length(rows)
    power = 1.0 if distance == "cityblock" else 2.0
    found = torch.cdist(x, rows, p=power, compute_mode="donot_use_mm_for_euclid_dist")
    if squared or distance == "cosine":
        found = found.square() * (1.0 if squared else 0.5)
    return beside_itself(found, 0.0, others.with_batch)


def _is_squared(distance: str) -> bool:
    if distance not in DISTANCES:
        raise ValueError(f"unknown distance {distance!r}: choose one of {', '.join(DISTANCES)}")
    return distance == "squared_euclidean"


class _EuclideanDistances(torch.autograd.Function):
    """(B, B) distances of the rows of (B, D), squared or not, with one matrix product each way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, squared: bool) -> Tensor:
        rows = _centred(x)
        limits = torch.finfo(rows.dtype)

        def settle(squares: Tensor, left: Tensor, right: Tensor) -> Tensor:
            # What is left below the rounding of the lengths has neither a size nor a direction.
            noise = torch.add(8 * limits.eps * left, right, alpha=8 * limits.eps)
            return squares.relu_().mul_(noise.lt_(squares)).to(x.dtype)

        if squared:
            distances = _of_all_pairs(rows, settle)
        else:  # float32 has ten times quicker roots, and room for squares of about 1
            longest = torch.linalg.vector_norm(rows, dim=1).amax().clamp(min=limits.tiny)
            distances = _of_all_pairs(
                rows.div_(longest), lambda *strip: settle(*strip).sqrt_().mul_(longest)
            )
        ctx.save_for_backward(x, distances)
        ctx.squared = squared
        return distances

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # Row i moves by Σ_j w_ij (x_i − x_j), w_ij = (g_ij + g_ji) · 2, or ÷ d_ij if not squared.
        x, distances = ctx.saved_tensors
        # Once centred, float32 will do: its rounding is below that of the embeddings themselves.
        rows = x - x.detach().mean(0, dtype=_wide(x)).to(x.dtype)
        apart = distances.detach().sign()  # 0 where two rows coincide
        if ctx.squared:
            # or where they are so close that their square is no number: those stay apart
            shortest = 1e4 * torch.finfo(x.dtype).tiny ** 0.5
            largest = rows.detach().abs().amax()
            apart = torch.maximum(apart, (largest < shortest).to(apart.dtype))
        pull = gradient * apart
        pull = 2 * pull if ctx.squared else pull / (distances + (1 - apart))
        weights = pull + pull.T
        weights.diagonal().sub_(weights.sum(1))  # so that the product is Σ_j w_ij (x_j − x_i)
        return (weights @ rows).neg(), None


class _SelectedDistances(torch.autograd.Function):
    """(K, B) distances of the rows of (B, D) from chosen ones, squared or not."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, chosen: Tensor, squared: bool) -> Tensor:
        differences = _differences(x, chosen)
        power = power_of_two(differences.abs().amax(2))
        distances = torch.linalg.vector_norm(differences.div_(power[:, :, None]), dim=2).mul_(power)
        if squared:
            distances = distances.square()
        ctx.save_for_backward(x, distances, chosen)
        ctx.squared = squared
        return distances

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        x, distances, chosen = ctx.saved_tensors
        if ctx.squared:
            pull = 2 * gradient
        else:
            pull = gradient / distances.masked_fill(distances == 0, math.inf)
        moves = _differences(x, chosen) * pull[:, :, None]
        back = reduce(torch.add, moves).neg()  # quicker than a sum over the first of three axes
        return back.index_add_(0, chosen.flatten(), moves.flatten(0, 1)), None, None


def _differences(x: Tensor, chosen: Tensor) -> Tensor:
    """Return (K, B, D): x[chosen] − x, by the quicker `index_select`."""
    return x.index_select(0, chosen.flatten()).unflatten(0, chosen.shape).sub_(x)


def _of_all_pairs(rows: Tensor, finish: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """Return (B, B) finish(‖u − v‖², ‖u‖², ‖v‖²) of all pairs of (B, D) rows.

    A CPU takes it in strips that fit its caches, and little more than the half that differs;
    `finish` gets a strip at a time, which it may overwrite, with (S, 1) and (T,) squared lengths.
    """
    if rows.device.type != "cpu" or torch.compiler.is_compiling():  # a loop would fix B
        products = rows @ rows.T
        squared = products.diagonal().clone()
        return finish(_squares(products, squared[:, None], squared), squared[:, None], squared)
    total = len(rows)
    squared, pairs = rows.new_empty(total), rows.new_empty(0)
    for start in range(0, total, STRIP):
        stop = min(start + STRIP, total)
        products = rows[start:stop] @ rows[:stop].T
        squared[start:stop] = products[:, start:].diagonal()
        left, right = squared[start:stop, None], squared[:stop]
        strip = finish(_squares(products, left, right), left, right)
        if start == 0:
            pairs = strip.new_empty(total, total)
        pairs[start:stop, :stop] = strip
        pairs[:start, start:stop] = strip[:, :start].T
    return pairs


def _squares(products: Tensor, left: Tensor, right: Tensor) -> Tensor:
    return products.mul_(-2).add_(left).add_(right)


def _wide(x: Tensor) -> torch.dtype:
    return x.dtype if x.device.type == "mps" else torch.float64  # MPS has no float64


def _centred(x: Tensor) -> Tensor:
    # ‖u‖² + ‖v‖² − 2u·v cancels for rows that are close compared with their length. Centring
    # removes the common part of the length; float64 leaves float32 embeddings all their digits.
    wide = x.to(_wide(x), copy=True)
    return wide.sub_(wide.mean(0))
