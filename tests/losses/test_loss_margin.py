"""Margin loss: golden values, the learned β, and the draw of negatives."""

import pytest
import torch
from loss_cases import batch
from test_loss_golden import A, B, E, close

from stt_bench.losses import build_loss, margin_loss
from stt_bench.losses.distances import pairwise_distances
from stt_bench.losses.margin import chances, draw
from stt_bench.losses.terms import same_class
from stt_bench.unit_length import unit_length

BETA = (1.2, 1.1, 1.0, 0.9)
PROBABILITIES = {
    "A": """5:.43484574 6:.56515426; 4:.51444943 5:.21949039 7:.26606019; ;
        6:.42865608 7:.57134392; 1:1.00000000; 0:.57418037 1:.42581963; 0:.64848810 3:.35151190;
        1:.48911239 3:.51088761""",
    "B": """3:.23903521 5:.33090229 6:.43006250; 4:.51444943 5:.21949039 7:.26606019; ;
        0:.30533505 6:.29777235 7:.39689260; 1:.69115179 6:.30884821; 0:.57418037 1:.42581963;
        0:.46735637 3:.25332974 4:.27931389; 1:.48911239 3:.51088761""",
}


def cyclic(labels):
    """Give positive number r of anchor a the negative number a + r, in place of a draw."""
    chosen = torch.zeros(len(labels), len(labels), dtype=torch.long)
    for a, own in enumerate(labels.tolist()):
        positives = [k for k, y in enumerate(labels.tolist()) if y == own and k != a]
        negatives = [k for k, y in enumerate(labels.tolist()) if y != own]
        for r, p in enumerate(positives):
            chosen[a, p] = negatives[(a + r) % len(negatives)]
    return chosen


@pytest.mark.parametrize(
    ("params", "beta", "labels", "wanted"),
    [
        ({}, [1.2] * 4, A, (0.48863095, -0.00324700, 0.00335661, -0.2)),
        ({}, [1.2] * 4, B, (0.53156701, 0.04327666, -0.02087074, -0.18181818)),
        ({"nu": 0.1}, BETA, A, (0.62381953, -0.00344379, 0.00563675, -0.17575758)),
        ({"nu": 0.1}, BETA, B, (0.80294667, 0.05289370, -0.02550868, -0.2)),
        ({"sampling": "all"}, BETA, A, (0.53967040, -0.01272480, 0.00861245, -0.20454545)),
        ({"sampling": "all"}, BETA, B, (0.68811262, 0.02425946, -0.01934034, -0.10344828)),
        ({"sampling": "pairs"}, BETA, A, (0.51863429, -0.01288470, 0.00967064, -0.13888889)),
        ({"sampling": "pairs"}, BETA, B, (0.49261127, 0.01880807, 0.00145282, 0.22222222)),
        ({"normalize": False}, BETA, A, (1.15248025, 0.09591747, -0.08646775, -0.42307692)),
        ({"normalize": False}, BETA, B, (1.40876881, 0.16763995, -0.14293719, -0.25)),
    ],
)
def test_value_and_gradients(params, beta, labels, wanted):
    x = E.clone().requires_grad_()
    beta = torch.tensor(beta, dtype=torch.float64, requires_grad=True)
    value, _ = margin_loss(x, labels, beta, cyclic(labels), **params)
    value.backward()
    for got, number in zip((value, x.grad[0, 0], x.grad[5, 1], beta.grad[0]), wanted, strict=True):
        close(got, number)


def chances_of(x, labels, **cuts):
    distances = pairwise_distances(unit_length(x))
    same = same_class(labels, distances.dtype)
    options = {"cutoff": 0.5, "upper": 1.4, **cuts}
    return chances(distances, same, x, True, **options)


@pytest.mark.parametrize(("name", "labels"), [("A", A), ("B", B)])
def test_probabilities(name, labels):
    wanted = torch.zeros(8, 8, dtype=torch.float64)
    for a, entries in enumerate(PROBABILITIES[name].split(";")):
        for entry in entries.split():
            n, _, p = entry.partition(":")
            wanted[a, int(n)] = float(p)
    torch.testing.assert_close(chances_of(E, labels), wanted, atol=1e-8, rtol=0)


def test_a_close_pair_in_512_dimensions_leaves_the_other_anchors_theirs():
    torch.manual_seed(0)
    x = torch.randn(16, 512)
    x[4] = x[0] + 0.01
    labels = torch.arange(16) // 4
    torch.testing.assert_close(chances_of(x, labels, upper=1.45).sum(1), torch.ones(16))


def test_draws_follow_the_probabilities():
    wanted = chances_of(E, A).float()
    torch.manual_seed(0)
    seen = torch.zeros(8, 9)
    for _ in range(1500):
        seen.scatter_add_(1, draw(wanted) + 1, torch.ones(8, 8))
    found = seen / seen.sum(1, keepdim=True)
    torch.testing.assert_close(found[:, 1:], wanted, atol=0.02, rtol=0)
    assert found[:, 0].tolist() == [0, 0, 1, 0, 0, 0, 0, 0]  # anchor 2 has no negative below 1.4


def test_an_anchor_without_a_candidate_is_no_term_but_counted():
    loss = build_loss("margin")
    for mode in (True, False):
        assert loss.train(mode)(E, A) > 0
        assert loss.diagnostics["anchors_without_candidate"] == 1
        assert loss.diagnostics["terms"] == 2 * 7 * 3


def test_draws_are_a_function_of_torchs_seed():
    x, y = batch([i // 4 for i in range(32)], dtype=torch.float32)
    loss = build_loss("margin").train()
    values = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        values.append(loss(x, y).item())
    assert values[0] == values[1] != values[2]


def test_beta_learns_and_starts_where_it_is_told():
    loss = build_loss("margin", beta=0.7, beta_per_class=True, num_classes=4, nu=0.5)
    assert loss.beta.shape == (4,)
    assert loss.beta.tolist() == pytest.approx([0.7] * 4)
    x, y = batch([0, 0, 1, 1], dtype=torch.float32)
    loss(x, y).backward()
    assert (loss.beta.grad[:2] != 0).all()
    assert (loss.beta.grad[2:] == 0).all()
    assert build_loss("margin").beta.shape == ()
    assert dict(build_loss("margin").named_parameters()).keys() == {"beta"}


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"^beta_per_class needs num_classes"):
        build_loss("margin", beta_per_class=True)
    with pytest.raises(ValueError, match=r"^cutoff must be below upper, got 1\.5 and 1\.4$"):
        build_loss("margin", cutoff=1.5)
    loss = build_loss("margin", beta_per_class=True, num_classes=3)
    with pytest.raises(ValueError, match="labels must be from 0 to 2"):
        loss(*batch([0, 3], dtype=torch.float32))
