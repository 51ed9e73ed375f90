"""Values worked out by hand-checked brute force from the source systems' formulas, to 1e-6."""

import math

import pytest
import torch

from stt_bench.losses import build_loss

E = torch.tensor(
    [[round(math.sin((i + 1) * (j + 2)), 3) for j in range(4)] for i in range(8)],
    dtype=torch.float64,
)
U = E / E.norm(dim=1, keepdim=True)
A = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
B = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])

TOOLS_X = torch.tensor(
    [
        [0.22, -0.5, 0.11],
        [0.3, -0.66, 0.05],
        [0.6, -0.27, 0.1],
        [0.8, 0.2, 0.1],
        [0.72, 0.24, 0.12],
    ],
    dtype=torch.float64,
)
TOOLS_Y = torch.tensor([1, 1, 1, 2, 2])


def close(value, wanted):
    assert value.item() == pytest.approx(wanted, abs=1e-6, rel=0)


SOFT = {"margin": "soft"}
SEPARATE = {"mean": "separate", "power": 1}


@pytest.mark.parametrize(
    ("name", "params", "wanted_a", "wanted_b"),
    [
        ("hard_triplet", {}, 2.0692988, 1.8424827),
        ("hard_triplet", {"margin": "soft"}, 1.3750862, 1.2319265),
        ("hard_triplet", {"margin": "none"}, 1.0692988, 0.8424827),
        (
            "hard_triplet",
            {"margin": 0.2, "distance": "squared_euclidean", "normalize": True},
            2.2440155,
            1.8264106,
        ),
        ("hard_triplet", {"margin": 0.2, "distance": "cosine"}, 1.2220078, 1.0007053),
        ("hard_triplet", {"distance": "cityblock"}, 3.2191250, 2.6181250),
        ("hard_triplet", {"margin": 0.5}, 1.5692988, 1.3424827),
        ("semi_hard_triplet", {}, 0.27845358, 0.12780998),
        ("semi_hard_triplet", {"margin": 1.0, "normalize": False}, 0.76168379, 0.38121437),
        ("semi_hard_triplet", {"margin": "soft"}, 0.70053377, 0.64371817),
        ("lifted", {}, 5.9250865, 7.3992449),
        ("batch_all_triplet", {}, 0.85448737, 0.83176979),
        ("batch_all_triplet", {"triplets": "hard"}, 1.03770291, 1.11083647),
        ("batch_all_triplet", {"triplets": "semi_hard"}, 0.24071532, 0.27363642),
        (
            "batch_all_triplet",
            {"margin": 0.2, "triplets": "semi_hard", "normalize": True},
            0.11862107,
            0.10014342,
        ),
        ("batch_all_triplet", SOFT, 0.86354368, 0.86713595),
        ("batch_all_triplet", {**SOFT, "triplets": "hard"}, 1.01311798, 1.05942792),
        ("batch_all_triplet", {**SOFT, "triplets": "semi_hard"}, 0.57480999, 0.58921369),
        ("batch_all_triplet", {**SOFT, "triplets": "easy"}, 0.39167650, 0.33382754),
        ("contrastive", SEPARATE, 1.73170795, 1.77346328),
        ("contrastive", {**SEPARATE, "positive_margin": 0.3}, 1.43170795, 1.47346328),
        (
            "contrastive",
            {"power": 1, "positive_margin": 0.3, "mean": "separate_all"},
            1.30275477,
            1.33836948,
        ),
        (
            "contrastive",
            {"positive_margin": 0.3, "mean": "separate"},
            1.71344107,
            1.82612339,
        ),
        (
            "contrastive",
            {"positive_margin": 0.3, "mean": "separate", "normalize": False},
            3.66451887,
            3.97095321,
        ),
    ],
)
def test_value(name, params, wanted_a, wanted_b):
    loss = build_loss(name, **params)
    close(loss(E, A), wanted_a)
    close(loss(E, B), wanted_b)


def test_batch_all_counts():
    loss = build_loss("batch_all_triplet")
    for labels, share, terms in ((A, 0.90625, 96), (B, 0.9375, 48)):
        loss(E, labels)
        assert loss.diagnostics["active"].item() == share
        assert loss.diagnostics["terms"].item() == terms


