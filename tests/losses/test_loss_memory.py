"""Cross-batch memory: golden stream, and each loss against its loop over anchors and candidates."""

import copy
import math

import pytest
import torch
from loops import shared
from loops.shared import between, unit
from loss_cases import DIM, LOOPS, batch, make
from test_loss_golden import close

from stt_bench.losses import CrossBatchMemory, RankingLoss, build_loss
from stt_bench.losses.distances import pairwise_distances
from stt_bench.losses.others import Others, compared_with
from stt_bench.losses.terms import largest_class, positive_pairs, same_class

STREAM = torch.tensor([0, 0, 1, 1, 0, 1, 0, 1, 1, 1, 0, 0])
ROWS = torch.tensor(
    [[round(math.sin((i + 1) * (j + 2)), 3) for j in range(4)] for i in range(12)],
    dtype=torch.float64,
)
FIRST = 1.13816660
OF_BATCHES = (FIRST, 1.00408242, 1.62072502)


class PairSum(RankingLoss):
    """The paper's pair loss: Σ (1 − s) of positives + Σ s of negatives with s > ½, per anchor."""

    with_memory = True
    normalize = True

    def compute(self, embeddings, labels):
        distances = pairwise_distances(embeddings, "cosine")
        same = same_class(labels, distances.dtype)
        near = (1 - same) * (distances < 0.5)
        terms = positive_pairs(same) * distances + near * (1 - distances)
        return terms.sum() / len(labels), {"terms": same.sum().long()}


def memory_of(loss, dim=4, **options):
    return CrossBatchMemory(loss, embedding_dim=dim, **options).double().train()


@pytest.mark.parametrize(
    ("size", "order", "start", "parts", "total", "kept", "gradient"),
    [
        (
            8,
            "before",
            0,
            (FIRST, 2.93307654, 3.86803032),
            5.48875535,
            range(4, 12),
            0.01443644,
        ),
        (8, "after", 0, (None, 1.92899412, 3.92502473), 5.54574976, range(4, 12), -0.06492343),
        (
            6,
            "before",
            0,
            (FIRST, 2.06141387, 2.62322911),
            4.24395413,
            range(6, 12),
            -0.03697694,
        ),
        (6, "after", 0, (None, 1.92899412, 3.11940885), 4.74013388, range(6, 12), -0.06492343),
        (8, "before", 1, (None, 1.00408242, 3.86803032), 5.48875535, range(4, 12), 0.01443644),
    ],
)
def test_golden_stream(size, order, start, parts, total, kept, gradient):
    loss = memory_of(PairSum(), size=size, order=order, start_step=start)
    for step in range(3):
        x = ROWS[4 * step : 4 * step + 4].clone().requires_grad_()
        value = loss(x, STREAM[4 * step : 4 * step + 4])
        memory = loss.diagnostics.get("memory_loss")
        assert (memory is None) is (parts[step] is None)
        if memory is not None:
            close(memory, parts[step])
        close(value, OF_BATCHES[step] + (parts[step] or 0.0))
    close(value, total)
    value.backward()
    close(x.grad[0, 0], gradient)
    held = sorted(tuple(row) for row in loss.rows.tolist())
    assert held == sorted(tuple(row) for row in ROWS[list(kept)].tolist())


def test_a_run_that_is_resumed_goes_on_alike():
    options = {"size": 6, "order": "after", "start_step": 1}
    whole, first = memory_of(PairSum(), **options), memory_of(PairSum(), **options)
    wanted = [whole(ROWS[i : i + 4], STREAM[i : i + 4]).item() for i in (0, 4, 8)]
    for i in (0, 4):
        first(ROWS[i : i + 4], STREAM[i : i + 4])
    second = memory_of(PairSum(), **options)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second(ROWS[8:], STREAM[8:]).item() == wanted[2]
    for mine, theirs in zip(second.buffers(), whole.buffers(), strict=True):
        assert torch.equal(mine, theirs)


def test_memory_rests_in_evaluation_mode():
    loss = memory_of(PairSum(), size=8)
    loss(ROWS[:4], STREAM[:4])
    before = copy.deepcopy(loss.state_dict())
    loss.eval()(ROWS[4:8], STREAM[4:8])
    assert all(torch.equal(value, before[name]) for name, value in loss.state_dict().items())


def rows_against(order, z, w):
    """Return a `rows_of` of anchors that are compared with a memory of rows z, of classes w."""

    def rows_of(x, y, distance, normalize):
        mine, stored = (unit(x), unit(z)) if normalize else (x, z)
        for a in range(len(x)):
            met = [(stored[k], w[k]) for k in range(len(z))]
            if order == "before":
                met += [(mine[k], y[k]) for k in range(len(x)) if k != a]
            found = [(between(mine[a], row, distance), label) for row, label in met]
            yield (
                [d for d, label in found if label == y[a]],
                [d for d, label in found if label != y[a]],
            )

    return rows_of


def contrastive(rows, margin=1.0, mean="all", power=2):
    pull = [d for ps, _ in rows for d in ps]
    push = [d for _, ns in rows for d in ns]
    if mean == "all":
        smooth = [[math.sqrt(d**2 + 1e-5) for d in side] for side in (pull, push)]
        terms = [d**2 for d in smooth[0]] + [max(margin - d, 0) ** 2 for d in smooth[1]]
        return sum(terms) / len(terms)
    sides = [[d**power for d in pull], [max(margin - d, 0) ** power for d in push]]
    return sum(sum(side) / len([t for t in side if t > 0]) for side in sides)


