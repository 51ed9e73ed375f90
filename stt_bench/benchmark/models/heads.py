"""Embedding heads: from pooled features, or a flattened map, to the embedding."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.names import did_you_mean

HIDDEN = 1024
KINDS = ("none", "linear", "fc1024", "mlp")


def build_head(
    kind: str, feature_dim: int, embedding_dim: int | None, start: str = "orthogonal"
) -> nn.Module:
    """Build an embedding head.

    - ``none``: the features are the embedding; `embedding_dim` is ignored.
    - ``linear``: one linear layer with bias: orthogonal at the start, or by `start`
      (``identity``: the first features; ``pca`` is put in by `start_from`).
    - ``fc1024``: linear to 1024, batch norm, ReLU, then as ``linear``.
    - ``mlp``: linear to as many as there are features, ReLU, then as ``linear``.
    """
    if kind not in KINDS:
        raise BenchError(f"model.head: no head is named '{kind}': {did_you_mean(kind, KINDS)}")
    if kind == "none":
        return nn.Identity()
    if embedding_dim is None:
        raise BenchError(f"model.embedding_dim: head '{kind}' needs it")
    if kind == "linear":
        layer = _orthogonal(feature_dim, embedding_dim)
        if start != "orthogonal" and embedding_dim > feature_dim:
            raise BenchError(
                f"model.head_start: {start} gives no more than the {feature_dim} features there "
                f"are: lower model.embedding_dim ({embedding_dim})"
            )
        if start == "identity":
            nn.init.eye_(layer.weight)
        return layer
    if kind == "mlp":
        return nn.Sequential(
            nn.Linear(feature_dim, feature_dim),
            nn.ReLU(),
            _orthogonal(feature_dim, embedding_dim),
        )
    return nn.Sequential(
        nn.Linear(feature_dim, HIDDEN, bias=False),  # the norm adds its own bias
        nn.BatchNorm1d(HIDDEN, eps=1e-5, momentum=0.1),
        nn.ReLU(),
        _orthogonal(HIDDEN, embedding_dim),
    )


def _orthogonal(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def check_components(count: int, dim: int) -> None:
    """Raise BenchError where so many rows do not have so many principal components."""
    if dim >= count:
        raise BenchError(
            f"model.head_start: {count} training images have at most {count - 1} principal "
            f"components: lower model.embedding_dim ({dim})"
        )


def components(
    count: int, total: np.ndarray, products: np.ndarray, dim: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return weight (D, F) and bias (D,) that give the principal components of centred features.

    The largest component comes first; of each, the weight of the largest size is positive.

    Args:
        count: of the features' rows x, n.
        total: Σ x, (F,) float64.
        products: Σ x xᵀ, (F, F) float64.
        dim: D.

    Raises:
        BenchError: n rows do not have D components.
    """
    check_components(count, dim)
    mean = total / count
    _, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
    weight = vectors.T[::-1][:dim]
    largest = np.take_along_axis(weight, np.abs(weight).argmax(axis=1)[:, None], axis=1)
    weight = weight * np.sign(largest)
    return weight, -weight @ mean


def start_from(head: nn.Linear, weight: np.ndarray, bias: np.ndarray) -> None:
    """Let a linear head start from weight (D, F) and bias (D,)."""
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        head.bias.copy_(torch.from_numpy(bias))
