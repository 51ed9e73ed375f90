"""What belongs to the losses of cosines: identities between them, and where others go wrong."""

import math

import pytest
import torch
from loss_cases import LOOPS, batch, make, value_and_grad
from torch.utils._python_dispatch import TorchDispatchMode

from stt_bench.losses import build_loss, smooth_ap
from stt_bench.losses.distances import pairwise_distances
from stt_bench.losses.similarities import SimilarityLoss

TWO_EACH = [0, 1, 2, 3, 0, 1, 2, 3]
OF_COSINES = [name for name in LOOPS if isinstance(make(name, {}), SimilarityLoss)]


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_two_rows_a_class_make_one_loss_of_five(temperature):
    x, y = batch(TWO_EACH)
    wanted, wanted_grad = value_and_grad(build_loss("supcon", temperature=temperature), x, y)
    for name, params in (
        ("supcon", {"form": "in"}),
        ("ntxent", {}),
        ("ntxent", {"denominator": "others"}),
        ("easy_positive", {"negatives": "all"}),
    ):
        loss = build_loss(name, temperature=temperature, **params)
        value, grad = value_and_grad(loss, x, y)
        torch.testing.assert_close(value, wanted, rtol=1e-12, atol=0)
        torch.testing.assert_close(grad, wanted_grad, rtol=1e-9, atol=1e-12)


def test_in_is_never_above_out():
    for seed in range(5):
        x, y = batch([0, 0, 0, 1, 1, 1, 2, 2], seed=seed)
        assert build_loss("supcon", form="in")(x, y) <= build_loss("supcon")(x, y)


