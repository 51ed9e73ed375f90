"""The optimiser, and what multiplies its learning rate from step to step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.sections import OptimizerConfig
from stt_bench.benchmark.models import EmbeddingNetwork, parameter_groups
from stt_bench.benchmark.system.errors import BenchError

# Parts of the names of the parameters that `optimizer.proxy_lr_factor` is about: those of `pml:`
# losses are in `peer`.
PROXIES = {"proxies", "beta", "peer"}
_OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def learning_rate_factor(experiment: Experiment, step: int) -> float:
    """Return what multiplies ``optimizer.lr`` in a step (from 0).

    This is the schedule's warm-up and descent over all of ``train.steps``, times the ratio of the
    phase's own learning rate to ``optimizer.lr``.
    """
    factor, end = _schedule(experiment.optimizer, step, experiment.train.steps), 0
    for phase in experiment.phases:
        end += phase.steps
        if step < end:
            return factor * (phase.lr or experiment.optimizer.lr) / experiment.optimizer.lr
    return factor


def set_learning_rate(optimizer: torch.optim.Optimizer, experiment: Experiment, step: int) -> None:
    """Give each group of parameters its learning rate of a step (from 0)."""
    factor = learning_rate_factor(experiment, step)
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def _schedule(optimizer: OptimizerConfig, step: int, steps: int) -> float:
    if step < optimizer.warmup_steps:
        return (step + 1) / optimizer.warmup_steps
    progress = (step - optimizer.warmup_steps) / max(1, steps - optimizer.warmup_steps)
    if optimizer.schedule == "linear":
        return 1.0 - progress
    if optimizer.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0


def build_optimizer(
    config: OptimizerConfig, network: EmbeddingNetwork, objective: nn.Module
) -> torch.optim.Optimizer:
    """Return the optimiser; weight decay acts on every parameter that trains but proxies and β.

    Those have a learning rate of their own. Of proxies only the direction counts: decay would
    shorten them, and so make their steps longer; β would be drawn to 0, which means nothing.

    Raises:
        BenchError: no parameter trains.
    """
    groups = parameter_groups(network, config.lr, config.backbone_lr_factor)
    named = [entry for entry in objective.named_parameters() if entry[1].requires_grad]
    learned = [p for name, p in named if not PROXIES & set(name.split("."))]
    proxies = [p for name, p in named if PROXIES & set(name.split("."))]
    if proxies and config.proxy_lr_factor:
        rate = config.lr * config.proxy_lr_factor
        groups.append({"params": proxies, "lr": rate, "weight_decay": 0.0})
    if learned:
        groups.append({"params": learned, "lr": config.lr})
    if not groups:
        raise BenchError(
            "nothing trains: all is frozen and the loss has no weights; shorten model.freeze, "
            "raise optimizer.backbone_lr_factor, or give the model a head"
        )
    options: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": True}
    if config.name == "sgd":
        options["momentum"] = config.momentum
    optimizer = _OPTIMIZERS[config.name](_joined(groups), **options)
    for group in optimizer.param_groups:
        group["base_lr"] = group["lr"]
    _start_momentum(optimizer)
    return optimizer


def _start_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Give SGD the momentum of 0 of each parameter that has none yet.

    The fused one does not take parameters of which some have one and some, that had no gradient so
    far, have none.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"] if group.get("momentum") else ():
            if optimizer.state[parameter].get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Continue from a state, whichever groups the same parameters stood in when it was kept."""
    groups = optimizer.state_dict()["param_groups"]
    if [p for group in groups for p in group["params"]] == [
        p for group in state["param_groups"] for p in group["params"]
    ]:
        state = {**state, "param_groups": groups}  # the next step sets their learning rates
    optimizer.load_state_dict(state)
    _start_momentum(optimizer)


def _joined(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the groups in their order, neighbours that learn alike as one: each costs time."""
    joined: list[dict[str, Any]] = []
    for group in groups:
        alike = {**group, "params": None}
        if joined and {**joined[-1], "params": None} == alike:
            joined[-1]["params"] += group["params"]
        else:
            joined.append(group)
    return joined
