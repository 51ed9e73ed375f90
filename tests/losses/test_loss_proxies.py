"""Losses with proxies, and Softmax that is adjusted: golden values, identities, limits, peers."""

import math
from importlib import import_module

import pytest
import torch
from loss_cases import DIM, NUM_CLASSES, batch, make
from test_loss_golden import A, B, E

from stt_bench.losses import arcface_loss, build_loss, cosface_loss, softmax_loss
from stt_bench.losses.proxies import ProxyLoss

COUNTS = [50, 40, 30, 20, 10]
W5, W15 = (
    torch.tensor(
        [[round(math.cos((i + 1) * (j + 1)), 3) for j in range(4)] for i in range(rows)],
        dtype=torch.float64,
    )
    for rows in (5, 15)
)
EASY = {"easy_margin": True}
OLD = {"positive_in_denominator": False}

# name, parameters, then value, ∂/∂x[0][0], ∂/∂x[5][1] and gradients at two weights: for labels A, B
GOLDEN = [
    ("normalized_softmax", {}, (11.05894631, 0.00000039, 0.84225699, -0.59318959),
     (15.31712807, 0.00000039, -0.71818454, -0.08129413)),
    ("normalized_softmax", {"temperature": 0.5}, (1.78307588, 0.00156441, 0.06487128, -0.02205097),
     (2.20889405, 0.00156441, -0.09117287, 0.02913858)),
    ("cosface", {}, (52.17990683, 0.0, 2.69918428, -1.53816468),
     (68.48969030, 0.0, -2.29422862, -0.35060347)),
    ("cosface", {"scale": 4.0}, (3.65241747, 0.00923803, 0.14252581, -0.07588159),
     (4.61444461, 0.00923803, -0.17758518, 0.05124283)),
    ("arcface", {}, (57.35364682, 0.0, 2.37421130, -0.77424814),
     (72.90961217, 0.0, -1.92583040, -0.55359420)),
    ("arcface", {"scale": 4.0}, (3.95667828, 0.01652075, 0.12288329, -0.05291683),
     (4.88420606, 0.01652075, -0.15517654, 0.03928799)),
    ("arcface", {"scale": 4.0} | EASY, (3.12321383, 0.01652075, 0.13847363, -0.07990533),
     (3.90549314, 0.01652075, -0.17361468, 0.04796689)),
    ("arcface", {"scale": 4.0, "margin": 1.2}, (6.17491903, 0.06041686, 0.03945131, -0.18016421),
     (6.91578216, 0.06041686, -0.07429952, 0.05344068)),
    ("arcface", {"scale": 4.0, "margin": 1.2} | EASY,
     (4.19975937, 0.06041686, 0.13847363, -0.03089269),
     (4.58258235, 0.06041686, -0.17361468, 0.04760731)),
    ("arcface", {"scale": 4.0, "sub_centers": 3},
     (3.27110954, 0.09075083, 0.21455251, -0.12395455),
     (3.14391980, 0.09075083, -0.08609151, 0.05781495)),
    ("proxy_nca", {"temperature": 1.0} | OLD, (1.44446449, 0.00449085, 0.07214714, -0.03827610),
     (1.97214596, 0.00449085, -0.10012734, 0.03478793)),
    ("proxy_nca", {"temperature": 1 / 3} | OLD, (2.72443605, 0.08125181, 0.22677478, -0.11038525),
     (4.25828252, 0.08125181, -0.24592600, 0.04744625)),
    ("proxy_nca", {}, (9.96392640, 0.00000138, 0.75701984, -0.52589237),
     (13.79628999, 0.00000138, -0.64737754, -0.06518645)),
    ("proxy_nca", {"temperature": 1.0}, (1.78307588, 0.00156441, 0.06487128, -0.02205097),
     (2.20889405, 0.00156441, -0.09117287, 0.02913858)),
    ("proxy_anchor", {}, (46.88389226, 0.00000001, 0.07982127, -6.02130586, 2.60383741),
     (43.21815282, 0.00000001, -2.28813295, 0.55443739, 2.60383741)),
    ("proxy_anchor", {"alpha": 4.0}, (6.46491617, 0.00192596, 0.08339876, -0.38734107, 0.13143126),
     (6.21003433, 0.00165123, -0.17810777, 0.05102813, 0.13143126)),
    ("soft_triple", {"centers": 3},
     (5.56209681, 0.17200237, 0.76223161, -0.21550101, -0.05993003),
     (4.87201262, 0.17200237, -0.38782937, 0.33550651, -0.05825054)),
    ("soft_triple", {"centers": 3, "tau": 0.0},
     (5.39248231, 0.17200237, 0.76223161, -0.21441434, -0.05855582),
     (4.70239812, 0.17200237, -0.38782937, 0.33659318, -0.05687633)),
    ("soft_triple", {"centers": 3, "scale": 4.0, "gamma": 1.0, "margin": 0.1},
     (2.15557497, 0.04812567, 0.09691081, 0.00210438, -0.00535826),
     (2.12233914, 0.04812567, -0.07876464, 0.03100623, -0.00459005)),
    ("softmax", {"label_smoothing": 0.1, "bias": False},
     (1.77414270, -0.02045508, 0.03018350, -0.00066317),
     (2.07601339, -0.02045508, -0.15139150, 0.18541183)),
    ("softmax", {"logit_adjustment": 1.0, "bias": False},
     (1.36295721, -0.01837600, 0.03858475, 0.02883046),
     (1.99936229, -0.01837600, -0.16316525, 0.23558046)),
    ("softmax", {"logit_adjustment": 0.5, "bias": False},
     (1.52348060, -0.02378268, 0.03835618, 0.00967085),
     (2.00938908, -0.02378268, -0.16339382, 0.21642085)),
]  # fmt: skip