def margin(rows, sampling, beta=1.2, margin=0.2):
    terms = []
    for ps, ns in rows:
        ps, ns = (ps, ns) if ps and ns else ([], [])
        times = (len(ns), len(ps)) if sampling == "all" else (1, 1)
        terms += times[0] * [max(p - beta + margin, 0) for p in ps]
        terms += times[1] * [max(beta - n + margin, 0) for n in ns]
    return sum(terms) / len([t for t in terms if t > 0])


def smooth_ap(rows, temperature):
    terms = []
    for ps, ns in rows:
        relevant, everyone = [0.0, *ps], [0.0, *ps, *ns]  # the query is the first
        if not ps or not ns:
            continue
        precision = 0.0
        for i, d in enumerate(relevant):
            above = [1 / (1 + math.exp((e - d) / temperature)) for e in everyone]
            above[i] = 1.0
            precision += sum(above[: len(relevant)]) / sum(above) / len(relevant)
        terms.append(1 - precision)
    return sum(terms) / len(terms)


BY_HAND = {"contrastive": contrastive, "margin": margin, "smooth_ap": smooth_ap}
CASES = [
    ("contrastive", {}),
    ("contrastive", {"mean": "separate", "power": 1, "distance": "cosine"}),
    ("batch_all_triplet", {}),
    ("batch_all_triplet", {"margin": "soft", "distance": "cityblock"}),
    ("batch_all_triplet", {"triplets": "hard", "normalize": True}),
    ("hard_triplet", {}),
    ("hard_triplet", {"margin": "soft", "distance": "cosine"}),
    ("semi_hard_triplet", {}),
    ("semi_hard_triplet", {"per": "anchor", "distance": "euclidean", "normalize": False}),
    ("priming", {}),
    ("lifted", {"form": "generalized"}),
    ("multi_similarity", {"beta": 10}),
    ("supcon", {}),
    ("supcon", {"form": "in"}),
    ("ntxent", {}),
    ("ntxent", {"denominator": "others"}),
    ("circle", {}),
    ("easy_positive", {}),
    ("easy_positive", {"negatives": "semi_hard"}),
    ("smooth_ap", {"temperature": 0.1}),
    ("margin", {"sampling": "all"}),
    ("margin", {"sampling": "pairs", "normalize": False}),
]


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize(("name", "params"), CASES)
def test_memory_part_is_that_of_a_loop(name, params, order, monkeypatch):
    x, y = batch([0, 0, 1, 1, 2, 2, 0, 4])
    z, w = batch([1, 0, 3, 2, 2, 0, 1, 3, 3, 0], seed=1)
    loss = build_loss(name, **params).double().eval()
    single = loss(x, y)
    memory = memory_of(loss, DIM, size=18, order=order)
    memory._put(z.detach(), w)
    part = memory.eval()(x, y) - single
    rows_of = rows_against(order, z.detach().numpy(), w.numpy())
    if name in BY_HAND:
        distance = "cosine" if name == "smooth_ap" else "euclidean"
        known = {"distance": distance, "normalize": True, **params}
        measure = known.pop("distance"), known.pop("normalize")
        rows = rows_of(x.detach().numpy(), y.numpy(), *measure)
        wanted = BY_HAND[name](list(rows), **known)
    else:
        for module in (LOOPS[name], shared):
            monkeypatch.setattr(module, "rows_of", rows_of, raising=False)
        wanted = LOOPS[name].loop(x.detach().numpy(), y.numpy(), **params)[0]
    assert part.item() == pytest.approx(wanted, rel=1e-6)  # β is a float32
    (gradient,) = torch.autograd.grad(part, x)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("name", [name for name in LOOPS if make(name, {}).with_memory])
def test_a_memory_of_the_batch_alone_doubles_the_loss(name):
    x, y = batch([0, 0, 1, 1, 2, 2, 0, 3])
    loss = build_loss(name, num_classes=4, embedding_dim=DIM).double().eval()
    memory = memory_of(loss, DIM, size=8, weight=0.5).eval()
    torch.testing.assert_close(memory(x, y), 1.5 * loss(x, y), rtol=1e-9, atol=0)


def test_all_columns_may_be_of_a_class_where_looking_would_stall_the_device():
    sizes = torch.ones(4, device="meta")
    assert largest_class(sizes) == 4
    with compared_with(Others(torch.zeros(9, 2), torch.zeros(9), with_batch=True)):
        assert largest_class(sizes) == 13


def test_distance_weighted_draws_are_from_the_memory():
    x, y = batch([0, 0, 1, 1], dtype=torch.float32)
    z, w = batch([2, 2, 3, 3, 0, 0], seed=1, dtype=torch.float32)
    memory = CrossBatchMemory(build_loss("margin"), embedding_dim=DIM, size=10).train()
    memory._put(z.detach(), w)
    values = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        fresh = copy.deepcopy(memory)
        values.append(fresh(x, y).item())
    assert values[0] == values[1]
    assert fresh.diagnostics["terms"] > 0


@pytest.mark.parametrize("name", ["softmax", "center", "npairs", "lifted"])
def test_a_loss_without_anchors_is_refused(name):
    loss = build_loss(name, num_classes=4, embedding_dim=4)
    with pytest.raises(ValueError, match=f"^{name} cannot have a memory"):
        memory_of(loss)


def test_a_memory_smaller_than_the_batch_is_refused():
    loss = memory_of(PairSum(), size=3)
    with pytest.raises(ValueError, match="holds 3 rows, fewer than the batch of 4"):
        loss(ROWS[:4], STREAM[:4])
    with pytest.raises(ValueError, match=r"^order must be one of before, after, got 'now'$"):
        memory_of(PairSum(), order="now")
