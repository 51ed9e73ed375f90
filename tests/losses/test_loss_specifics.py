"""What belongs to one loss alone."""

import doctest
import importlib
import pkgutil

import pytest
import torch
from loss_cases import DIM, LOOPS, batch, make
from torch.utils._python_dispatch import TorchDispatchMode

from stt_bench import losses
from stt_bench.losses import build_loss, contrastive_loss, softmax_loss
from stt_bench.losses.hard_triplet import hardest


def diagnostics(name, labels, **params):
    loss = make(name, params)
    loss(*batch(labels))
    return {key: value.item() for key, value in loss.diagnostics.items()}


def test_anchor_counts():
    for name in ("hard_triplet", "semi_hard_triplet", "batch_all_triplet", "lifted", "priming"):
        mixed = diagnostics(name, [0, 0, 1, 2, 0])
        assert mixed["anchors_without_positive"] == 2
        assert mixed["anchors_without_negative"] == 0
        assert diagnostics(name, [1, 1, 1])["anchors_without_negative"] == 3


@pytest.mark.parametrize("name", ["hard_triplet", "priming"])
def test_a_positive_next_to_its_anchor_is_found(name):
    """Rounding must not make the anchor its own farthest positive."""
    x, y = batch([i // 2 for i in range(64)], dim=128, dtype=torch.float32)
    x = torch.nn.functional.normalize(x.detach())
    x[1::2] = x[0::2]
    x[1::2, 0] = torch.nextafter(x[1::2, 0], torch.tensor(9.0))
    x.requires_grad_()
    loss = build_loss(name, normalize=False)
    (grad,) = torch.autograd.grad(loss(x, y), x)
    exact = LOOPS[name].loop(x.detach().double().numpy(), y.numpy(), normalize=False)
    assert loss(x, y).item() == pytest.approx(exact[0], rel=1e-6)
    positive, _, _ = hardest(x, y, "euclidean")
    near = (x[0::2] - x[1::2]).norm(dim=1).repeat_interleave(2)
    torch.testing.assert_close(positive, near, rtol=1e-5, atol=0)  # near is about 1e-8
    assert grad.isfinite().all()


def test_an_outlier_does_not_blur_the_choice_of_the_hardest():
    x, y = batch([i % 8 for i in range(64)], dim=32, dtype=torch.float32)
    x = torch.cat([x.detach(), torch.full((1, 32), 1e7)])
    y = torch.cat([y, torch.tensor([8])])  # alone in its class: no anchor, and never the nearest
    wanted = LOOPS["hard_triplet"].loop(x[:64].double().numpy(), y[:64].numpy(), margin="none")[0]
    assert build_loss("hard_triplet", margin="none")(x, y).item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("name", ["npairs", "angular"])
@pytest.mark.parametrize(
    ("labels", "terms", "skipped", "lonely"),
    [
        ([0, 0, 1, 1], 2, 0, 0),
        ([0, 0, 1, 1, 2], 2, 1, 0),
        ([0, 0, 1, 2, 1, 1], 2, 1, 0),
        ([0, 1, 0, 1, 2], 0, 3, 0),
        ([0, 0, 1, 2, 0, 0], 0, 1, 2),
        ([0], 0, 1, 0),
    ],
)
def test_skipped_pairs(name, labels, terms, skipped, lonely):
    found = diagnostics(name, labels)
    assert found["terms"] == terms
    assert found["pairs_skipped"] == skipped
    assert found["anchors_without_negative"] == lonely


@pytest.mark.parametrize("odd_one", [0, 1, 2])
@pytest.mark.parametrize("name", ["npairs", "angular"])
def test_skipped_pairs_leave_no_trace(name, odd_one):
    loss = make(name, {})
    x, y = batch([0, 0, odd_one, 3, 2, 2, 3])
    rows = [0, 1, 4, 5]
    torch.testing.assert_close(loss(x, y), loss(x[rows], y[rows]), rtol=1e-12, atol=0)
    loss(x, y).backward()
    assert x.grad[[2, 3, 6]].abs().max() == 0


@pytest.mark.parametrize(
    ("rows", "terms", "skipped"), [(8, 4, 0), (12, 4, 2), (3, 0, 2), (7, 0, 4)]
)
def test_contrastive_fast_leftovers(rows, terms, skipped):
    found = diagnostics("contrastive", [i // 4 for i in range(rows)], pairs="fast")
    assert (found["terms"], found["pairs_skipped"]) == (terms, skipped)


def test_contrastive_layout_depends_on_pairs():
    assert make("contrastive", {}).batch_layout == "any"
    assert make("contrastive", {"pairs": "fast"}).batch_layout == "blocks"
    assert make("npairs", {}).batch_layout == make("angular", {}).batch_layout == "pairs"
    assert make("hard_triplet", {}).batch_layout == "any"


def test_contrastive_without_positives_repels():
    x = torch.tensor([[0.0, 0.1], [0.1, 0.0]], requires_grad=True)
    contrastive_loss(x, torch.tensor([0, 1]), normalize=False)[0].backward()
    assert x.grad[0] @ (x[0] - x[1]) < 0


@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
def test_batch_all_equals_the_cube(margin):
    x, y = batch([i % 5 for i in range(40)])
    d = (x[:, None] - x[None]).square().sum(-1)
    d = torch.where(d > 0, d, 1.0).sqrt() * (d > 0)
    same = y[:, None] == y[None]
    valid = (same & ~torch.eye(40, dtype=torch.bool))[:, :, None] & ~same[:, None, :]
    hinge = ((d[:, :, None] - d[:, None, :] + margin) * valid).relu()
    active = (hinge > 0).sum()
    wanted = hinge.sum() / active
    loss = build_loss("batch_all_triplet", margin=margin)
    value = loss(x, y)
    torch.testing.assert_close(value, wanted, rtol=1e-12, atol=0)
    assert loss.diagnostics["terms"] == valid.sum()
    assert loss.diagnostics["active"].item() == pytest.approx((active / valid.sum()).item())
    gradients = [torch.autograd.grad(v, x)[0] for v in (value, wanted)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_distances_make_no_triplet(dtype):
    """Equal on paper, but not after rounding: 0.1 + 0.2 is not 0.3; and all rows in one place."""
    y = torch.tensor([0, 0, 1])
    for points, margin in (([0.0, 0.1, -0.3], 0.2), ([0.7, 0.7, 0.7], 0.0)):
        x = torch.tensor(points, dtype=dtype)[:, None]
        loss = build_loss("batch_all_triplet", margin=margin)
        assert loss(x, y) == 0
        assert loss.diagnostics["active"] == 0
        params = {"per": "anchor", "distance": "euclidean", "normalize": False}
        assert build_loss("semi_hard_triplet", **params, semi_margin=margin)(x, y) == 0


class LargestTensor(TorchDispatchMode):
    """Notes the elements of the largest tensor that an operation gives."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation and look at what it gives."""
        given = func(*args, **(kwargs or {}))
        for tensor in given if isinstance(given, tuple | list) else (given,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return given


def test_batch_all_on_a_large_batch_holds_no_tensor_of_all_triplets():
    """The B³ triplets of this batch would take 4 GiB."""
    x, y = batch([i // 4 for i in range(1024)], dim=32, dtype=torch.float32)
    loss = build_loss("batch_all_triplet")
    with LargestTensor() as largest:
        loss(x, y).backward()
    assert largest.elements <= 8 * 1024**2
    assert loss.diagnostics["terms"] == 1024 * 3 * 1020


def test_center_rests_in_evaluation_mode_and_moves_in_training():
    loss = build_loss("center", num_classes=4, embedding_dim=DIM)
    x, y = batch([0, 0, 1], dtype=torch.float32)
    loss.eval()(x, y)
    assert loss.centers.abs().max() == 0
    before = loss.train()(x, y)
    assert (loss.centers[:2].abs().amax(1) > 0).all()
    assert loss.centers[2:].abs().max() == 0
    assert loss.eval()(x, y) < before
    assert not loss.centers.requires_grad
    assert list(loss.parameters()) == []
    assert "centers" in loss.state_dict()


def test_center_start():
    assert build_loss("center", num_classes=2, embedding_dim=3).centers.abs().max() == 0
    torch.manual_seed(0)
    normal = build_loss("center", num_classes=50, embedding_dim=40, init="normal").centers
    assert normal.shape == (50, 40)
    assert abs(normal.std() - 1) < 0.05


@pytest.mark.parametrize("name", ["center", "softmax", "arcface", "proxy_anchor"])
def test_labels_and_sizes_must_fit_the_classes(name):
    loss = make(name, {}, dtype=torch.float32)
    for labels in ([0, 4], [0, -1], [0, -100]):
        with pytest.raises(ValueError, match="labels must be from 0 to 3"):
            loss(*batch(labels, dtype=torch.float32))
    with pytest.raises(ValueError, match="embeddings have 3 dimensions"):
        loss(*batch([0, 1], dim=3, dtype=torch.float32))


def test_softmax_logits_are_those_of_the_loss():
    loss = make("softmax", {}, dtype=torch.float32)
    x, y = batch([0, 1, 2], dtype=torch.float32)
    scores = loss.logits(x)
    assert scores.shape == (3, 4)
    torch.testing.assert_close(torch.nn.functional.cross_entropy(scores, y), loss(x, y))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(loss.logits(x), scores)
    loss(x, y).backward()
    assert loss.linear.weight.grad.abs().max() > 0


@pytest.mark.parametrize("label", [float("inf"), -float("inf"), float("nan"), 1e30, -(2.0**63)])
@pytest.mark.parametrize("name", ["softmax", "arcface", "proxy_anchor", "center"])
def test_a_label_that_no_class_can_have_is_refused(name, label):
    loss = make(name, {}, dtype=torch.float32)
    x, _ = batch([0, 1, 2], dtype=torch.float32)
    with pytest.raises(ValueError, match="labels must be"):
        loss(x, torch.tensor([0.0, 1.0, label]))


def test_pure_functions_check_their_batch_too():
    with pytest.raises(ValueError, match="labels must be whole numbers"):
        softmax_loss(torch.ones(2, 2), torch.tensor([0.0, 0.5]), torch.eye(2))


@pytest.mark.parametrize(
    "module",
    [
        "stt_bench.losses",
        *(f"stt_bench.losses.{m.name}" for m in pkgutil.iter_modules(losses.__path__)),
    ],
)
def test_examples_in_the_docstrings_run(module):
    assert doctest.testmod(importlib.import_module(module)).failed == 0
