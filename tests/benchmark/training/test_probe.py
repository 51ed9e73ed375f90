"""The probe tells another formula from rounding, threads and bookkeeping."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.scoring.probe import metrics_probe
from stt_bench.benchmark.training import probe as module
from stt_bench.benchmark.training.probe import changed, numbers, training_probe
from stt_bench.losses import loss_names

HARD = {"name": "hard_triplet", "margin": 0.3}
ROW: dict[str, Any] = {"data": {"name": "digits"}, "loss": HARD}


def of(**settings: Any) -> Experiment:
    return Experiment.model_validate({**ROW, **settings})


def found(**settings: Any) -> dict[str, float]:
    probe = training_probe(of(**settings))
    assert probe is not None
    return probe


def every_loss() -> list[Experiment]:
    losses = [*loss_names(), "pml:ContrastiveLoss"]
    alone = [of(loss={"name": name}) for name in losses]
    starts = [of(model={"head": "linear", "head_start": start}) for start in ("pca", "identity")]
    heads = [of(model={"head": head}) for head in ("none", "fc1024", "mlp")]
    memory = of(memory={"size": 5000, "start_step": 500})
    return [*alone, *starts, *heads, of(softmax_head=True), memory]


def test_the_numbers_are_integer_arithmetic() -> None:
    def mixed(x: int) -> float:
        for multiplier in (0x7FEB352D, 0x846CA68B):
            x ^= x >> 16
            x = x * multiplier % 2**32
        return (x ^ x >> 16) / 2**31 - 1

    expected = [mixed(3 * 1_000_003 + 1 + place) for place in range(50)]
    assert numbers(50, 3).tolist() == expected


def test_the_step_without_loss_is_what_the_layers_say() -> None:
    images = module._images(0, 3).double() / 255
    learner = module._Tiny(module._tiny(of(train={"steps": 0})))
    weights = {k: v.detach() for k, v in learner.network.state_dict().items()}
    x = (images - 0.5) / 0.5
    for layer, stride in ((1, 2), (2, 1), (3, 2)):
        kernel = weights[f"backbone.net.conv{layer}.weight"]
        windows = x.unfold(2, 3, stride).unfold(3, 3, stride)
        bias = weights[f"backbone.net.conv{layer}.bias"].view(1, -1, 1, 1)
        x = (torch.einsum("nchwij,ocij->nohw", windows, kernel) + bias).clamp(min=0)
    rows = x.mean(dim=(2, 3)) @ weights["head.weight"].T + weights["head.bias"]
    expected = float((rows * torch.from_numpy(numbers(rows.numel(), 99)).view(rows.shape)).sum())
    assert found(train={"steps": 0})["embedding"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": {**HARD, "margin": 0.31}},
        {"loss": {**HARD, "normalize": True}},
        {"loss": "lifted"},
        {"softmax_head": True},
        {"softmax_head": True, "loss_weight": 0.5},
        {"phases": [{"steps": 9, "loss": "priming"}]},
        {"memory": {"size": 64}},
        {"memory": {"size": 64, "weight": 0.5}},
        {"model": {"normalize": True}},
        {"model": {"head": "none"}},
        {"model": {"head": "fc1024"}},
        {"model": {"head": "mlp"}},
        {"model": {"head_start": "identity"}},
        {"model": {"head_start": "pca"}},
        {"model": {"features": "flattened"}},
        {"model": {"freeze": "all"}},
        {"optimizer": {"lr": 0.002}},
        {"optimizer": {"name": "sgd"}},
        {"optimizer": {"weight_decay": 0.1}},
        {"optimizer": {"schedule": "cosine"}},
        {"optimizer": {"warmup_steps": 10}},
        {"optimizer": {"backbone_lr_factor": 0.1}},
        {"input": {"mean": [0.4] * 3, "std": [0.5] * 3}},
    ],
)
def test_whatever_trains_otherwise_gives_other_numbers(settings: dict[str, Any]) -> None:
    assert changed(found(), found(**settings))


def test_bookkeeping_and_names_give_the_same() -> None:
    beside = {
        "label": "x",
        "train": {"log_every": 7, "threads": 5, "device": "cuda"},
        "evaluation": {"memory_mib": 9, "ks": [1]},
        "model": {"backbone": "resnet50", "weights": "pretrained", "freeze": ["layer1"]},
    }
    assert found(**beside) == found()


def test_threads_and_the_generator_do_not_matter_and_are_left_alone() -> None:
    row = {"loss": "margin"}  # draws its negatives
    torch.manual_seed(1)
    one, state = found(**row), torch.get_rng_state()
    torch.manual_seed(2)
    torch.set_num_threads(3)
    assert changed(one, found(**row)) == []
    assert torch.get_num_threads() == 3
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_rounding_is_no_change_whatever_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that differ by a million times what another order of sums makes of them."""
    experiments = every_loss()
    before = [training_probe(one) for one in experiments]
    measured = metrics_probe(of().evaluation)
    noise = np.random.default_rng(0)

    def shaken(count: int, start: int = 0) -> np.ndarray:
        return numbers(count, start) * (1 + 1e-10 * noise.standard_normal(count))

    monkeypatch.setattr(module, "numbers", shaken)
    monkeypatch.setattr("stt_bench.benchmark.scoring.probe.numbers", shaken)
    for experiment, one in zip(experiments, before, strict=True):
        now = training_probe(experiment)
        assert one is not None, experiment.loss.name
        assert now is not None
        assert len(one) >= 8
        assert changed(one, now) == [], experiment.loss.name
    assert changed(measured, metrics_probe(of().evaluation)) == []


def test_a_loss_that_is_not_known_here_has_no_probe() -> None:
    assert training_probe(of(loss="of_a_plugin")) is None


def test_the_metrics_follow_the_rows_own_evaluation() -> None:
    plain, other = (
        metrics_probe(of(evaluation=one).evaluation)
        for one in ({}, {"clustering_start": "k-means++"})
    )
    assert set(changed(plain, other)) <= {"nmi", "ami", "nmi_chance"}
    assert changed(plain, other)
    assert "nmi" not in metrics_probe(of(evaluation={"clustering": False}).evaluation)
