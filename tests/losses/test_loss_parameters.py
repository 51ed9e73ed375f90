"""Impossible parameters are refused by functions and classes alike, whatever is registered."""

import inspect
import math
from functools import partial

import numpy as np
import pytest
import torch
from loss_cases import DIM, LOOPS, NUM_CLASSES

from stt_bench.losses import build_loss, loss_names, loss_parameters

NOT_NUMBERS = (math.nan, math.inf, -math.inf, 10**5000, "zzz", "", None, True, [1.0], 1j)


def loss_class(name):
    return type(build_loss(name, num_classes=NUM_CLASSES, embedding_dim=DIM))


BAD = {
    float: NOT_NUMBERS,
    int: (*NOT_NUMBERS, 2.5, 0, -1),
    bool: (1, 0, "yes", None, np.True_, 1.0),
    str: ("zzz", "", 2, None, ["euclidean"], True),
}
OUTSIDE = {  # numbers of the right kind that mean nothing
    "margin": (-0.1,),
    "l2_weight": (-1,),
    "cutoff": (0, 2, -1),
    "upper": (0, 2.0, 3),
    "angle": (0, 90, 90.0, -5, 120),
    "alpha": (-0.1,),
    "center.alpha": (1.5,),
    "multi_similarity.alpha": (0, 0.0),
    "multi_similarity.beta": (0, -1.0),
    "epsilon": (-0.1,),
    "gamma": (0, -1),
    "temperature": (0, 0.0, -0.1),
    "scale": (0,),
    "label_smoothing": (-0.1, 1.1),
    "num_classes": (0, -1),
    "embedding_dim": (0,),
}
OPTIONAL = {("multi_similarity", "epsilon")}  # null says something there


def kind(name: str, key: str) -> type:
    if key in ("num_classes", "embedding_dim"):
        return int
    return type(loss_parameters(name)[key])


def may_be_null(name, key):
    """Tell whether None says something, or a loss can do without what data and model say."""
    if (name, key) in OPTIONAL:
        return True
    default = signature(loss_class(name))[key].default
    return key in ("num_classes", "embedding_dim") and default is not inspect.Parameter.empty


def signature(function):
    return inspect.signature(function).parameters


IMPOSSIBLE = [
    (name, key, value)
    for name in loss_names()
    for key in inspect.signature(loss_class(name)).parameters
    if key != "class_counts"
    for value in (*BAD[kind(name, key)], *OUTSIDE.get(key, ()), *OUTSIDE.get(f"{name}.{key}", ()))
    if value is not None or not may_be_null(name, key)
]


@pytest.mark.parametrize("name", loss_names())
def test_impossible_values_are_refused(name):
    context = {"num_classes": NUM_CLASSES, "embedding_dim": DIM}
    cls = loss_class(name)
    known = {key: value for key, value in context.items() if key in signature(cls)}
    for _, key, value in (case for case in IMPOSSIBLE if case[0] == name):
        for build in (cls, partial(build_loss, name)):
            with pytest.raises(ValueError, match=rf"^{key} must be .*, got |needs {key}") as caught:
                build(**{**known, key: value})
            assert "\n" not in str(caught.value)
        if key in options(cls.function):
            with pytest.raises(ValueError, match=rf"^{key} must be .*, got "):
                call(name, **{key: value})


def test_null_is_a_value_where_it_says_something():
    for name, key in OPTIONAL:
        assert getattr(build_loss(name, **{key: None}), key) is None
        with pytest.raises(ValueError, match=f"^{key} must be a number .* or null, got 'none'"):
            build_loss(name, **{key: "none"})


def options(function):
    """Return the parameters of a function that are no tensors."""
    known = signature(function).items()
    return {key for key, entry in known if entry.kind is inspect.Parameter.KEYWORD_ONLY}


def call(name, **params):
    """Call the exported function of a loss on a small batch."""
    x = torch.eye(8, DIM)
    y = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    function = loss_class(name).function
    torch.manual_seed(0)
    loss = build_loss(name, num_classes=NUM_CLASSES, embedding_dim=DIM)
    owned = {**dict(loss.named_buffers()), **dict(loss.named_parameters(recurse=False))}
    if name == "softmax":
        owned = {"weight": loss.linear.weight, "bias": loss.linear.bias}
        owned["class_counts"] = torch.arange(1, NUM_CLASSES + 1)
    return function(x, y, **owned, **params)


@pytest.mark.parametrize("name", loss_names())
def test_numpy_scalars_are_numbers(name):
    loss = build_loss(name, num_classes=np.int64(NUM_CLASSES), embedding_dim=np.int32(DIM))
    for key, default in loss_parameters(name).items():
        if type(default) is not float or key in getattr(LOOPS[name], "NOT_ANY_NUMBER", ()):
            continue
        for scalar in (np.float64(0.25), np.float32(0.25), np.int64(1), 1):
            given = build_loss(name, num_classes=NUM_CLASSES, embedding_dim=DIM, **{key: scalar})
            assert type(getattr(given, key)) is float
            assert getattr(given, key) == scalar
            if key in options(loss_class(name).function):
                assert call(name, **{key: scalar})[0] == call(name, **{key: float(scalar)})[0]
    assert loss.name == name


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("contrastive", {"pairs": "All"}),
        ("semi_hard_triplet", {"per": "Anchor"}),
        ("angular", {"angle": 90.0}),
        ("semi_hard_triplet", {"margin": "none"}),
        ("batch_all_triplet", {"triplets": "easy"}),
        ("contrastive", {"mean": "active"}),
        ("lifted", {"margin": "soft"}),
        ("hard_triplet", {"distance": "l2"}),
    ],
)
def test_what_used_to_be_computed_in_silence(name, params):
    (key,) = params
    with pytest.raises(ValueError, match=f"^{key} must be "):
        call(name, **params)
    with pytest.raises(ValueError, match=f"^{key} must be "):
        build_loss(name, **params)


@pytest.mark.parametrize("name", loss_names())
def test_an_unknown_parameter_is_refused_by_name(name):
    cls = loss_class(name)
    sizes = {"num_classes": NUM_CLASSES, "embedding_dim": DIM}
    known = {key: value for key, value in sizes.items() if key in signature(cls)}
    for build in (partial(cls, **known), partial(call, name)):
        with pytest.raises(TypeError, match="'marginn'"):
            build(marginn=1.0)


@pytest.mark.parametrize("name", loss_names())
def test_help_explains_every_parameter(name):
    cls = loss_class(name)
    text = inspect.getdoc(cls)
    assert text
    explained = text.partition("\nArgs:\n")[2].partition("\n\n")[0]
    for key in signature(cls):
        assert f"    {key}: " in f"{explained}\n"
    assert "Source:" in text
    assert all(f"{key}: " in inspect.getdoc(cls.function) for key in signature(cls.function))


@pytest.mark.parametrize("name", loss_names())
def test_parameters_are_declared_once(name):
    """The class takes what its function takes, with the same defaults."""
    cls = loss_class(name)
    for key in options(cls.function):
        assert signature(cls)[key].default == signature(cls.function)[key].default
