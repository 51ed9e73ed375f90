"""Agreement with pytorch-metric-learning where it means the same thing.

Not the same there: its semi-hard miner takes every negative inside the margin, as the semi-hard
kind of batch-all does, not the nearest; its angular loss uses all other rows as negatives, not only
the positives of the other pairs; its Smooth-AP swaps the number of classes and of their rows; and
its supervised contrastive, multi-similarity and lifted losses count differently where an anchor
lacks positives or negatives.
"""

from importlib import import_module

import pytest
import torch
from loss_cases import batch

from stt_bench.losses import build_loss

pml_losses = import_module("pytorch_metric_learning.losses")
pml_miners = import_module("pytorch_metric_learning.miners")
pml_distances = import_module("pytorch_metric_learning.distances")
pml_reducers = import_module("pytorch_metric_learning.reducers")

LABELS = {
    "complete": [i % 4 for i in range(20)],
    "incomplete": [0, 0, 0, 1, 1, 2, 3, 3],
}
PEER_DISTANCES = {
    "euclidean": pml_distances.LpDistance(normalize_embeddings=False),
    "squared_euclidean": pml_distances.LpDistance(normalize_embeddings=False, power=2),
    "cityblock": pml_distances.LpDistance(normalize_embeddings=False, p=1),
    "cosine": pml_distances.CosineSimilarity(),
}