def test_easy_positive_with_the_hardest_negative_is_a_soft_margin_of_cosines():
    x, y = batch([0, 0, 0, 1, 1, 2, 2, 2])
    similar = torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=2)
    same = y[:, None] == y
    positive = similar.masked_fill(~same | torch.eye(8, dtype=torch.bool), -2).amax(1)
    negative = similar.masked_fill(same, -2).amax(1)
    wanted = torch.nn.functional.softplus((negative - positive) / 0.1).mean()
    torch.testing.assert_close(build_loss("easy_positive")(x, y), wanted, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", OF_COSINES)
def test_neither_the_length_of_a_row_nor_the_name_of_a_class_matters(name):
    loss = build_loss(name)
    x, y = batch([0, 0, 0, 1, 1, 2, 2, 3])
    lengths = 10.0 ** torch.linspace(-30, 30, len(y), dtype=torch.float64)[:, None]
    value = loss(x, y)
    torch.testing.assert_close(loss(x * lengths, y), value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(loss(x, torch.tensor([7, 2, 9, 0])[y]), value, rtol=1e-12, atol=0)


def turned(*degrees):
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1).float().requires_grad_()


def test_ntxent_of_a_lost_positive_keeps_value_and_gradient_in_float32():
    """A positive at 170° beside a negative at 5°, at T = 0.01: exp(s / T) alone would vanish."""
    x, y = turned(0, 170, 5), torch.tensor([0, 0, 1])
    value, grad = value_and_grad(build_loss("ntxent", temperature=0.01), x, y)
    of_two_anchors = [
        math.log1p(math.exp(100 * (math.cos(math.radians(n)) - math.cos(math.radians(170)))))
        for n in (5, 165)
    ]
    assert value.item() == pytest.approx(sum(of_two_anchors) / 2, rel=1e-6)
    assert grad[0].abs().max() > 1


def test_a_term_that_vanishes_still_counts_in_the_mean():
    """In float32 the term of a well separated anchor is 0, which does not make it no term."""
    x, y = turned(0, 0, 180, 181, 90, 270), torch.tensor([0, 0, 1, 1, 2, 2])
    for name in ("supcon", "ntxent"):
        loss = build_loss(name, temperature=0.01)
        wanted = LOOPS[name].loop(x.detach().double().numpy(), y.numpy(), temperature=0.01)[0]
        assert loss(x, y).item() == pytest.approx(wanted, rel=1e-5)
        assert loss.diagnostics["terms"] == 6


def test_duplicates_of_an_anchor_are_its_positives():
    x, y = batch([0, 0, 0, 1, 1])
    x = x.detach()
    x[1] = x[0]
    loss = build_loss("multi_similarity")
    wanted = LOOPS["multi_similarity"].loop(x.numpy(), y.numpy())[0]
    assert loss(x, y).item() == pytest.approx(wanted, rel=1e-9)
    apart = LOOPS["multi_similarity"].loop(x[1:].numpy(), y[1:].numpy())[0]
    assert loss(x, y).item() != pytest.approx(apart, rel=1e-3)


def test_mining_leaves_out_anchors_that_are_well_apart():
    x, y = turned(0, 1, 180, 181), torch.tensor([0, 0, 1, 1])
    loss = build_loss("multi_similarity")
    value, grad = value_and_grad(loss, x, y)
    assert value == 0
    assert grad.abs().max() == 0
    assert loss.diagnostics["terms"] == 4
    assert loss.diagnostics["active"] == 0


def test_an_anchor_without_a_semi_hard_negative_is_no_term():
    x, y = turned(0, 30, 10, 20, 100), torch.tensor([0, 0, 1, 2, 2])
    loss = build_loss("easy_positive", negatives="semi_hard")
    loss(x, y)
    assert loss.diagnostics["terms"] == 3  # every negative of row 0 is nearer; row 2 has no match


def average_precision(distances, relevant):
    order = distances.argsort()
    hits = relevant[order].double()
    return (hits * hits.cumsum(0) / torch.arange(1, len(hits) + 1)).sum() / hits.sum()


@pytest.mark.parametrize("with_query", [True, False])
def test_smooth_ap_becomes_average_precision(with_query):
    x, y = batch([0, 1, 2, 0, 1, 2, 0, 1, 0, 0])
    distances = pairwise_distances(x.detach(), "cosine")
    precisions = []
    for q in range(len(y)):
        rows = torch.tensor([j for j in range(len(y)) if with_query or j != q])
        precisions.append(average_precision(distances[q, rows], y[rows] == y[q]))
    loss = build_loss("smooth_ap", temperature=1e-6, with_query=with_query)
    assert loss(x, y).item() == pytest.approx(1 - sum(precisions).item() / len(y), abs=1e-9)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3] * 3, [0] * 9 + [1, 1, 2], [0, 0, 1, 2, 3]])
@pytest.mark.parametrize("with_query", [True, False])
def test_smooth_ap_is_the_same_in_blocks(with_query, labels, monkeypatch):
    x, y = batch(labels)
    loss = build_loss("smooth_ap", temperature=0.1, with_query=with_query)
    wanted, wanted_grad = value_and_grad(loss, x, y)
    for block in (1, 100, 300):
        monkeypatch.setattr(smooth_ap, "BLOCK", block)
        value, grad = value_and_grad(loss, x, y)
        torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(grad, wanted_grad, rtol=1e-9, atol=1e-12)
    monkeypatch.setattr(smooth_ap, "largest_class", len)  # as on a GPU
    value, grad = value_and_grad(loss, x, y)
    torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grad, wanted_grad, rtol=1e-9, atol=1e-12)


class Largest(TorchDispatchMode):
    """Notes the elements of the largest tensor that an operation gives."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation and look at what it gives."""
        given = func(*args, **(kwargs or {}))
        for tensor in given if isinstance(given, tuple | list) else (given,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return given


def test_smooth_ap_of_a_large_class_holds_no_cube():
    x, y = batch([0] * 255 + [1], dim=8, dtype=torch.float32)
    with Largest() as largest:
        build_loss("smooth_ap")(x, y).backward()
    assert largest.elements <= smooth_ap.BLOCK
