"""The optimiser's groups: as few as learn alike, and states of other groups go on."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.training.learner import new_model
from stt_bench.benchmark.training.optimization import build_optimizer, load_optimizer
from stt_bench.benchmark.training.update import Update


def optimizer_of(**rates: Any) -> torch.optim.Optimizer:
    experiment = Experiment.model_validate(
        {
            "data": {"name": "digits"},
            "model": {"embedding_dim": 4},
            "input": {"size": 16, "channels": 1, "mean": [0.3], "std": [0.37]},
            "loss": "softmax",
            "optimizer": {"lr": 0.01, **rates},
        }
    )
    torch.manual_seed(0)
    return build_optimizer(experiment.optimizer, *new_model(experiment, 5))


def steps(optimizer: torch.optim.Optimizer, numbers: range) -> list[torch.Tensor]:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    update = Update(optimizer)
    for number in numbers:
        for p in parameters:
            p.grad = torch.cos(p.detach() * (number + 2))
        update()
    return [p.detach().clone() for p in parameters]


def test_what_learns_alike_is_one_group_and_a_rate_of_its_own_another() -> None:
    assert len(optimizer_of().param_groups) == 1
    backbone, rest = optimizer_of(backbone_lr_factor=0.1).param_groups
    assert (backbone["lr"], rest["lr"]) == pytest.approx((0.001, 0.01))
    assert len(rest["params"]) == 4  # weight and bias of head and classifier


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_state_that_was_kept_in_three_groups_goes_on_to_the_same_bytes(name: str) -> None:
    through = steps(optimizer_of(name=name), range(4))
    first = optimizer_of(name=name)
    weights = steps(first, range(2))
    state = first.state_dict()
    (group,) = state["param_groups"]
    numbers = group["params"]
    state["param_groups"] = [
        {**group, "params": part} for part in (numbers[:-4], numbers[-4:-2], numbers[-2:])
    ]
    again = optimizer_of(name=name)
    with torch.no_grad():
        for p, kept in zip(again.param_groups[0]["params"], weights, strict=True):
            p.copy_(kept)
    load_optimizer(again, state)
    ours = steps(again, range(2, 4))
    assert all(torch.equal(a, b) for a, b in zip(ours, through, strict=True))


def _written_out(
    name: str, start: np.ndarray, lr: float, decay: float, momentum: float, count: int
) -> np.ndarray:
    """Some steps in float64, by the definitions of the optimisers."""
    x, first, second = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for step in range(1, count + 1):
        gradient = np.cos(x * (step + 1))
        if name == "adamw":
            x *= 1 - lr * decay
        else:
            gradient = gradient + decay * x
        if name == "sgd":
            first = gradient if step == 1 else momentum * first + gradient
            x -= lr * first
            continue
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        x -= lr * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return x


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_step_is_one_pass_over_the_weights_and_what_the_optimiser_is_defined_as(
    name: str,
) -> None:
    optimizer = optimizer_of(name=name, weight_decay=0.1, momentum=0.9)
    assert all(group["fused"] for group in optimizer.param_groups)
    start = [p.detach().double().numpy().copy() for p in optimizer.param_groups[0]["params"]]
    found = steps(optimizer, range(5))
    for weights, before in zip(found, start, strict=True):
        expected = _written_out(name, before, 0.01, 0.1, 0.9, 5)
        assert weights.numpy() == pytest.approx(expected, abs=1e-6)


def test_momentum_starts_with_the_first_gradient_of_each_parameter() -> None:
    """As where a phase brings in the weights of its loss; an earlier state knows none of theirs."""
    optimizer = optimizer_of(name="sgd", momentum=0.9)
    parameters = optimizer.param_groups[0]["params"]
    late, update = len(parameters) // 2, Update(optimizer)
    start = [p.detach().double().numpy().copy() for p in parameters]
    for step in range(5):
        for p in parameters[: None if step > 1 else late]:
            p.grad = torch.cos(p.detach() * max(step, 2))
        if step == 2:
            state = optimizer.state_dict()
            for number in range(late, len(parameters)):
                del state["state"][number]
            load_optimizer(optimizer, state)
        update()
    expected = _written_out("sgd", start[-1], 0.01, 0.0, 0.9, 3)
    assert parameters[-1].detach().numpy() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "adam"},
        {"name": "adam", "weight_decay": 0.1, "backbone_lr_factor": 0.1},
        {"name": "adamw", "weight_decay": 0.1},
        {"name": "sgd"},
        {"name": "sgd", "momentum": 0.9, "weight_decay": 0.1, "backbone_lr_factor": 0.1},
    ],
    ids=str,
)
def test_an_update_has_the_bytes_of_the_optimisers_own_step(options: dict[str, Any]) -> None:
    """Whichever parameters have gradients in a step, at any learning rate, after any load."""
    ours, theirs = optimizer_of(**options), optimizer_of(**options)
    update = Update(ours)
    sides = [
        [p for group in optimizer.param_groups for p in group["params"]]
        for optimizer in (ours, theirs)
    ]
    rng = np.random.default_rng(0)
    for step in range(30):
        chosen = rng.random(len(sides[0])) < 0.8 if step % 4 == 3 else np.full(len(sides[0]), True)
        for parameters in sides:
            for p, one in zip(parameters, chosen, strict=True):
                p.grad = torch.cos(p.detach() * (step + 2)) if one else None
        for optimizer in (ours, theirs):
            for group in optimizer.param_groups:
                group["lr"] = 0.01 / (step + 1)
            if step in (11, 20):
                load_optimizer(optimizer, copy.deepcopy(optimizer.state_dict()))
        update()
        theirs.step()
        assert all(torch.equal(a, b) for a, b in zip(*sides, strict=True)), step
    for kept, expected in zip(ours.state.values(), theirs.state.values(), strict=True):
        assert kept.keys() == expected.keys()
        assert all(torch.equal(kept[name], expected[name]) for name in kept)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_what_no_one_holds_is_freed_at_once(name: str) -> None:
    """Not only when Python looks for cycles: it holds all weights, and what is kept of each."""
    optimizer = optimizer_of(name=name, momentum=0.9)
    for p in optimizer.param_groups[0]["params"]:
        p.grad = torch.ones_like(p)
    update = Update(optimizer)
    update()
    update()
    left = weakref.ref(optimizer)
    gc.disable()
    try:
        del optimizer, update, p
        assert left() is None
    finally:
        gc.enable()
