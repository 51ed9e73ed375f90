"""Losses and miners of pytorch-metric-learning under `pml:`, against the library called by hand."""

from importlib import import_module

import pytest
import torch
from loss_cases import DIM, NUM_CLASSES, batch

from stt_bench.losses import CrossBatchMemory, build_loss
from stt_bench.losses.peer import peer_miners, peer_names

pml_losses = import_module("pytorch_metric_learning.losses")
pml_miners = import_module("pytorch_metric_learning.miners")
pml_distances = import_module("pytorch_metric_learning.distances")
pml_reducers = import_module("pytorch_metric_learning.reducers")

LABELS = [0, 0, 1, 1, 2, 2, 0, 3, 3, 1]
NEEDED = {
    "RankedListLoss": {"margin": 0.4, "Tn": 10},
    "HistogramLoss": {"n_bins": 10},
}


def build(name, **params):
    return build_loss(f"pml:{name}", num_classes=NUM_CLASSES, embedding_dim=DIM, **params)


@pytest.mark.parametrize("name", peer_names())
def test_every_loss_learns(name):
    torch.manual_seed(0)
    loss = build(name, **NEEDED.get(name, {}))
    x, y = batch([i // 2 % 4 for i in range(16)], dtype=torch.float32)
    value = loss(x, y)
    value.backward()
    assert loss.name == f"pml:{name}"
    assert value.shape == ()
    assert x.grad.isfinite().all()
    assert all(p.grad is not None for p in loss.parameters())


@pytest.mark.parametrize("name", peer_miners())
def test_every_miner_mines(name):
    torch.manual_seed(0)
    loss = build("TripletMarginLoss", miner=name)
    x, y = batch([i // 2 % 4 for i in range(16)], dtype=torch.float32)
    value = loss(x, y)
    value.backward()
    assert loss.diagnostics["terms"] > 0
    assert value > 0
    assert x.grad.isfinite().all()


def test_parameters_and_miner_of_a_table():
    x, y = batch(LABELS, dtype=torch.float32)
    loss = build(
        "ContrastiveLoss", pos_margin=0.1, miner={"name": "MultiSimilarityMiner", "epsilon": 0.2}
    )
    mined = pml_miners.MultiSimilarityMiner(epsilon=0.2)(x, y)
    assert loss(x, y) == pml_losses.ContrastiveLoss(pos_margin=0.1)(x, y, mined)
    assert loss.diagnostics["terms"] == len(mined[0]) + len(mined[2])


def test_a_miner_that_asks_for_batches_of_triplets_is_not_offered():
    with pytest.raises(ValueError, match="unknown miner 'EmbeddingsAlreadyPackagedAsTriplets'"):
        build("TripletMarginLoss", miner="EmbeddingsAlreadyPackagedAsTriplets")


def test_distance_and_reducer_by_name():
    x, y = batch(LABELS, dtype=torch.float32)
    loss = build(
        "TripletMarginLoss",
        margin=0.3,
        distance={"name": "LpDistance", "p": 1, "normalize_embeddings": False},
        reducer="MeanReducer",
    )
    distance = pml_distances.LpDistance(p=1, normalize_embeddings=False)
    peer = pml_losses.TripletMarginLoss(
        margin=0.3, distance=distance, reducer=pml_reducers.MeanReducer()
    )
    assert loss(x, y) == peer(x, y)


def test_class_vectors_are_parameters_of_the_sizes_at_hand():
    shapes = {name: build(name).peer for name in ("ProxyAnchorLoss", "ArcFaceLoss", "P2SGradLoss")}
    for name, peer in shapes.items():
        (vectors,) = peer.parameters()
        assert set(vectors.shape) == {NUM_CLASSES, DIM}, name
        assert not build(name).needs_positives
    assert build("TripletMarginLoss").needs_positives
    beta = build("MarginLoss", learn_beta=True)
    assert [tuple(p.shape) for p in beta.parameters()] == [(NUM_CLASSES,)]


def test_draws_are_a_function_of_torchs_seed():
    x, y = batch([i // 4 for i in range(16)], dtype=torch.float32)
    loss = build("TripletMarginLoss", margin=1.0, triplets_per_anchor=2)
    values = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        values.append(loss(x, y).item())
    assert values[0] == values[1] != values[2]


def test_what_a_loss_changes_is_in_its_state():
    x, y = batch([0, 0, 1, 1, 2, 2], dtype=torch.float32)
    loss, fresh = build("DynamicSoftMarginLoss"), build("DynamicSoftMarginLoss")
    loss(x, y)
    fresh.load_state_dict(loss.state_dict())
    assert fresh(x, y) == loss(x, y)


@pytest.mark.parametrize("miner", [None, "BatchHardMiner", "MultiSimilarityMiner"])
@pytest.mark.parametrize("name", ["ContrastiveLoss", "TripletMarginLoss", "MultiSimilarityLoss"])
def test_memory_is_the_librarys_plus_the_batch(name, miner):
    torch.manual_seed(0)
    ours = CrossBatchMemory(build(name, miner=miner), embedding_dim=DIM, size=12)
    own = None if miner is None else getattr(pml_miners, miner)()
    peer = getattr(pml_losses, name)()
    theirs = pml_losses.CrossBatchMemory(peer, DIM, memory_size=12, miner=own)
    for seed in range(4):
        x, y = batch([0, 0, 1, 1, 2, seed % 3], seed=seed, dtype=torch.float32)
        value = ours(x, y)
        inside = peer(x, y, own(x, y) if own else None)
        torch.testing.assert_close(value, inside + theirs(x, y), rtol=1e-5, atol=1e-6)


def test_native_losses_with_memory_agree_too():
    ours = CrossBatchMemory(
        build_loss("contrastive", mean="separate", power=1), embedding_dim=DIM, size=12
    )
    peer = pml_losses.ContrastiveLoss()
    theirs = pml_losses.CrossBatchMemory(peer, DIM, memory_size=12)
    for seed in range(4):
        x, y = batch([0, 0, 1, 1, 2, 2], seed=seed, dtype=torch.float32)
        wanted = peer(x, y) + theirs(x, y)
        torch.testing.assert_close(ours(x, y), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("ContrastivLoss", {}, "unknown loss 'pml:ContrastivLoss': did you mean 'ContrastiveLoss'"),
        ("ManifoldLoss", {}, "unknown loss 'pml:ManifoldLoss'"),
        ("CrossBatchMemory", {}, "unknown loss 'pml:CrossBatchMemory'"),
        ("CircleLoss", {"gama": 1}, "'gama': did you mean 'gamma'"),
        ("CircleLoss", {"miner": "HardMiner"}, "unknown miner 'HardMiner' of the loss 'pml:Circle"),
        ("CircleLoss", {"miner": 3}, "miner of the loss 'pml:CircleLoss' must be a name"),
        (
            "CircleLoss",
            {"miner": {"name": "MultiSimilarityMiner", "eps": 1}},
            "unknown parameter of the miner 'MultiSimilarityMiner' .*'eps': did you mean 'epsilon'",
        ),
        ("CircleLoss", {"distance": "LpDistance"}, "'CircleLoss' cannot be built: "),
        ("RankedListLoss", {}, "'RankedListLoss' needs margin and Tn"),
    ],
)
def test_mistakes_are_told_in_one_sentence(name, params, message):
    with pytest.raises(ValueError, match=message) as caught:
        build(name, **params)
    assert "\n" not in str(caught.value)