def with_weights(name, params, weights):
    """Build a loss with the class vectors of the golden values; row c · K + k is centre k of c."""
    loss = build_loss(name, num_classes=5, embedding_dim=4, class_counts=COUNTS, **params).double()
    own = loss.linear.weight if name == "softmax" else loss.proxies
    own.data.copy_(weights.reshape(own.shape))
    return loss, own


@pytest.mark.parametrize(("name", "params", "of_a", "of_b"), GOLDEN)
def test_values_and_gradients(name, params, of_a, of_b):
    per_class = params.get("centers", params.get("sub_centers", 1))
    loss, own = with_weights(name, params, W5 if per_class == 1 else W15)
    places = [(1, 2), (4, 0)] if per_class == 1 else [(3, 2), (14, 0)]
    for labels, wanted in ((A, of_a), (B, of_b)):
        x = E.clone().requires_grad_()
        value = loss(x, labels)
        by_x, by_own = torch.autograd.grad(value, (x, own))
        by_own = by_own.reshape(-1, 4)
        found = [value, by_x[0, 0], by_x[5, 1], *(by_own[place] for place in places)]
        assert [v.item() for v in found[: len(wanted)]] == pytest.approx(wanted, abs=1.1e-8, rel=0)


@pytest.mark.parametrize(
    ("ours", "same"),
    [
        (("proxy_nca", {"temperature": 0.3}), ("normalized_softmax", {"temperature": 0.15})),
        (("cosface", {"margin": 0.0, "scale": 5.0}), ("normalized_softmax", {"temperature": 0.2})),
        (("arcface", {"margin": 0.0, "scale": 5.0}), ("normalized_softmax", {"temperature": 0.2})),
        (("arcface", {"margin": 0.0} | EASY), ("cosface", {"margin": 0.0})),
        (("soft_triple", {"centers": 1}), ("cosface", {"scale": 20.0, "margin": 0.01})),
    ],
)
def test_losses_that_are_the_same(ours, same):
    values = [with_weights(*loss, W5)[0](E, B) for loss in (ours, same)]
    torch.testing.assert_close(*values, rtol=1e-12, atol=0)


