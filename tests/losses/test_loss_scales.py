"""Values and gradients in float32 from the smallest to the largest rows that it can tell apart."""

import pytest
import torch
from loss_cases import CASES, IDS, LOOPS, batch, by_loop, make, value_and_grad

LABELS = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
NUMBERS = torch.finfo(torch.float32)


def holds(loss, x):
    """Tell whether float32 holds the distances, their squares, or products of a loss's rows."""
    if getattr(loss, "normalize", False) or getattr(loss, "distance", "") == "cosine":
        return True
    lengths = getattr(loss, "distance", "") in ("euclidean", "cityblock")
    power = 1 if lengths and not getattr(LOOPS[loss.name], "SQUARES", False) else 2
    sizes = torch.cdist(x, x)[~torch.eye(len(x), dtype=torch.bool)] ** power
    return bool(sizes.min() > 1e4 * NUMBERS.tiny and sizes.max() < NUMBERS.max / 100)


@pytest.mark.parametrize("exponent", [-25, -23, -20, -15, -10, 10, 15, 18, 19, 19.5, 20])
@pytest.mark.parametrize(("name", "params"), CASES, ids=IDS)
def test_every_scale(name, params, exponent):
    x, y = batch(LABELS)
    x = (x.detach() * 10.0**exponent).float()
    loss = make(name, params)
    wanted = by_loop(loss, params, x.double().numpy(), y.numpy())[0]
    _, wanted_grad = value_and_grad(loss, x.double(), y)  # gradients are tested on their own
    value, grad = value_and_grad(make(name, params, dtype=torch.float32), x, y)
    assert not value.isnan() or not holds(loss, x.double())
    if holds(loss, x.double()) and abs(wanted) < NUMBERS.max / 100:
        assert value.item() == pytest.approx(wanted, rel=1e-4, abs=NUMBERS.tiny)
    if holds(loss, x.double()) and wanted_grad.abs().max() < NUMBERS.max / 100:
        slack = 1e-3 * wanted_grad.abs().max().item() + NUMBERS.tiny
        torch.testing.assert_close(grad.double(), wanted_grad, rtol=1e-3, atol=slack)


@pytest.mark.parametrize("exponent", [19, 19.5, 20])
def test_npairs_learns_where_its_value_is_beyond_float32(exponent):
    x, y = batch([0, 0, 1, 1, 2, 2])
    x = (x.detach() * 10.0**exponent).float()
    loss = make("npairs", {})
    _, wanted = value_and_grad(loss, x.double(), y)
    value, grad = value_and_grad(loss.float(), x, y)
    assert value > 1e37
    torch.testing.assert_close(grad.double(), wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max())
