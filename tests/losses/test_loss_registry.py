"""Building losses by name, and adding to the names."""

import importlib.metadata
import inspect

import pytest
import torch
from loss_cases import LOOPS

from stt_bench.losses import (
    RankingLoss,
    build_loss,
    loss_names,
    loss_parameters,
    register_loss,
    registry,
)

DEFAULTS = {name: loops.DEFAULTS for name, loops in LOOPS.items()}


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_factories", dict(registry._factories))
    monkeypatch.setattr(registry, "_from_packages", set())


class Constant(RankingLoss):
    def __init__(self, *, value=2.0):
        super().__init__()
        self.value = value

    def compute(self, embeddings, labels):
        return self.value + 0 * embeddings.sum(), {"terms": labels.new_full((), len(labels))}


def test_names_and_defaults_are_those_of_the_design():
    assert {name: loss_parameters(name) for name in loss_names()} == DEFAULTS


@pytest.mark.parametrize("name", DEFAULTS)
def test_context_is_accepted_everywhere(name):
    loss = build_loss(name, num_classes=3, embedding_dim=4)
    for key, value in DEFAULTS[name].items():
        assert getattr(loss, key) == value
        assert f"{key}={value!r}" in repr(loss)


@pytest.mark.parametrize("name", ["center", "softmax", "cosface", "soft_triple"])
def test_context_is_demanded_where_needed(name):
    with pytest.raises(ValueError, match="needs num_classes and embedding_dim"):
        build_loss(name)
    with pytest.raises(ValueError, match="needs embedding_dim"):
        build_loss(name, num_classes=3)
    for bad in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="num_classes"):
            build_loss(name, num_classes=bad, embedding_dim=4)


def test_unknown_loss():
    with pytest.raises(ValueError, match=r"unknown loss 'hard_tripplet': did you mean 'hard_trip"):
        build_loss("hard_tripplet")
    with pytest.raises(ValueError, match=r"unknown loss 'zzz': valid: angular, .*softmax"):
        build_loss("zzz")


def test_unknown_parameter():
    with pytest.raises(ValueError, match=r"'marginn': did you mean 'margin'\?"):
        build_loss("hard_triplet", marginn=1.0)
    with pytest.raises(ValueError, match=r"valid: l2_weight$"):
        build_loss("npairs", temperature=1.0)


def test_margin_message_names_the_words():
    with pytest.raises(ValueError, match="a number of at least 0 or one of soft, none, got 'sotf'"):
        build_loss("hard_triplet", margin="sotf")
    with pytest.raises(ValueError, match="number above 0 and below 90, got 90"):
        build_loss("angular", angle=90)


def test_registered_loss_is_built():
    register_loss("constant")(Constant)
    assert "constant" in loss_names()
    loss = build_loss("constant", num_classes=9, value=3.0)
    assert loss.name == "constant"
    assert loss(torch.ones(2, 2), torch.zeros(2, 1, dtype=torch.long)) == 3.0
    assert loss.diagnostics["terms"] == 2


def test_a_name_is_registered_once():
    register_loss("constant")(Constant)
    with pytest.raises(ValueError, match="'constant' is already registered"):
        register_loss("constant")(Constant)
    with pytest.raises(ValueError, match="'lifted' is already registered"):
        register_loss("lifted")(Constant)


def test_factory_and_required_parameter():
    @register_loss("made")
    def make(weight, **rest):
        return Constant(value=weight + sum(rest.values()))

    assert loss_parameters("made") == {"weight": inspect.Parameter.empty}
    assert build_loss("made", weight=1.0, extra=0.5).value == 1.5
    assert build_loss("made", weight=1.0).name == "made"
    with pytest.raises(ValueError, match="needs weight"):
        build_loss("made")


def test_factory_of_something_else():
    register_loss("linear")(lambda: torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="'linear' is a Linear, not a RankingLoss"):
        build_loss("linear")


def install(monkeypatch, *points):
    points = [importlib.metadata.EntryPoint(n, v, "stt_bench.losses") for n, v in points]

    def entry_points(*, group):
        return [point for point in points if point.group == group]

    monkeypatch.setattr(registry, "entry_points", entry_points)


def test_installed_package(monkeypatch):
    install(monkeypatch, ("packaged", f"{__name__}:Constant"), ("broken", "no_such_module:Loss"))
    assert {"packaged", "broken"} <= set(loss_names())  # listed without being imported
    for _ in range(2):
        assert build_loss("packaged", value=4.0).value == 4.0
    assert loss_parameters("packaged") == {"value": 2.0}
    assert "packaged" in loss_names()
    with pytest.raises(ImportError):
        build_loss("broken")


@pytest.mark.parametrize("names", [("lifted",), ("packaged", "packaged")])
def test_installed_package_with_a_taken_name(monkeypatch, names):
    install(monkeypatch, *((name, f"{__name__}:Constant") for name in names))
    with pytest.raises(ValueError, match="has a name that is taken"):
        loss_names()
