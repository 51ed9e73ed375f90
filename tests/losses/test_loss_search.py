"""The ranges that losses are tuned among: sane, within what the losses take, and the sources'."""

import math

import pytest
import torch

from stt_bench.losses import build_loss, loss_names
from stt_bench.losses.peer_search import PEER_RANGES
from stt_bench.losses.search import Range

SIZES = {"num_classes": 3, "embedding_dim": 4}


def test_a_linear_and_a_logarithmic_range_by_hand() -> None:
    linear, log = Range(-0.2, 2.0), Range(1e-4, 1e2, "log")
    assert [linear.value(u) for u in (0.0, 0.5, 1.0)] == [-0.2, 0.9, 2.0]
    assert [log.value(u) for u in (0.0, 0.5, 1.0)] == [1e-4, 0.1, 1e2]
    assert linear.unit(0.9) == pytest.approx(0.5)
    assert log.unit(0.1) == pytest.approx(0.5)
    assert log.unit(1e3) == pytest.approx(7 / 6)
    assert log.unit(0.0) == -math.inf


def test_a_value_has_six_digits_so_that_every_machine_has_the_same() -> None:
    assert Range(0.0, 1.0).value(1 / 3) == 0.333333
    assert Range(1.0, 10.0, "log").value(1 / 3) == 2.15443


@pytest.mark.parametrize(
    ("low", "high", "scale"), [(1, 1, "linear"), (0, 1, "log"), (0, math.inf, "linear")]
)
def test_impossible_bounds_are_refused(low: float, high: float, scale: str) -> None:
    with pytest.raises(ValueError, match="range"):
        Range(low, high, scale)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", loss_names())
def test_a_loss_takes_both_bounds_and_its_default_lies_between(name: str) -> None:
    loss = build_loss(name, **SIZES)
    for parameter, bounds in loss.search_ranges().items():
        for value in (bounds.low, bounds.high):
            build_loss(name, **SIZES, **{parameter: value})
        assert 0 <= bounds.unit(float(torch.as_tensor(getattr(loss, parameter)).detach())) <= 1


@pytest.mark.parametrize(
    ("name", "parameter", "low", "high"),
    [  # of the published search spaces; ours start at 0 where a loss takes nothing below
        ("contrastive", "margin", 0.0, 2.0),
        ("margin", "margin", 0.0, 2.0),
        ("margin", "beta", 0.0, 2.0),
        ("ntxent", "temperature", 1e-4, 1e2),
        ("normalized_softmax", "temperature", 1e-2, 1e2),
        ("cosface", "margin", 0.0, 1.0),
        ("cosface", "scale", 0.01, 200.0),
        ("arcface", "margin", 0.0, math.radians(90)),
        ("arcface", "scale", 0.01, 200.0),
        ("proxy_nca", "temperature", 1 / 100, 1 / 0.01),
        ("multi_similarity", "alpha", 0.01, 100.0),
        ("multi_similarity", "beta", 0.01, 100.0),
        ("multi_similarity", "base", 0.0, 1.0),
        ("multi_similarity", "epsilon", 0.0, 1.0),
        ("soft_triple", "scale", 0.01, 100.0),
        ("soft_triple", "gamma", 0.01, 100.0),
        ("soft_triple", "tau", 0.0, 1.0),
        ("soft_triple", "margin", 0.0, 1.0),
    ],
)
def test_the_ranges_of_the_reality_check(
    name: str, parameter: str, low: float, high: float
) -> None:
    bounds = build_loss(name, **SIZES).search_ranges()[parameter]
    assert (bounds.low, bounds.high) == (low, high)
    logarithmic = parameter in ("temperature", "scale", "alpha", "beta", "gamma")
    assert bounds.scale == ("log" if logarithmic and name != "margin" else "linear")


@pytest.mark.parametrize(
    ("name", "given", "tuned"),
    [
        ("hard_triplet", {"margin": "soft"}, []),
        ("batch_all_triplet", {}, ["margin"]),
        ("batch_all_triplet", {"margin": "soft"}, []),
        ("batch_all_triplet", {"margin": "soft", "triplets": "semi_hard"}, ["reach"]),
        ("multi_similarity", {"epsilon": None}, ["alpha", "base", "beta"]),
        ("angular", {"normalize": False}, ["angle", "l2_weight"]),
        ("angular", {}, ["angle"]),
        ("contrastive", {"positive_margin": 0.1}, ["margin", "positive_margin"]),
        ("soft_triple", {"centers": 1}, ["margin", "scale"]),
        ("softmax", {}, []),
        ("softmax", {"label_smoothing": 0.1}, ["label_smoothing"]),
        ("softmax", {"logit_adjustment": 1.0, "class_counts": [1, 1, 1]}, ["logit_adjustment"]),
        ("pml:NCALoss", {}, []),
        ("pml:TripletMarginLoss", {}, ["margin"]),
        ("priming", {}, []),
    ],
)
def test_only_what_has_an_effect_is_tuned(name: str, given: dict, tuned: list[str]) -> None:
    assert sorted(build_loss(name, **SIZES, **given).search_ranges()) == tuned


@pytest.mark.parametrize("name", sorted(PEER_RANGES))
def test_a_peer_takes_both_bounds(name: str) -> None:
    for parameter, bounds in PEER_RANGES[name].items():
        for value in (bounds.low, bounds.high):
            build_loss(f"pml:{name}", **SIZES, **{parameter: value})
