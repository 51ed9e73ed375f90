"""Gradients: equal to finite differences, and finite or zero where the formula has a corner."""

import math

import pytest
import torch
from loss_cases import CASES, IDS, batch, make, value_and_grad

from losses.distances import DISTANCES, pairwise_distances, rowwise_distances, unit_rows

LAYOUTS = {
    "complete": [0, 0, 1, 1, 2, 2, 0, 0],
    "blocks": [0, 0, 0, 0, 1, 1, 1, 1],
    "incomplete": [0, 0, 1, 1, 2, 3, 2],
}


@pytest.mark.parametrize("labels", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize(("name", "params"), CASES, ids=IDS)
def test_finite_differences(name, params, labels):
    loss = make(name, params)
    x, y = batch(labels, seed=3)
    assert torch.autograd.gradcheck(lambda x: loss(x, y), (x,), eps=1e-7, atol=1e-5)


def test_the_gradient_check_sees_something():
    """Most cases must have a gradient to check on the complete layout."""
    x, y = batch(LAYOUTS["blocks"], seed=3)
    assert all(value_and_grad(make(*case), x, y)[1].abs().max() > 1e-4 for case in CASES)


@pytest.mark.parametrize("distance", DISTANCES)
def test_pairwise_and_rowwise_distances_agree(distance):
    x, _ = batch([0] * 7)
    square = pairwise_distances(x, distance)
    rows = rowwise_distances(x[:-1], x[1:], distance)
    torch.testing.assert_close(square.diagonal(1), rows, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(v.sum(), x)[0] for v in (square.diagonal(1), rows)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def test_cosine_is_one_minus_cosine():
    x, _ = batch([0] * 7)
    cosine = torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=-1)
    torch.testing.assert_close(pairwise_distances(x, "cosine"), 1 - cosine, atol=1e-12, rtol=0)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coinciding_rows_have_distance_and_gradient_zero(distance, dtype):
    x = (1e3 * torch.randn(1, 300, dtype=dtype)).repeat(9, 1).requires_grad_()
    for distances in (pairwise_distances(x, distance), rowwise_distances(x, x.flip(0), distance)):
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


def test_rows_closer_than_rounding_coincide():
    x, _ = batch([0] * 20, dim=64)
    near = torch.cat([x.detach(), x.detach() * (1 + 1e-10)]).requires_grad_()
    between = pairwise_distances(near)[:20, 20:].diagonal()
    (grad,) = torch.autograd.grad(between.sum(), near)
    assert between.abs().max() == 0
    assert grad.abs().max() == 0


@pytest.mark.parametrize("length", [0.0, 1e-30, 1e-8, 1.0, 1e30])
def test_unit_rows_at_every_length(length):
    direction = torch.tensor([[0.6, 0.8]])
    x = (length * direction).requires_grad_()
    u = unit_rows(x)
    (grad,) = torch.autograd.grad(u[0, 0], x)
    if length < 1e-12:
        assert u.abs().max() == 0
        assert grad.abs().max() == 0
    else:
        torch.testing.assert_close(u, direction)
        torch.testing.assert_close(grad, torch.tensor([[0.64, -0.48]]) / length)


@pytest.mark.parametrize(("name", "params"), CASES, ids=IDS)
def test_a_nan_is_not_hidden(name, params):
    x, y = batch(LAYOUTS["blocks"])
    spoilt = x.detach().clone()
    spoilt[0, 0] = math.nan
    assert make(name, params)(spoilt, y).isnan()