def test_npairs_value():
    close(build_loss("npairs", l2_weight=0.0)(E, B), 2.00444437)
    close(build_loss("npairs")(E, B), 2.00636009)


@pytest.mark.parametrize(
    ("angle", "wanted"), [(45.0, 3.61234086), (36.0, 2.54820358), (55.0, 6.29437347)]
)
def test_angular_value(angle, wanted):
    close(build_loss("angular", angle=angle, l2_weight=0.0)(E, B), wanted)
    close(build_loss("angular", angle=angle)(E, B), wanted + 0.001)
    close(build_loss("angular", angle=angle, normalize=False)(U, B), wanted + 0.001)


def test_contrastive_fast_value():
    close(build_loss("contrastive", pairs="fast")(E, A), 1.55304644)
    raw = build_loss("contrastive", pairs="fast", normalize=False)
    close(raw(0.3 * E, A), 0.32862861)
    half = build_loss("contrastive", pairs="fast", normalize=False, margin=0.5)
    close(half(0.3 * E, A), 0.27677561)


def test_center_value_and_step():
    loss = build_loss("center", num_classes=2, embedding_dim=4).double()
    close(loss(E, A), 4.0)
    wanted = torch.tensor(
        [
            [0.04331491, -0.00515129, -0.05255912, 0.02627147],
            [-0.02694656, -0.0023955, 0.07818175, -0.04585268],
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(loss.centers, wanted, atol=1e-8, rtol=0)


ANCHOR = {"per": "anchor", "margin": 1.0}


@pytest.mark.parametrize(
    ("name", "params", "wanted"),
    [
        ("priming", {}, 0.30346566),
        ("priming", {"distance": "cosine"}, 0.10102849),
        ("priming", {"normalize": False}, 0.14419236),
        ("hard_triplet", {"margin": 0.3, "normalize": True}, 0.07150213),
        ("hard_triplet", {"normalize": True}, 0.54413898),
        ("hard_triplet", {"distance": "cosine"}, 0.69017603),
        ("hard_triplet", {}, 0.63641675),
        ("semi_hard_triplet", {**ANCHOR, "distance": "euclidean"}, 0.53036526),
        ("semi_hard_triplet", {**ANCHOR, "distance": "euclidean", "semi_margin": 0.1}, 0.33263684),
        ("semi_hard_triplet", {**ANCHOR, "distance": "cosine"}, 0.68074766),
        (
            "semi_hard_triplet",
            {**ANCHOR, "distance": "euclidean", "normalize": False},
            0.63641675,
        ),
    ],
)
def test_triplet_tools_value(name, params, wanted):
    close(build_loss(name, **params)(TOOLS_X, TOOLS_Y), wanted)


@pytest.mark.parametrize(
    ("name", "params", "labels", "wanted"),
    [
        ("batch_all_triplet", SOFT, A, (0.00158329, -0.00784124)),
        ("batch_all_triplet", {**SOFT, "triplets": "easy"}, A, (-0.07461230, 0.00272460)),
        ("batch_all_triplet", {**SOFT, "triplets": "hard"}, B, (0.07766875, -0.06741026)),
        ("batch_all_triplet", {"triplets": "hard"}, A, (0.02296294, -0.01511179)),
        ("batch_all_triplet", {"triplets": "semi_hard"}, B, (-0.00671009, 0.01166033)),
        ("contrastive", SEPARATE, A, (0.11916607, 0.00385059)),
        (
            "contrastive",
            {"positive_margin": 0.3, "mean": "separate", "normalize": False},
            B,
            (0.73241603, -0.61473768),
        ),
    ],
)
def test_gradient(name, params, labels, wanted):
    """At x[0][0] and x[5][1], from central differences in 60 digits."""
    x = E.clone().requires_grad_()
    build_loss(name, **params)(x, labels).backward()
    for entry, value in zip((x.grad[0, 0], x.grad[5, 1]), wanted, strict=True):
        close(entry, value)
