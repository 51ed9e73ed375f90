"""Sample weights: each loss against its loop, one anchor at a time, and what they refuse."""

import math

import numpy as np
import pytest
import torch
from loops.center import moved_centers
from loops.shared import between, only
from loss_cases import DIM, LOOPS, batch, by_loop, cases_where, make, value_and_grad

from stt_bench.losses import CrossBatchMemory, RankingLoss, build_loss, hard_triplet_loss
from stt_bench.losses.proxy_anchor import proxy_anchor_loss

BLOCKS = [0, 0, 0, 0, 1, 1, 1, 1]
INCOMPLETE = [0, 0, 1, 1, 2, 3, 2]
WEIGHTS = torch.tensor([0.3, 2.0, 0.0, 1.0, 0.7, 5.0, 0.01, 1.3], dtype=torch.float64)
every_taker = cases_where(lambda name, _: name != "proxy_anchor")


def weighted(loss, x, y, weights):
    x = x.detach().requires_grad_()
    value = loss(x, y, weights)
    (grad,) = torch.autograd.grad(value, x)
    return value.detach(), grad


def alone(loss, params, x, y, row):
    """Return the mean of the terms of one anchor and how many count, by the loss's loop."""
    if hasattr(LOOPS[loss.name], "owned") and loss.name != "margin":  # rows do not meet
        mean, terms, _ = by_loop(loss, params, x[[row]], y[[row]])
        return mean, terms
    with only(row):
        mean, terms, active = by_loop(loss, params, x, y)
    of_active = loss.name in ("batch_all_triplet", "margin") or params.get("mean") == "separate"
    return mean, terms * active if of_active else terms


def by_loops(loss, params, x, y, weights):
    """Return Σ w·term / Σ w over the terms of all anchors."""
    sides = [params]
    if params.get("mean", "all") != "all":  # each of the two means has a divisor of its own
        sides = [{**params, "margin": 0.0}, {**params, "positive_margin": 1e9}]
    total = 0.0
    for side in sides:
        found = [alone(loss, side, x, y, row) for row in range(len(x))]
        counts = [count for _, count in found]
        if params.get("mean") == "separate_all":
            alike = [int((y == own).sum()) - 1 for own in y]
            counts = alike if side is sides[0] else [len(y) - 1 - n for n in alike]
            found = [(mean, n) for (mean, _), n in zip(found, counts, strict=True)]
        divisor = sum(w * n for w, n in zip(weights, counts, strict=True))
        if divisor:
            total += (
                sum(w * n * mean for w, (mean, n) in zip(weights, found, strict=True)) / divisor
            )
    return total * (len(x) if loss.name == "center" else 1)


@pytest.mark.parametrize("labels", [BLOCKS, INCOMPLETE], ids=["blocks", "incomplete"])
@every_taker
def test_agrees_with_loops(name, params, labels):
    loss, (x, y) = make(name, params), batch(labels, seed=3)
    weights = WEIGHTS[: len(y)]
    value, _ = weighted(loss, x, y, weights)
    wanted = by_loops(loss, params, x.detach().numpy(), y.numpy(), weights.tolist())
    assert value.item() == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    if labels is BLOCKS:
        assert value.item() != pytest.approx(loss(x, y).item(), rel=1e-6)


@every_taker
def test_equal_weights_are_no_weights(name, params):
    loss, (x, y) = make(name, params), batch(INCOMPLETE, seed=3)
    value, grad = value_and_grad(loss, x, y)
    known = loss.diagnostics
    for weights in (torch.ones(7), torch.full((7,), 3e-30), torch.full((7,), 9)):
        other, other_grad = weighted(loss, x, y, weights)
        torch.testing.assert_close(other, value, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(other_grad, grad, rtol=1e-10, atol=1e-12)
        assert loss.diagnostics == known


@cases_where(lambda name, _: name != "proxy_anchor" and not getattr(LOOPS[name], "HELD", False))
def test_gradient(name, params):
    """In some directions it is what differences of the value say, where nothing is held fixed."""
    loss, (x, y) = make(name, params), batch(BLOCKS, seed=3)
    _, grad = weighted(loss, x, y, WEIGHTS)
    for seed in range(3):
        way, _ = batch(BLOCKS, seed=10 + seed)
        with torch.no_grad():
            ends = [loss(x + step * way, y, WEIGHTS) for step in (1e-6, -1e-6)]
        assert (grad * way).sum().item() == pytest.approx(
            (ends[0] - ends[1]).item() / 2e-6, rel=1e-5, abs=1e-7
        )


@every_taker
def test_no_weight_at_all_is_no_term(name, params):
    loss, (x, y) = make(name, params), batch(BLOCKS)
    value, grad = weighted(loss, x, y, torch.zeros(8))
    assert value.isfinite()
    assert grad.abs().max() == 0
    assert loss.diagnostics["terms"] == 0


@every_taker
def test_float32_keeps_up_where_a_row_without_terms_outweighs_all_others(name, params):
    x, y = batch(INCOMPLETE, seed=3, dtype=torch.float32)
    weights = torch.tensor([1.0, 2.0, 3.0, 1.0, 2.0, 1e30, 1.0])
    wanted, wanted_grad = weighted(make(name, params), x.double(), y, weights)
    value, grad = weighted(make(name, params, dtype=torch.float32), x, y, weights)
    torch.testing.assert_close(value.double(), wanted, rtol=1e-4, atol=1e-6)
    slack = 1e-3 * wanted_grad.abs().max().item()
    torch.testing.assert_close(grad.double(), wanted_grad, rtol=1e-3, atol=slack)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0] * 8, r"must be a \(8,\) tensor of numbers, got list"),
        (torch.ones(7), r"must be a \(8,\) tensor of numbers, got \(7,\)"),
        (torch.ones(8, 1), r"must be a \(8,\) tensor of numbers, got \(8, 1\)"),
        (torch.ones(8, device="meta"), "are on meta but embeddings are on cpu"),
        (torch.tensor([1.0] * 7 + [-1e-9]), "must be finite and at least 0"),
        (torch.tensor([1.0] * 7 + [math.nan]), "must be finite and at least 0"),
        (torch.tensor([1.0] * 7 + [math.inf]), "must be finite and at least 0"),
    ],
)
def test_impossible_weights(weights, message):
    x, y = batch(BLOCKS)
    for loss in (build_loss("hard_triplet"), hard_triplet_loss):
        with pytest.raises(ValueError, match=f"^weights {message}"):
            loss(x, y, weights=weights)