def test_one_sub_centre_is_arcface():
    value = arcface_loss(E, B, W5)[0]
    torch.testing.assert_close(arcface_loss(E, B, W5[:, None])[0], value, rtol=1e-12, atol=0)


def test_adjusting_for_equal_classes_changes_nothing():
    x, y = E, A
    plain = softmax_loss(x, y, W5)[0]
    equal = torch.full((5,), 7)
    torch.testing.assert_close(
        softmax_loss(x, y, W5, None, equal, logit_adjustment=1.3)[0], plain, rtol=1e-12, atol=0
    )
    assert softmax_loss(x, y, W5, None, torch.tensor(COUNTS), logit_adjustment=0.0)[0] == plain


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (A, (1.78131239, -0.01799508, 0.02882412, 0.00177996)),
        (B, (2.07479778, -0.01799508, -0.14770713, 0.18268621)),
    ],
)
def test_smoothing_over_the_other_classes_is_smoothing_by_more(labels, wanted):
    """ε/(C − 1) for each other class, as the codes of ProxyNCA have it, is ours at ε·C/(C − 1)."""
    loss, weight = with_weights("softmax", {"label_smoothing": 0.125, "bias": False}, W5)
    x = E.clone().requires_grad_()
    value = loss(x, labels)
    by_x, by_own = torch.autograd.grad(value, (x, weight))
    found = [v.item() for v in (value, by_x[0, 0], by_x[5, 1], by_own[1, 2])]
    assert found == pytest.approx(wanted, abs=1.1e-8, rel=0)


def test_adjusted_softmax_predicts_without_adjustment():
    loss, weight = with_weights("softmax", {"logit_adjustment": 1.0, "bias": False}, W5)
    torch.testing.assert_close(loss.logits(E), E @ weight.T)
    assert list(loss.state_dict()) == ["linear.weight"]


def test_adjustment_needs_the_counts_of_all_classes():
    params = {"num_classes": 3, "embedding_dim": DIM, "logit_adjustment": 1.0}
    x, y = batch([0, 1, 2], dtype=torch.float32)
    with pytest.raises(ValueError, match=r"logit_adjustment needs class_counts.*3 classes, got no"):
        build_loss("softmax", **params)(x, y)
    with pytest.raises(ValueError, match=r"of the 3 classes, got a shape of \(2,\)"):
        build_loss("softmax", **params, class_counts=[4, 5])
    with pytest.raises(ValueError, match=r"class_counts must be at least 1, got \[4, 0, 1\]"):
        build_loss("softmax", **params, class_counts=[4, 0, 1])


PROXY_LOSSES = ["normalized_softmax", "cosface", "arcface", "proxy_nca", "proxy_anchor"]


