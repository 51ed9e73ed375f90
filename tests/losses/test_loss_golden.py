"""Values worked out by hand-checked brute force from the source systems' formulas, to 1e-6."""

import math

import pytest
import torch
from loss_cases import value_and_grad

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


GRADIENTS = [
    ("contrastive", SEPARATE, ".11916607 .00385059 .15788390 -.02869727"),
    (
        "contrastive",
        {**SEPARATE, "positive_margin": 0.3},
        ".11916607 .00385059 .15788390 -.02869727",
    ),
    (
        "contrastive",
        {"power": 1, "positive_margin": 0.3, "mean": "separate_all"},
        ".00439117 .00385059 .03764353 -.02869727",
    ),
    (
        "contrastive",
        {"positive_margin": 0.3, "mean": "separate"},
        ".00296223 .00283054 .09536024 -.08010999",
    ),
    (
        "contrastive",
        {"positive_margin": 0.3, "mean": "separate", "normalize": False},
        ".40150243 -.41612929 .73241603 -.61473768",
    ),
    ("batch_all_triplet", SOFT, ".00158329 -.00784124 .04839470 -.04099761"),
    (
        "batch_all_triplet",
        {**SOFT, "triplets": "hard"},
        ".01664161 -.01332579 .07766875 -.06741026",
    ),
    (
        "batch_all_triplet",
        {**SOFT, "triplets": "semi_hard"},
        "-.01457407 .00577736 -.00047446 .00199341",
    ),
    (
        "batch_all_triplet",
        {**SOFT, "triplets": "easy"},
        "-.07461230 .00272460 .00000000 .00817380",
    ),
    ("batch_all_triplet", {}, ".00823395 -.00731045 .07294452 -.06727337"),
    (
        "batch_all_triplet",
        {"triplets": "hard"},
        ".02296294 -.01511179 .11277183 -.10674021",
    ),
    (
        "batch_all_triplet",
        {"triplets": "semi_hard"},
        "-.04110817 .01882402 -.00671009 .01166033",
    ),
    (
        "batch_all_triplet",
        {"margin": 0.2, "triplets": "semi_hard", "normalize": True},
        "-.00194630 .02139057 .07865377 -.02295781",
    ),
]


@pytest.mark.parametrize(("name", "params", "numbers"), GRADIENTS)
def test_gradient(name, params, numbers):
    """At x[0][0] and x[5][1], of A, then of B, from central differences in 60 digits."""
    found = []
    for labels in (A, B):
        _, grad = value_and_grad(build_loss(name, **params), E, labels)
        found += [grad[0, 0].item(), grad[5, 1].item()]
    assert found == pytest.approx([float(n) for n in numbers.split()], abs=1e-8, rel=0)


PAIRS_AND_RANKS = [
    ("multi_similarity", {}, "1.48250706 .06491140 -.01685112 .94225036 .09786373 -.04184091"),
    (
        "multi_similarity",
        {"epsilon": None},
        "1.49033788 .06452899 -.01685112 1.00925397 .09786373 -.04184091",
    ),
    (
        "multi_similarity",
        {"epsilon": None, "beta": 10.0, "base": 1.0},
        "1.90563553 .00697457 -.01791040 1.38419018 .04369440 -.04594286",
    ),
    (
        "multi_similarity",
        {"epsilon": 0.02, "beta": 10.0},
        "1.51000976 .02505350 -.00811371 .96992975 .05791112 -.03321699",
    ),
    ("supcon", {}, "7.72099713 -.08443518 .26776287 8.40967475 .49370837 -.24458338"),
    ("supcon", {"form": "in"}, "5.78591143 -.42202439 .80117179 8.40967475 .49370837 -.24458338"),
    (
        "supcon",
        {"temperature": 0.5},
        "2.51615309 -.01295680 .01365030 2.65388861 .10267191 -.08881895",
    ),
    (
        "supcon",
        {"form": "in", "temperature": 0.5},
        "2.38254757 -.04762533 .05444453 2.65388861 .10267191 -.08881895",
    ),
    ("ntxent", {}, "10.63802285 -.08270086 .39827372 11.88569564 .75028911 -.35776537"),
    (
        "ntxent",
        {"temperature": 0.5},
        "2.28958553 -.02850071 .02568772 2.65388861 .10267191 -.08881895",
    ),
    (
        "ntxent",
        {"temperature": 0.5, "denominator": "others"},
        "2.51615309 -.01295680 .01365030 2.65388861 .10267191 -.08881895",
    ),
    ("circle", {}, "194.55393045 5.00183096 -5.96434905 149.23076153 9.10905121 -6.07393105"),
    (
        "circle",
        {"margin": 0.25, "gamma": 4.0},
        "11.50054346 .16841804 -.30597113 9.33318367 .34227541 -.30909804",
    ),
    ("easy_positive", {}, "4.71030323 -.15475470 .80652305 8.28317846 .58727270 -.26789220"),
    (
        "easy_positive",
        {"negatives": "semi_hard"},
        ".22884540 -.00217974 .45121678 .30487262 .32627734 -.10974668",
    ),
    (
        "easy_positive",
        {"negatives": "all"},
        "4.82289888 -.26606057 .83313088 8.40967475 .49370837 -.24458338",
    ),
    (
        "lifted",
        {"form": "generalized"},
        "3.86284155 .01480473 -.02707257 3.12293656 .07909234 -.06449612",
    ),
    (
        "lifted",
        {"form": "generalized", "normalize": True},
        "3.71982401 -.01060699 .00640218 2.99718780 .03578218 -.03079258",
    ),
    (
        "lifted",
        {"form": "generalized", "normalize": True, "margin": "soft"},
        "2.78438943 -.00977104 .00602287 2.12854555 .03180825 -.02738846",
    ),
    ("smooth_ap", {}, ".32519096 -.00052733 .04072634 .28341857 .00012302 .00260405"),
    (
        "smooth_ap",
        {"temperature": 0.1},
        ".33634127 -.00308570 .00254832 .30235000 .01545972 -.00326123",
    ),
    (
        "smooth_ap",
        {"temperature": 0.1, "with_query": False},
        ".54631396 -.00792951 .00146013 .70989316 .02306809 -.00292999",
    ),
]


@pytest.mark.parametrize(("name", "params", "numbers"), PAIRS_AND_RANKS)
def test_value_and_two_gradients(name, params, numbers):
    """Of A, then of B, to the eighth digit of what 60-digit arithmetic gives."""
    loss = build_loss(name, **params)
    wanted_of_both = [float(number) for number in numbers.split()]
    for labels, wanted in ((A, wanted_of_both[:3]), (B, wanted_of_both[3:])):
        value, grad = value_and_grad(loss, E, labels)
        found = [value.item(), grad[0, 0].item(), grad[5, 1].item()]
        assert found == pytest.approx(wanted, abs=1e-8, rel=0)
        if loss.normalize:
            assert loss(U, labels).item() == pytest.approx(value.item(), abs=1e-12)
