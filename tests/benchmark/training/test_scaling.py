"""Steps that the loss scaler skips, counted against a plain loop."""

import torch
from torch import nn

from stt_bench.benchmark.training.scaling import LossScaler, many

CPU = torch.device("cpu")


def steps(scaler, gradients, weight, optimizer):
    for gradient in gradients:
        optimizer.zero_grad()
        scaler.scale((weight * gradient).sum()).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()


def test_skipped_steps_are_counted_and_kept():
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = LossScaler(CPU, enabled=True)
    gradients = [1.0, torch.inf, 2.0, torch.nan, torch.inf, 3.0]
    steps(scaler, gradients, weight, optimizer)
    assert scaler.skipped == 3
    assert weight.tolist() == [-6.0, -6.0]  # those of the finite gradients alone
    later = LossScaler(CPU, enabled=True)
    later.load_state_dict(scaler.state_dict())
    steps(later, [torch.inf, 1.0], weight, optimizer)
    assert later.skipped == 4
    assert later.get_scale() == scaler.get_scale() / 2


def test_a_scale_that_has_come_to_nothing_counts_too():
    scaler = LossScaler(CPU, enabled=True)
    weight = nn.Parameter(torch.zeros(1))
    steps(scaler, [torch.inf] * 200, weight, torch.optim.SGD([weight], lr=1.0))
    assert scaler.skipped == 200
    assert many(200, 4000)
    assert not many(200, 4001)
    assert not many(10, 10)
    assert not many(None, 10)


def test_without_float16_nothing_is_counted():
    scaler = LossScaler(CPU, enabled=False)
    weight = nn.Parameter(torch.zeros(1))
    steps(scaler, [1.0], weight, torch.optim.SGD([weight], lr=1.0))
    assert scaler.skipped is None
    assert scaler.state_dict() == {}
    scaler.load_state_dict({})


def test_a_checkpoint_of_before_steps_were_counted_continues():
    scaler = LossScaler(CPU, enabled=True)
    weight = nn.Parameter(torch.zeros(1))
    steps(scaler, [torch.inf], weight, torch.optim.SGD([weight], lr=1.0))
    state = {name: one for name, one in scaler.state_dict().items() if name != "skipped"}
    later = LossScaler(CPU, enabled=True)
    later.load_state_dict(state)
    assert later.skipped == 0
