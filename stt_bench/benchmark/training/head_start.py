"""What a head starts from where the training features tell it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from torch import nn

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.datasets import ItemTable
from stt_bench.benchmark.datasets.batches import embedding_batches
from stt_bench.benchmark.features.encoded import EncodedSet, inputs_of
from stt_bench.benchmark.features.vector_set import VectorSet
from stt_bench.benchmark.models import EmbeddingNetwork
from stt_bench.benchmark.models.heads import check_components, components, start_from

_BATCH = 256


def check_start(network: EmbeddingNetwork, experiment: Experiment, items: ItemTable) -> None:
    """Check, before features are computed, that they have the components that a head starts from.

    Raises:
        BenchError: there are fewer training images, or views of them, than components.
    """
    if experiment.model.head_start == "pca":
        assert isinstance(network.head, nn.Linear)
        many = network.cut is not None and items.vectors is None
        views = (experiment.input.views or 1) if many else 1
        check_components(views * len(items.split("train")), network.head.out_features)


def start_head(network: EmbeddingNetwork, experiment: Experiment, items: ItemTable) -> None:
    """Give the head of ``head_start: pca`` the components of the training images' features.

    The features are those of the network as it starts: of each image's central crop, or, where the
    network is cut, of all the views that training draws from.

    Raises:
        BenchError: an image cannot be read, or there are fewer images than components.
    """
    if experiment.model.head_start != "pca":
        return
    assert isinstance(network.head, nn.Linear)
    training = network.cut is not None
    inputs = inputs_of(items, "train", experiment, network, training=training)
    dim = network.head.out_features
    if not isinstance(inputs, EncodedSet | VectorSet):
        inputs.check()  # tells of all images that cannot be read
        start_from(network.head, *components(*_sums(network, inputs), dim))
        return
    seen = json.dumps(inputs.key) if isinstance(inputs, EncodedSet) else "vectors"
    key = ("components", seen, dim)
    if key not in items.prepared:
        items.prepared[key] = components(*_sums(network, inputs), dim)
    start_from(network.head, *items.prepared[key])


@torch.inference_mode()
def _sums(network: EmbeddingNetwork, inputs: Any) -> tuple[int, np.ndarray, np.ndarray]:
    """Return number, sum and sum of products of the features, in float64."""
    count, width = 0, network.feature_dim
    total, products = np.zeros(width), np.zeros((width, width))
    device, training = network.mean.device, network.training
    network.eval()
    for _, views in embedding_batches(inputs, _BATCH):
        for view in views:
            features, _ = network(view.to(device))
            x = features.double().cpu().numpy()
            count, total, products = count + len(x), total + x.sum(axis=0), products + x.T @ x
    network.train(training)
    return count, total, products