class Plugin(RankingLoss):
    """A loss that knows nothing of weights."""

    name = "plain"

    def compute(self, embeddings, labels):
        return embeddings.sum(), {}


def test_losses_that_take_none_say_so():
    x, y = batch(BLOCKS)
    for loss in (Plugin(), make("proxy_anchor", {})):
        assert not loss.with_weights
        with pytest.raises(ValueError, match=f"^the loss '{loss.name}' takes no sample weights$"):
            loss(x, y, WEIGHTS)
    with pytest.raises(ValueError, match=r"^proxy_anchor takes no sample weights"):
        proxy_anchor_loss(x, y, torch.eye(DIM, dtype=x.dtype), weights=WEIGHTS)


def test_a_function_takes_them_too():
    x, y = batch(BLOCKS)
    loss = build_loss("hard_triplet", margin=0.7)
    assert hard_triplet_loss(x, y, margin=0.7, weights=WEIGHTS)[0] == loss(x, y, WEIGHTS)
    assert hard_triplet_loss(x, y, margin=0.7)[0] == loss(x, y)  # and they do not stay


def test_center_moves_by_weights_of_mean_1():
    """As if a row were there as often as its weight says, of a batch of so many in all."""
    x, y = batch([0, 1, 0, 2])
    loss = make("center", {"init": "normal"}).train()
    often = [0, 0, 1, 2, 2, 2, 2, 3]
    before = loss.centers.numpy().copy()
    points, labels = x.detach().numpy()[often], y.numpy()[often]
    moved = moved_centers(points, labels, before, 0.5)
    loss(x, y, torch.tensor([2.0, 1.0, 4.0, 1.0]))
    counts = np.bincount(labels, minlength=4)[:, None]
    # Half as many rows, at mean weight 1, pull half as hard against the same 1.
    wanted = before + (moved - before) * (1 + counts) / 2 / (1 + counts / 2)
    np.testing.assert_allclose(loss.centers.numpy(), wanted, rtol=1e-12)


@pytest.mark.parametrize("order", ["before", "after"])
def test_memory(order):
    """The weights are those of the batch's anchors, in both parts of the loss."""
    memory = CrossBatchMemory(
        build_loss("hard_triplet", margin="none"), embedding_dim=DIM, size=16, order=order
    ).double()
    (z, w), (x, y) = batch([0, 1, 0, 1, 1], seed=1), batch([0, 0, 1, 1, 0], seed=2)
    memory.train()
    memory(z, w)
    weights = WEIGHTS[:5]
    value = memory(x, y, weights).item()
    rows, points, labels = x.detach().numpy(), z.detach().numpy(), w.numpy()
    kept, kept_labels = points, labels
    if order == "before":
        kept, kept_labels = np.concatenate([points, rows]), np.concatenate([labels, y.numpy()])

    def term(a, others, other_labels, itself):
        d = [between(rows[a], u, "euclidean") for u in others]
        near = [v for j, v in enumerate(d) if other_labels[j] == y[a] and j != itself]
        return max(near) - min(v for j, v in enumerate(d) if other_labels[j] != y[a])

    terms = [
        term(a, rows, y.numpy(), a)
        + term(a, kept, kept_labels, a + 5 if order == "before" else None)
        for a in range(5)
    ]
    wanted = sum(v * t for v, t in zip(weights.tolist(), terms, strict=True)) / weights.sum().item()
    assert value == pytest.approx(wanted, rel=1e-9)
