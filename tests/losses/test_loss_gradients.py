"""Gradients: equal to finite differences, and finite or zero where the formula has a corner."""

import math

import numpy as np
import pytest
import torch
from loss_cases import CASES, DIM, IDS, LOOPS, batch, cases_where, make, value_and_grad

from stt_bench.losses.distances import (
    DISTANCES,
    STRIP,
    pairwise_distances,
    selected_distances,
)
from stt_bench.losses.pairs import pair_cross_entropy, split_pairs

LAYOUTS = {
    "complete": [0, 0, 1, 1, 2, 2, 0, 0],
    "blocks": [0, 0, 0, 0, 1, 1, 1, 1],
    "incomplete": [0, 0, 1, 1, 2, 3, 2],
}
FEW = 3  # coordinates, where each costs two losses: a formula is the same in all


@pytest.mark.parametrize("labels", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize(("name", "params"), CASES, ids=IDS)
def test_finite_differences(name, params, labels):
    loss = make(name, params, dim=FEW)
    x, y = batch(labels, dim=FEW, seed=3)
    if getattr(LOOPS[name], "HELD", False):
        _, grad = value_and_grad(loss, x, y)
        np.testing.assert_allclose(grad, differences_of_the_loop(name, params, x, y), atol=1e-5)
        return
    assert torch.autograd.gradcheck(lambda x: loss(x, y), (x,), eps=1e-7, atol=1e-5)


def differences_of_the_loop(name, params, x, y):
    """Return the loop's finite differences at x, with what the loss holds fixed left at x."""
    points, labels = x.detach().numpy(), y.numpy()

    def moved(place, by):
        there = points.copy()
        there[place] += by
        return LOOPS[name].loop(there, labels, held=points, **params)[0]

    grad = np.empty_like(points)
    for place in np.ndindex(points.shape):
        grad[place] = (moved(place, 1e-6) - moved(place, -1e-6)) / 2e-6
    return grad


def test_the_gradient_check_sees_something():
    """Most cases must have a gradient to check on the complete layout."""
    x, y = batch(LAYOUTS["blocks"], dim=FEW, seed=3)
    assert all(value_and_grad(make(*case, dim=FEW), x, y)[1].abs().max() > 1e-4 for case in CASES)


@pytest.mark.parametrize("distance", DISTANCES)
def test_pairwise_and_selected_distances_agree(distance):
    x, _ = batch([0] * 7)
    chosen = torch.tensor([[1, 2, 3, 4, 5, 6, 0], [1, 1, 1, 3, 4, 4, 1]])
    gathered = pairwise_distances(x, distance).gather(1, chosen.T).T
    selected = selected_distances(x, chosen, distance)
    torch.testing.assert_close(gathered, selected, rtol=1e-12, atol=1e-12)
    weights = torch.rand(2, 7, dtype=x.dtype)
    gradients = [torch.autograd.grad((v * weights).sum(), x)[0] for v in (gathered, selected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def test_cosine_is_one_minus_cosine():
    x, _ = batch([0] * 7)
    cosine = torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=-1)
    torch.testing.assert_close(pairwise_distances(x, "cosine"), 1 - cosine, atol=1e-12, rtol=0)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coinciding_rows_have_distance_and_gradient_zero(distance, dtype):
    x = (1e3 * torch.randn(1, 300, dtype=dtype)).repeat(9, 1).requires_grad_()
    others = torch.arange(9).flip(0)[None]
    for distances in (pairwise_distances(x, distance), selected_distances(x, others, distance)):
        (grad,) = torch.autograd.grad(distances.sum(), x)
        assert distances.abs().max() == 0
        assert grad.abs().max() == 0


@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "cityblock"])
def test_close_rows_far_from_the_origin_keep_their_digits(distance):
    x = (5e4 + torch.randn(20, 64)).float()
    exact = pairwise_distances(x.double() - 5e4, distance)
    torch.testing.assert_close(pairwise_distances(x, distance), exact.float(), rtol=1e-6, atol=1e-6)


def test_close_rows_in_a_spread_batch_keep_their_digits():
    x = torch.randn(20, 64)
    x[1] = x[0] + 1e-5 * torch.randn(64)
    near = (x[0].double() - x[1].double()).norm().float()
    torch.testing.assert_close(pairwise_distances(x)[0, 1], near, rtol=1e-4, atol=0)


@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "cosine"])
def test_gradients_between_close_rows_keep_their_digits(distance):
    """Rows 1e-3 apart, 30 from the others: float32 products must not drown their small pull."""
    x, _ = batch([0] * 24, dim=64, dtype=torch.float32)
    close = torch.cat([x.detach(), x.detach() + 1e-3 * torch.randn(24, 64)])
    weights = torch.rand(48, 48)

    def gradient(points):
        points = points.clone().requires_grad_()
        value = (weights.to(points.dtype) * pairwise_distances(points, distance)).sum()
        return torch.autograd.grad(value, points)[0].double()

    exact = gradient(close.double())
    assert (gradient(close) - exact).norm(dim=1).max() < 1e-4 * exact.norm(dim=1).min()