def same(ours, theirs, x, rtol=1e-6):
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=1e-9)
    gradients = [torch.autograd.grad(v, x)[0] for v in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("distance", PEER_DISTANCES)
def test_batch_hard(distance, labels):
    x, y = batch(labels)
    peer = PEER_DISTANCES[distance]
    triplets = pml_miners.BatchHardMiner(distance=peer)(x, y)
    loss = pml_losses.TripletMarginLoss(
        margin=0.5, distance=peer, reducer=pml_reducers.MeanReducer()
    )
    same(build_loss("hard_triplet", margin=0.5, distance=distance)(x, y), loss(x, y, triplets), x)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("distance", PEER_DISTANCES)
def test_batch_all(distance, labels):
    x, y = batch(labels)
    loss = pml_losses.TripletMarginLoss(
        margin=0.5,
        distance=PEER_DISTANCES[distance],
        reducer=pml_reducers.AvgNonZeroReducer(),
    )
    same(build_loss("batch_all_triplet", distance=distance)(x, y), loss(x, y), x)


@pytest.mark.parametrize("kind", ["hard", "semihard", "all"])
@pytest.mark.parametrize("margin", [0.5, "soft"])
def test_batch_all_of_a_kind(kind, margin):
    x, y = batch(LABELS["incomplete"])
    peer = PEER_DISTANCES["euclidean"]
    triplets = pml_miners.TripletMarginMiner(margin=0.5, type_of_triplets=kind, distance=peer)
    soft = margin == "soft"
    reducer = pml_reducers.MeanReducer() if soft else pml_reducers.AvgNonZeroReducer()
    loss = pml_losses.TripletMarginLoss(
        margin=0.0 if soft else margin, smooth_loss=soft, distance=peer, reducer=reducer
    )
    mined = (
        None if kind == "all" else triplets(x, y)
    )  # of its own "all" are only hard and semi-hard
    ours = build_loss(
        "batch_all_triplet", margin=margin, triplets=kind.replace("semihard", "semi_hard")
    )
    same(ours(x, y), loss(x, y, mined), x)


@pytest.mark.parametrize("distance", PEER_DISTANCES)
def test_contrastive_with_separate_means(distance):
    x, y = batch(LABELS["incomplete"])
    margins = {"pos_margin": 0.9, "neg_margin": 0.2}  # of a similarity
    if distance != "cosine":
        margins = {"pos_margin": 0.1, "neg_margin": 3.0}
    peer = pml_losses.ContrastiveLoss(**margins, distance=PEER_DISTANCES[distance])
    ours = build_loss(
        "contrastive",
        positive_margin=0.1,
        margin=0.8 if distance == "cosine" else 3.0,
        distance=distance,
        normalize=False,
        mean="separate",
        power=1,
    )
    same(ours(x, y), peer(x, y), x)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_lifted(labels):
    x, y = batch(labels)
    loss = pml_losses.LiftedStructureLoss(
        neg_margin=1.0, pos_margin=0.0, distance=PEER_DISTANCES["euclidean"]
    )
    same(build_loss("lifted")(x, y), loss(x, y), x)


def test_npairs():
    x, y = batch([0, 0, 1, 1, 2, 2, 3, 3])
    peer = pml_losses.NPairsLoss(
        distance=pml_distances.DotProductSimilarity(normalize_embeddings=False)
    )
    same(build_loss("npairs", l2_weight=0.0)(x, y), peer(x, y), x)


@pytest.mark.parametrize("learn", [False, True])
def test_margin_over_all_triplets(learn):
    """Its nu counts only where β is learned, and there is one a class."""
    x, y = batch(LABELS["incomplete"])
    peer = pml_losses.MarginLoss(nu=0.1 * learn, beta=1.1, learn_beta=learn, num_classes=4)
    ours = build_loss(
        "margin", nu=0.1 * learn, beta=1.1, beta_per_class=True, num_classes=4, sampling="all"
    )
    same(ours(x, y), peer.double()(x, y), x)
    if learn:
        ours(x, y).backward()
        peer(x, y).backward()
        torch.testing.assert_close(ours.beta.grad.double(), peer.beta.grad, rtol=1e-6, atol=0)


def test_lifted_generalized():
    x, y = batch(LABELS["complete"])
    peer = pml_losses.GeneralizedLiftedStructureLoss(
        neg_margin=1.0, pos_margin=0.0, distance=PEER_DISTANCES["euclidean"]
    )
    same(build_loss("lifted", form="generalized")(x, y), peer(x, y), x)


@pytest.mark.parametrize("epsilon", [0.02, 0.5])
def test_multi_similarity(epsilon):
    x, y = batch(LABELS["complete"])
    pairs = pml_miners.MultiSimilarityMiner(epsilon=epsilon)(x, y)
    theirs = pml_losses.MultiSimilarityLoss()(x, y, pairs)
    same(build_loss("multi_similarity", epsilon=epsilon)(x, y), theirs, x)


def test_multi_similarity_of_all_pairs():
    x, y = batch(LABELS["complete"])
    peer = pml_losses.MultiSimilarityLoss(alpha=1.0, beta=20.0, base=0.3)
    loss = build_loss("multi_similarity", alpha=1.0, beta=20.0, base=0.3, epsilon=None)
    same(loss(x, y), peer(x, y), x)


def test_supcon():
    x, y = batch(LABELS["complete"])
    same(build_loss("supcon")(x, y), pml_losses.SupConLoss(temperature=0.1)(x, y), x)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_ntxent(labels):
    x, y = batch(labels)
    same(build_loss("ntxent")(x, y), pml_losses.NTXentLoss(temperature=0.07)(x, y), x)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_circle(labels):
    x, y = batch(labels)
    peer = pml_losses.CircleLoss(m=0.25, gamma=16, reducer=pml_reducers.AvgNonZeroReducer())
    same(build_loss("circle", margin=0.25, gamma=16)(x, y), peer(x, y), x)


@pytest.mark.parametrize("negatives", ["hard", "semi_hard", "all"])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_easy_positive(labels, negatives):
    x, y = batch(labels)
    strategy = negatives.replace("_", "")
    pairs = pml_miners.BatchEasyHardMiner(pos_strategy="easy", neg_strategy=strategy)(x, y)
    theirs = pml_losses.NTXentLoss(temperature=0.1)(x, y, pairs)
    same(build_loss("easy_positive", negatives=negatives)(x, y), theirs, x)
