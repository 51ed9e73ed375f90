"""One rule for rows of unit length, whatever their size, in the losses, the network and groups."""

import doctest

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

import stt_bench.unit_length
from stt_bench.benchmark.datasets.groups import average_groups
from stt_bench.evaluation.exact import Points
from stt_bench.losses import build_loss
from stt_bench.unit_length import unit_length

LENGTHS = [1e-45, 1e-40, 1e-30, 1e-13, 1e-8, 1.0, 1e19, 1e30, 1e38]
both = pytest.mark.parametrize("divide", [False, True])


def rows_of_every_length() -> torch.Tensor:
    direction = torch.tensor([0.6, 0.0, -0.8], dtype=torch.float64)
    return (torch.tensor(LENGTHS, dtype=torch.float64)[:, None] * direction).float()


@both
def test_direction_at_every_length(divide: bool) -> None:
    x = rows_of_every_length()
    exact = x.double().numpy()
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    np.testing.assert_allclose(unit_length(x, divide=divide).numpy(), exact, rtol=1e-6)


@both
@pytest.mark.parametrize("length", [1e-30, 1e-13, 1.0, 1e18, 1e30])
def test_gradient_at_every_length(length: float, divide: bool) -> None:
    x = (length * torch.tensor([[0.6, 0.8]])).requires_grad_()
    (grad,) = torch.autograd.grad(unit_length(x, divide=divide)[0, 0], x)
    wanted = torch.tensor([[0.64, -0.48]]) / length
    torch.testing.assert_close(grad, wanted, rtol=1e-5, atol=0)


@both
@pytest.mark.parametrize("length", [0.0, 1e-45, 1e-40, 1e38])
def test_gradient_is_finite_at_the_ends(length: float, divide: bool) -> None:
    x = torch.tensor([[length, 0.0], [1.0, 1.0]], requires_grad=True)
    with torch.autograd.set_detect_anomaly(True):
        unit_length(x, divide=divide).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert length > 0 or not x.grad[0].any()


@both
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_nan_stays(bad: float, divide: bool) -> None:
    assert unit_length(torch.tensor([[bad, 1.0]]), divide=divide).isnan().any()


@pytest.mark.parametrize("beside", [1.0, 0.0, 1e-30, 1e30])
def test_ordinary_rows_divided_are_those_of_torch_to_the_last_bit(beside: float) -> None:
    """So they are beside a row of zeros, or of a length whose square float32 does not hold."""
    x = torch.randn(64, 33) * torch.logspace(-4, 4, 64)[:, None]
    x = torch.cat([x, torch.full((1, 33), beside)]).requires_grad_()
    weights = torch.randn(64, 33)
    ours, plain = unit_length(x, divide=True)[:-1], functional.normalize(x, dim=1)[:-1]
    assert torch.equal(ours, plain)
    gradients = [torch.autograd.grad((weights * u).sum(), x)[0] for u in (ours, plain)]
    assert torch.equal(*gradients)


def test_a_row_has_the_same_bits_beside_any_other() -> None:
    row = torch.tensor([[-0.0, 1.0, 2.0]])
    for beside in (0.0, 1.0, 1e30):
        both = unit_length(torch.cat([row, torch.full((1, 3), beside)]), divide=True)
        assert not both[0, 0].signbit()


def test_looking_for_ordinary_rows_waits_for_no_device() -> None:
    x = torch.ones(2, 3, device="meta")  # which has no numbers to look at
    assert unit_length(x, divide=True).shape == (2, 3)


def test_one_rule_everywhere() -> None:
    """A row as short as (1e-13, 0) has the direction (1, 0), in every part of the product."""
    short = np.array([[1e-13, 0.0], [0.0, 1e-30], [0.0, 0.0]], dtype=np.float32)
    wanted = [[1, 0], [0, 1], [0, 0]]
    frame = pd.DataFrame({"path": ["a", "b", "c"], "group": ["a", "b", "c"]})
    assert average_groups(short, None, frame, normalize=True)[0].tolist() == wanted
    assert Points(short, "cosine").rows(slice(None)).tolist() == wanted
    x, y = torch.from_numpy(short[:2]), torch.tensor([0, 1])
    contrastive = build_loss("contrastive", margin=2.0)
    assert contrastive(x, y).item() == pytest.approx((2 - 2**0.5) ** 2, rel=1e-4)


def test_the_example_runs() -> None:
    assert doctest.testmod(stt_bench.unit_length).failed == 0