@pytest.mark.parametrize("name", [*PROXY_LOSSES, "soft_triple"])
def test_the_highest_score_is_the_nearest_class(name):
    loss = make(name, {})
    x, y = batch([0, 1, 2, 3])
    rows = torch.nn.functional.normalize(x.detach())
    vectors = torch.nn.functional.normalize(loss.proxies.detach(), dim=-1)
    cosines = torch.einsum("bd,c...d->bc...", rows, vectors)
    if name == "soft_triple":
        cosines = ((cosines / 0.1).softmax(2) * cosines).sum(2)
    scores = loss.logits(x)
    torch.testing.assert_close(scores.argsort(1), cosines.argsort(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(loss.logits(x), scores)
    loss(x, y).backward()
    assert isinstance(loss, ProxyLoss)
    assert loss.proxies.grad.abs().amax(-1).min() > 0 or name == "proxy_anchor"


@pytest.mark.parametrize("name", [*PROXY_LOSSES, "soft_triple"])
def test_lengths_do_not_matter_and_proxies_start_at_about_one(name):
    loss, own = with_weights(name, {}, torch.randn(5 * (10 if name == "soft_triple" else 1), 4))
    value = loss(E, B)
    own.data *= torch.logspace(-3, 3, own.numel() // 4).reshape(*own.shape[:-1], 1)
    lengths = torch.linspace(0.1, 9, 8)[:, None]
    torch.testing.assert_close(loss(lengths * E, B), value, rtol=1e-9, atol=0)
    start = build_loss(name, num_classes=40, embedding_dim=256).proxies.detach()
    assert start.norm(dim=-1).mean() == pytest.approx(1, abs=0.02)


def test_proxies_of_absent_classes_push_but_only_those_of_the_batch_pull():
    loss = make("proxy_anchor", {})
    x, y = batch([0, 0, 1, 1])
    (grad,) = torch.autograd.grad(loss(x, y), loss.proxies)
    assert (grad.abs().amax(1) > 0).all()
    away = loss.proxies.data[2:] - 1e-4 * grad[2:]

    def nearness(proxies):
        unit = torch.nn.functional.normalize
        return (32 * unit(x.detach()) @ unit(proxies).T).logsumexp(0)

    assert (nearness(away) < nearness(loss.proxies.data[2:])).all()


def test_one_class_leaves_old_proxy_nca_nothing_to_tell_apart():
    loss = build_loss("proxy_nca", num_classes=1, embedding_dim=4, **OLD).double()
    x = E.clone().requires_grad_()
    value = loss(x, torch.zeros(8, dtype=torch.long))
    value.backward()
    assert value == 0
    assert x.grad.abs().max() == 0
    assert loss.diagnostics["terms"] == 0


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_arcface_where_a_row_lies_on_its_proxy(side, dtype):
    """A float32 cosine of equal rows passes 1 in a third of the cases; sin θ has no slope at 0."""
    generator = torch.Generator().manual_seed(0)
    rows, others = torch.randn(2, 20, 7, generator=generator, dtype=torch.float64).to(dtype)
    x = (side * 3 * rows).requires_grad_()
    proxies = torch.stack([rows[0], others[0]]).requires_grad_()
    for params in ({}, EASY, {"margin": math.pi}):
        for number in range(20):
            proxies.data.copy_(torch.stack([rows[number], others[number]]))
            loss, _ = arcface_loss(x[number][None], torch.tensor([0]), proxies, **params)
            by_x, by_proxies = torch.autograd.grad(loss, (x, proxies))
            assert loss.isfinite()
            assert by_x.isfinite().all()
            assert by_proxies.isfinite().all()
            assert by_x.abs().max() < 200


@pytest.mark.parametrize("angle", [1e-5, 1e-4, 1e-3, 1e-2])
def test_arcface_keeps_its_gradient_at_small_angles(angle):
    """In float32 1 − cos² has no digits there; the gradient is s · sin m all the same."""
    x = torch.tensor([[math.cos(angle), math.sin(angle)]], requires_grad=True)
    proxies = torch.tensor([[1.0, 0.0], [math.cos(0.5), -math.sin(0.5)]])
    loss, _ = arcface_loss(x, torch.tensor([0]), proxies, scale=4.0)
    (grad,) = torch.autograd.grad(loss, x)
    exact = x.detach().double().requires_grad_()
    (wanted,) = torch.autograd.grad(
        arcface_loss(exact, torch.tensor([0]), proxies.double(), scale=4.0)[0], exact
    )
    torch.testing.assert_close(grad.double(), wanted, rtol=2e-2, atol=1e-6)


def test_steep_losses_stay_finite_in_float32():
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    y = torch.tensor([0, 1])
    far = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    assert cosface_loss(x, y, far, scale=1e4)[0].item() == pytest.approx(2e4 + 3500, rel=1e-6)
    for name, params in (("proxy_anchor", {"alpha": 1e4}), ("proxy_nca", {"temperature": 1e-4})):
        loss = build_loss(name, num_classes=2, embedding_dim=2, **params)
        loss.proxies.data.copy_(far)
        (grad,) = torch.autograd.grad(loss(x, y), x)
        assert loss(x, y) > 1e4
        assert grad.isfinite().all()


def test_impossible_angles_and_rates():
    for name, params, word in (
        ("arcface", {"margin": 28.6}, "margin must be a number .* at most 3.14159"),
        ("center", {"alpha": 1.5}, "alpha must be"),
        ("soft_triple", {"centers": 0}, "centers must be"),
    ):
        with pytest.raises(ValueError, match=word):
            build_loss(name, num_classes=2, embedding_dim=2, **params)


def test_classes_are_learned():
    """A few steps on rows and proxies put every row to its class."""
    for name in [*PROXY_LOSSES, "soft_triple"]:
        torch.manual_seed(1)
        loss = build_loss(name, num_classes=NUM_CLASSES, embedding_dim=DIM)
        x, y = batch([i % NUM_CLASSES for i in range(12)], dtype=torch.float32)
        optimizer = torch.optim.Adam([x, *loss.parameters()], lr=0.2)
        for _ in range(25):
            optimizer.zero_grad()
            loss(x, y).backward()
            optimizer.step()
        assert (loss.logits(x).argmax(1) == y).all(), name


def peer(name, params):
    losses = import_module("pytorch_metric_learning.losses")
    sizes = {"num_classes": 5, "embedding_size": 4}
    if name == "normalized_softmax":
        return losses.NormalizedSoftmaxLoss(**sizes, temperature=0.2)
    if name == "cosface":
        return losses.CosFaceLoss(**sizes, scale=8, margin=0.35)
    if name == "arcface":
        kind = losses.SubCenterArcFaceLoss if "sub_centers" in params else losses.ArcFaceLoss
        return kind(**sizes, scale=8, margin=math.degrees(params["margin"]))
    if name == "proxy_nca":
        return losses.ProxyNCALoss(**sizes, softmax_scale=5)
    if name == "proxy_anchor":
        return losses.ProxyAnchorLoss(**sizes, margin=0.1, alpha=32)
    return losses.SoftTripleLoss(**sizes, centers_per_class=3, la=20, gamma=0.1, margin=0.01)


@pytest.mark.parametrize("labels", [A, B], ids=["A", "B"])
@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("normalized_softmax", {"temperature": 0.2}),
        ("cosface", {"scale": 8.0}),
        ("arcface", {"scale": 8.0, "margin": 0.5}),
        ("arcface", {"scale": 8.0, "margin": 0.5, "sub_centers": 3}),
        ("proxy_nca", {"temperature": 0.2}),
        ("proxy_anchor", {}),
        ("soft_triple", {"centers": 3, "tau": 0.0}),
    ],
)
def test_pytorch_metric_learning_agrees(name, params, labels):
    """Not in its ProxyNCA without the positive, which it lacks, nor in SoftTriple's regulariser."""
    theirs = peer(name, params).double()
    (weights,) = theirs.parameters()
    weights.data = W5.clone() if name in ("proxy_nca", "proxy_anchor") else W5.T.clone()
    if weights.numel() != 20 or "centers" in params or "sub_centers" in params:
        weights.data = W15.T.clone()
    loss, own = with_weights(name, params, W15 if weights.numel() == 60 else W5)
    found = []
    for one, vectors in ((loss, own), (theirs, weights)):
        x = E.clone().requires_grad_()
        value = one(x, labels)
        by_x, by_own = torch.autograd.grad(value, (x, vectors))
        by_own = by_own if by_own.shape[-1] == 4 else by_own.T
        found.append((value, by_x, by_own.reshape(-1, 4)))
    for ours, of_peer in zip(*found, strict=True):
        torch.testing.assert_close(ours, of_peer, rtol=1e-6, atol=1e-7)