@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean"])
def test_rows_closer_than_rounding_coincide(distance):
    x, _ = batch([0] * 20, dim=64)
    near = torch.cat([x.detach(), x.detach() * (1 + 1e-10)]).requires_grad_()
    between = pairwise_distances(near, distance)[:20, 20:].diagonal()
    (grad,) = torch.autograd.grad(between.sum(), near)
    assert between.abs().max() == 0
    assert grad.abs().max() == 0


LONE = [*LAYOUTS["complete"], 3]


@pytest.mark.parametrize(
    ("bad", "labels"),
    [(math.nan, LAYOUTS["blocks"]), (math.inf, LAYOUTS["blocks"]), (math.nan, LONE)],
    ids=["nan", "inf", "lone nan"],
)
@pytest.mark.parametrize(("name", "params"), CASES, ids=IDS)
def test_a_nan_is_not_hidden(name, params, bad, labels):
    """Not even in a row without a positive; only half a pair, which is left out, may hold one."""
    loss = make(name, params)
    if loss.batch_layout != "any":
        labels = labels[: len(labels) // 2 * 2]
    x, y = batch(labels)
    spoilt = x.detach().clone()
    spoilt[-1, 0] = bad
    assert not loss(spoilt, y).isfinite()


@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "cosine"])
def test_distances_can_be_differentiated_twice(distance):
    x, _ = batch([0] * 5)
    assert torch.autograd.gradgradcheck(lambda x: pairwise_distances(x, distance), (x,))
    chosen = torch.tensor([[1, 2, 3, 4, 0], [2, 2, 1, 0, 0]])
    assert torch.autograd.gradgradcheck(lambda x: selected_distances(x, chosen, distance), (x,))


@cases_where(lambda name, _: not getattr(LOOPS[name], "HELD", False))
def test_losses_can_be_differentiated_twice(name, params):
    """But for those that hold something fixed, which differences of the gradient would move."""
    loss = make(name, params, dim=FEW)
    x, y = batch(LAYOUTS["incomplete"], dim=FEW, seed=3)
    assert torch.autograd.gradgradcheck(lambda x: loss(x, y), (x,), atol=1e-4)


@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "cosine"])
@pytest.mark.parametrize("rows", [STRIP, 2 * STRIP, 2 * STRIP + 1])
def test_a_batch_of_many_strips(rows, distance):
    x, _ = batch([0] * rows, dim=64, dtype=torch.float32)
    x[-1].data.copy_(x[0])  # coincides with a row of another strip
    ours = pairwise_distances(x, distance)
    points = x.detach().double().numpy()
    if distance == "cosine":
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    exact = np.linalg.norm(points[:, None] - points[None], axis=2)
    exact = {"euclidean": exact, "squared_euclidean": exact**2, "cosine": exact**2 / 2}[distance]
    np.testing.assert_allclose(ours.detach().numpy(), exact, rtol=2e-6, atol=0)
    assert ours[0, -1] == ours[-1, 0] == 0


@pytest.mark.parametrize("size", [1e21, 1e30, 1e38])
def test_squares_beyond_float32_are_infinite(size):
    x = torch.tensor([[0.0], [size], [size]])
    squares = pairwise_distances(x, "squared_euclidean")
    assert squares.tolist() == [[0, math.inf, math.inf], [math.inf, 0, 0], [math.inf, 0, 0]]


@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean"])
@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_distances_of_extreme_rows(distance, scale):
    x, _ = batch([0] * 7, dtype=torch.float32)
    ours = pairwise_distances(scale * x, distance)
    power = 2 if distance == "squared_euclidean" else 1
    exact = scale**power * torch.cdist(x.double(), x.double()) ** power
    torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=0)
    (grad,) = torch.autograd.grad(ours.sum() / scale**power, x)
    (wanted,) = torch.autograd.grad(exact.sum() / scale**power, x)
    torch.testing.assert_close(grad, wanted, rtol=1e-4, atol=1e-4)


def test_no_gradient_is_a_denormal_number():
    """A CPU multiplies with them ten times slower."""
    logits = -torch.arange(0.0, 160.0).square().reshape(16, 10)[:10].clone().requires_grad_()
    pairs = split_pairs(torch.randn(20, DIM), torch.arange(10).repeat_interleave(2))
    (grad,) = torch.autograd.grad(pair_cross_entropy(logits, pairs, 0.0)[0], logits)
    assert ((grad == 0) | (grad.abs() > torch.finfo(grad.dtype).tiny)).all()
    assert (grad == 0).any()
