"""The points of a search: pure functions of study and index, in the space that a row has."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import qmc

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.tuning.space import (
    Dimension,
    at_bounds,
    only_rates,
    own_point,
    point_of,
    space_of,
)
from stt_bench.losses.search import Range

FACTOR = "optimizer.backbone_lr_factor"
PROXY = "optimizer.proxy_lr_factor"
LR = "optimizer.lr"


def a_row(**settings: Any) -> Experiment:
    return Experiment.model_validate(
        {"data": {"name": "digits"}, "loss": "softmax", "model": {"freeze": []}, **settings}
    )


def fields(**settings: Any) -> list[str]:
    return [dimension.field for dimension in space_of(a_row(**settings))]


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, [FACTOR, LR]),
        ({"optimizer": {"backbone_lr_factor": 0.0}}, [LR]),
        ({"loss": "hard_triplet"}, ["loss.margin", FACTOR, LR]),
        ({"loss": {"name": "hard_triplet", "margin": "soft"}}, [FACTOR, LR]),
        ({"loss": "cosface"}, ["loss.margin", "loss.scale", FACTOR, LR, PROXY]),
        ({"loss": "margin"}, ["loss.beta", "loss.margin", FACTOR, LR, PROXY]),
        ({"loss": "center", "softmax_head": True}, ["loss.alpha", "loss_weight", FACTOR, LR]),
        ({"loss": "contrastive", "memory": {}}, ["loss.margin", "memory.weight", FACTOR, LR]),
        ({"loss": "cosface", "optimizer": {"proxy_lr_factor": 0.0, "backbone_lr_factor": 0.0}},
         ["loss.margin", "loss.scale", LR]),
        ({"loss": "pml:ProxyNCALoss"}, ["loss.softmax_scale", FACTOR, LR, PROXY]),
    ],
)  # fmt: skip
def test_a_row_tunes_what_it_has(settings: dict, found: list[str]) -> None:
    assert fields(**settings) == found


def test_the_weight_of_center_loss_has_a_range_of_its_own() -> None:
    def weight(loss: str) -> Range:
        space = space_of(a_row(loss=loss, softmax_head=True))
        return next(d.bounds for d in space if d.field == "loss_weight")

    assert weight("center") == Range(1e-3, 1.0, "log")
    assert weight("hard_triplet") == Range(0.03, 3.0, "log")


def test_a_point_is_that_of_the_whole_sequence_in_any_order() -> None:
    space = [Dimension("a", Range(0.0, 1.0)), Dimension("b", Range(1.0, 100.0, "log"))]
    for study in range(3):
        unit = qmc.Sobol(2, scramble=True, rng=np.random.default_rng(study)).random(32)
        for index in (31, 0, 7, 20, 1):
            a, b = unit[index]
            point = point_of(space, study, index)
            assert point["a"] == pytest.approx(a, abs=1e-6)
            assert math.log(point["b"], 100) == pytest.approx(b, abs=1e-6)


def test_the_points_of_a_row_are_the_same_on_every_machine() -> None:
    """These numbers are written down: a library that draws others would change every search."""
    space = space_of(a_row(loss="hard_triplet"))
    assert point_of(space, 0, 0) == {"loss.margin": 0.066054, FACTOR: 0.266601, LR: 0.0269538}
    assert point_of(space, 1, 1) == {"loss.margin": 0.778739, FACTOR: 5.17555, LR: 5.07712e-05}


def test_points_fill_the_space_evenly() -> None:
    space = [Dimension(name, Range(0.0, 1.0)) for name in "abcd"]
    points = [point_of(space, 0, index) for index in range(16)]
    for name in "abcd":  # one in each sixteenth
        assert sorted(int(16 * point[name]) for point in points) == list(range(16))


def test_the_rates_of_backbone_and_proxies_are_absolute() -> None:
    space = space_of(a_row(loss="cosface"))
    for index in range(64):
        point = point_of(space, 0, index)
        assert 1e-6 * 0.999 <= point[LR] * point[PROXY] <= 1.001
        assert 1e-6 * 0.999 <= point[LR] * point[FACTOR] <= 1e-2 * 1.001
        assert 1e-5 <= point[LR] <= 1e-1


def test_the_row_s_own_point_holds_defaults_too() -> None:
    row = a_row(loss={"name": "multi_similarity", "alpha": 3}, optimizer={"lr": 0.02})
    own = own_point(row, space_of(row))
    assert own == {
        "loss.alpha": 3, "loss.base": 0.5, "loss.beta": 50.0, "loss.epsilon": 0.1,
        FACTOR: 1.0, LR: 0.02,
    }  # fmt: skip


def test_a_winner_at_a_bound_is_named_with_it() -> None:
    space = space_of(a_row(loss="hard_triplet"))  # margin 0.01 to 1, log
    inside = {"loss.margin": 0.1, FACTOR: 0.1, LR: 1e-3}
    assert at_bounds(space, inside) == []
    low = 0.01 * 100**0.02  # 2 % from the lower bound in the logarithm
    assert at_bounds(space, {**inside, "loss.margin": low * 0.999}) == [("loss.margin", 0.01)]
    assert at_bounds(space, {**inside, "loss.margin": low * 1.001}) == []
    assert at_bounds(space, {**inside, "loss.margin": 0.99}) == [("loss.margin", 1.0)]
    assert at_bounds(space, {**inside, FACTOR: 9.9}) == [(FACTOR, 1e-2)]  # 1e-3 × 9.9


def test_an_unknown_peer_tunes_its_rates_alone_and_says_so() -> None:
    assert only_rates(a_row(loss="pml:NCALoss"))
    assert not only_rates(a_row(loss="pml:TripletMarginLoss"))
    assert not only_rates(a_row(loss="softmax"))


def test_values_go_into_a_row_and_out_again() -> None:
    row = a_row(loss={"name": "hard_triplet", "margin": 1})
    tuned = row.with_values({"loss.margin": 0.5, LR: 0.1, "train.steps": 7})
    assert (tuned.loss.params["margin"], tuned.optimizer.lr, tuned.train.steps) == (0.5, 0.1, 7)
    assert tuned.digest() != row.digest()
    back = tuned.with_values({"loss.margin": 1, LR: 0.001, "train.steps": 1000})
    assert back.digest() == row.digest()
    plain = a_row(loss="hard_triplet")
    assert tuned.with_values({"loss.margin": None, LR: 0.001, "train.steps": 1000}) == plain
