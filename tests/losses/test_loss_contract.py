"""What every registered loss promises, whatever its formula."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from loss_cases import (
    CASES,
    DIM,
    IDS,
    LOOPS,
    NUM_CLASSES,
    batch,
    by_loop,
    cases_where,
    make,
    value_and_grad,
)
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode

from stt_bench.losses import RankingLoss, build_loss, loss_names
from stt_bench.losses.terms import BLOCK

every_case = pytest.mark.parametrize(("name", "params"), CASES, ids=IDS)
BLOCKS = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
UNMATCHED_PAIRS = [0, 1, 2, 3, 1, 0, 3, 2]


@every_case
def test_scalar_with_gradient_and_detached_diagnostics(name, params):
    loss = make(name, params, dtype=torch.float32)
    x, y = batch(BLOCKS, dtype=torch.float32)
    value = loss(x, y)
    assert isinstance(loss, RankingLoss)
    assert loss.name == name
    assert value.shape == ()
    assert value.dtype == torch.float32
    value.backward()
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() > 0
    assert "terms" in loss.diagnostics
    for entry in loss.diagnostics.values():
        assert entry.shape == ()
        assert not entry.requires_grad
    assert loss.diagnostics["terms"] > 0
    assert not loss.diagnostics["terms"].is_floating_point()


@every_case
def test_label_shapes_and_dtypes_do_not_matter(name, params):
    loss = make(name, params)
    x, y = batch(BLOCKS)
    value = loss(x, y)
    assert loss(x, y[:, None]) == value
    for dtype in (torch.int32, torch.int16, torch.uint8, torch.float32):
        assert loss(x, y.to(dtype)) == value


@every_case
def test_float64_stays_float64(name, params):
    x, y = batch(BLOCKS)
    assert make(name, params)(x, y).dtype == torch.float64


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.randn(4), torch.zeros(4, dtype=torch.long), "embeddings"),
        (torch.randn(2, 2, 2), torch.zeros(2, dtype=torch.long), "embeddings"),
        (torch.randn(4, 0), torch.zeros(4, dtype=torch.long), "embeddings"),
        (np.ones((4, DIM)), torch.zeros(4, dtype=torch.long), "embeddings"),
        (torch.randn(4, DIM), [0, 0, 1, 1], "labels"),
        (torch.randn(4, DIM), np.zeros(4, dtype=int), "labels"),
        (torch.ones(4, DIM, dtype=torch.long), torch.zeros(4, dtype=torch.long), "embeddings"),
        (torch.randn(4, DIM), torch.zeros(3, dtype=torch.long), "labels"),
        (torch.randn(4, DIM), torch.zeros(4, 2, dtype=torch.long), "labels"),
        (torch.randn(4, DIM), torch.zeros(1, 4, dtype=torch.long), "labels"),
        (torch.randn(4, DIM), torch.full((4,), 0.5), "labels"),
        (torch.randn(4, DIM), torch.full((4,), math.nan), "labels"),
        (torch.randn(4, DIM), torch.zeros(4, dtype=torch.long, device="meta"), "labels"),
    ],
)
@pytest.mark.parametrize("name", loss_names())
def test_malformed_batch(name, x, y, message):
    with pytest.raises(ValueError, match=f"^{message} "):
        make(name, {}, dtype=torch.float32)(x, y)


@every_case
def test_an_empty_batch_gives_0_with_a_gradient(name, params):
    loss = make(name, params).train()
    x = torch.empty(0, DIM, dtype=torch.float64, requires_grad=True)
    value = loss(x, torch.empty(0, dtype=torch.long))
    value.backward()
    assert value == 0
    assert value.dtype == torch.float64
    assert x.grad.shape == (0, DIM)
    assert loss.diagnostics["terms"] == 0


@every_case
def test_order_of_the_batch_does_not_matter(name, params):
    loss = make(name, params)
    x, y = batch([0, 1, 2, 0, 1, 2, 0, 1, 2, 3])
    lattice = (2 * x).round()
    if loss.batch_layout != "any":
        x, y = batch(BLOCKS)
        lattice = (2 * x).round()
    # Pairs and pairs of blocks may trade places, what is inside them may not.
    unit = {"any": 1, "pairs": 2, "blocks": 8}[loss.batch_layout]
    for points in (x, lattice):
        value, grad = value_and_grad(loss, points, y)
        for seed in range(5):
            order = torch.randperm(len(y) // unit, generator=torch.Generator().manual_seed(seed))
            rows = (order[:, None] * unit + torch.arange(unit)).flatten()
            moved, moved_grad = value_and_grad(loss, points[rows], y[rows])
            torch.testing.assert_close(moved, value, rtol=1e-12, atol=1e-12)
            if points is x:
                torch.testing.assert_close(moved_grad, grad[rows], rtol=1e-9, atol=1e-9)


def incomplete(loss, lacking):
    if lacking == "one row":
        return [1]
    if lacking == "negatives":
        return [2] * 8
    return UNMATCHED_PAIRS if loss.batch_layout == "pairs" else [0, 1, 2, 3]


@pytest.mark.parametrize("lacking", ["one row", "negatives", "positives"])
@every_case
def test_incomplete_batch(name, params, lacking):
    loss = make(name, params)
    x, y = batch(incomplete(loss, lacking))
    with torch.autograd.set_detect_anomaly(True):  # no inf · 0 on the way either
        value, grad = value_and_grad(loss, x, y)
    assert value.isfinite()
    assert grad.isfinite().all()
    needed = loss.needs_positives if lacking == "positives" else loss.needs_negatives
    if needed or len(y) < loss.least_rows:
        assert value == 0
        assert grad.abs().max() == 0
        assert loss.diagnostics["terms"] == 0
    else:
        assert loss.diagnostics["terms"] > 0


def is_far_off(name, params):
    """Tell whether a loss of anchors sees how far away a row is: not by unit rows or cosines."""
    loss = make(name, params)
    by_anchors = loss.batch_layout == "any" and loss.needs_positives and loss.needs_negatives
    by_length = not getattr(loss, "normalize", False) and getattr(loss, "distance", "") != "cosine"
    return by_anchors and by_length


@cases_where(is_far_off)
def test_an_anchor_without_a_positive_is_no_term(name, params):
    """A lone row of a new class, far away, is only a negative; the loop says what it changes."""
    loss = make(name, params)
    x, y = batch([0, 0, 1, 1, 0, 1, 2])
    x = x.detach()
    x[-1] = 1e3
    value = loss(x, y)
    wanted, terms, _ = by_loop(loss, params, x.numpy(), y.numpy())
    assert value.item() == pytest.approx(wanted, rel=1e-9)
    assert loss.diagnostics["terms"] == terms
    assert loss.diagnostics["anchors_without_positive"] == 1


def degenerate(kind, dtype):
    x, y = batch(BLOCKS, dtype=dtype)
    x = x.detach().clone()
    if kind == "duplicates":
        x[1], x[4], x[6], x[12] = x[0], x[0], x[5], x[0]
    elif kind == "identical":
        x[:] = x[0]
    elif kind == "zero rows":
        x[[0, 1, 4]] = 0.0
    elif kind == "all zero":
        x[:] = 0.0
    return x, y


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["duplicates", "identical", "zero rows", "all zero"])
@every_case
def test_degenerate_points(name, params, kind, dtype):
    loss = make(name, params, dtype=dtype)
    x, y = degenerate(kind, dtype)
    with torch.autograd.set_detect_anomaly(True):
        value, grad = value_and_grad(loss, x, y)
    assert value.isfinite()
    assert grad.isfinite().all()
    if kind == "identical" and getattr(LOOPS[name], "BY_DISTANCE", True):
        assert grad.abs().max() < 1e-12
    if kind == "zero rows" and getattr(loss, "normalize", False):
        assert grad[[0, 1, 4]].abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_case
def test_half_precision_and_autocast(name, params, dtype):
    """Inside autocast, and on half embeddings, the loss is computed as in float32."""
    loss = make(name, params, dtype=torch.float32)
    x, y = batch(BLOCKS, dtype=torch.float32)
    x = (30 * x).to(dtype)
    wanted, wanted_grad = value_and_grad(loss, x.float(), y)
    with torch.autocast("cpu", dtype=dtype):
        for same in (x, x.float()):
            value, grad = value_and_grad(loss, same, y)
            assert value.dtype == torch.float32
            torch.testing.assert_close(value, wanted, rtol=1e-6, atol=1e-6)
            slack = 1e-2 * wanted_grad.abs().max().item()
            torch.testing.assert_close(grad.float(), wanted_grad, rtol=1e-2, atol=slack)


@pytest.mark.parametrize("scale", [1e-4, 1e4, 1e6])
@pytest.mark.parametrize("offset", [0.0, 20.0, 1e4])
@every_case
def test_float32_keeps_up_with_float64(name, params, scale, offset):
    x, y = batch(BLOCKS, dtype=torch.float32)
    x = scale * (x.detach() + offset)
    loss = make(name, params)
    wanted, wanted_grad = value_and_grad(loss, x.double(), y)
    value, grad = value_and_grad(make(name, params, dtype=torch.float32), x, y)
    assert grad.isfinite().all()
    if getattr(LOOPS[name], "DOT_PRODUCTS", False) and not getattr(loss, "normalize", False):
        # Dot products of long rows: float32 has no digits below 1e-7 of the largest.
        slack = 1e-6 * x.square().sum(1).max().item()
        torch.testing.assert_close(value.double(), wanted, rtol=1e-4, atol=slack)
        return
    torch.testing.assert_close(value.double(), wanted, rtol=1e-4, atol=1e-6)
    slack = 1e-3 * wanted_grad.abs().max().item()
    torch.testing.assert_close(grad.double(), wanted_grad, rtol=1e-3, atol=slack)


class Watch(TorchDispatchMode):
    """Records every operation and the largest tensor that it makes."""

    def __init__(self):
        super().__init__()
        self.operations = []
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.operations.append(func.overloadpacket.__name__)
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
        return out


def watched(name, params, size, monkeypatch):
    for module in ("center", "margin", "proxies"):  # this look at the labels is for CPU only
        monkeypatch.setattr(f"stt_bench.losses.{module}.check_class_range", lambda *_: None)
    for module in ("batch_all_triplet", "smooth_ap"):  # so does this
        monkeypatch.setattr(f"stt_bench.losses.{module}.largest_class", len)
    loss = make(name, params, dtype=torch.float32).train()
    x, y = batch([i // 4 % NUM_CLASSES for i in range(size)], dtype=torch.float32)
    with Watch() as watch:
        loss(x, y).backward()
    return watch


@every_case
def test_quadratic_memory_without_loops_or_waiting_for_the_device(name, params, monkeypatch):
    small = watched(name, params, 48, monkeypatch)
    large = watched(name, params, 96, monkeypatch)
    in_blocks = getattr(LOOPS[name], "in_blocks", lambda _: False)(params)
    assert large.largest <= (BLOCK if in_blocks else max(96 * 96, 96 * DIM))
    assert small.operations == large.operations
    waiting = {"_local_scalar_dense", "nonzero", "masked_select", "lift_fresh"}
    assert not waiting & set(large.operations)


def test_the_watch_sees_cubes_and_waiting():
    x = torch.randn(8, 8)
    with Watch() as watch:
        (x[:, :, None] - x[:, None, :]).sum().item()
        x[x > 0].sum()
        torch.tensor([1, 2])
    assert watch.largest == 8**3
    assert {"_local_scalar_dense", "lift_fresh"} <= set(watch.operations)


COMPILED = [  # beside every loss with its defaults, below
    ("semi_hard_triplet", {"per": "anchor", "distance": "euclidean"}),
    ("contrastive", {"pairs": "fast"}),
]


@pytest.mark.parametrize(("name", "params"), COMPILED)
def test_compiles_into_one_graph(name, params):
    loss = make(name, params, dtype=torch.float32)
    x, y = batch(BLOCKS, dtype=torch.float32)
    torch._dynamo.reset()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    value, grad = value_and_grad(compiled, x, y)
    wanted, wanted_grad = value_and_grad(loss, x, y)
    torch.testing.assert_close(value, wanted)
    torch.testing.assert_close(grad, wanted_grad)


@pytest.mark.parametrize("name", loss_names())
def test_one_compiled_graph_serves_every_batch_size(name):
    loss = make(name, {}, dtype=torch.float32)
    torch._dynamo.reset()
    counters.clear()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True, dynamic=True)
    for repeats in (1, 2, 5):
        x, y = batch(BLOCKS * repeats, dtype=torch.float32)
        value, grad = value_and_grad(compiled, x, y)
        wanted, wanted_grad = value_and_grad(loss, x, y)
        torch.testing.assert_close(value, wanted)
        torch.testing.assert_close(grad, wanted_grad)
    assert counters["stats"]["unique_graphs"] == 1


@every_case
def test_copies_and_reloads(name, params):
    loss = build_loss(name, num_classes=NUM_CLASSES, embedding_dim=DIM, **params).eval()
    x, y = batch(BLOCKS, dtype=torch.float32)
    value = loss(x, y).item()
    assert copy.deepcopy(loss)(x, y).item() == value
    assert pickle.loads(pickle.dumps(loss))(x, y).item() == value
    fresh = build_loss(name, num_classes=NUM_CLASSES, embedding_dim=DIM, **params).eval()
    fresh.load_state_dict(loss.state_dict())
    assert fresh(x, y).item() == value


@every_case
def test_a_few_steps_of_descent_lower_the_loss(name, params):
    """Points moved along the gradient must fit the loss better: catches a wrong sign."""
    loss = make(name, params)
    x, y = batch(BLOCKS)
    x = x.detach()
    first, _ = value_and_grad(loss, x, y)
    for _ in range(20):
        _, grad = value_and_grad(loss, x, y)
        x = x - 0.02 * grad / grad.norm().clamp(min=1e-9)
    last, _ = value_and_grad(loss, x, y)
    assert last < first
    assert math.isfinite(last)
