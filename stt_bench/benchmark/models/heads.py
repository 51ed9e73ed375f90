"""Embedding heads: from pooled features, or a flattened map, to the embedding."""

from __future__ import annotations

from torch import nn

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.names import did_you_mean

HIDDEN = 1024
KINDS = ("none", "linear", "fc1024")


def build_head(kind: str, feature_dim: int, embedding_dim: int | None) -> nn.Module:
    """Build an embedding head.

    - ``none``: the features are the embedding; `embedding_dim` is ignored.
    - ``linear``: one linear layer with bias, orthogonal at the start.
    - ``fc1024``: linear to 1024, batch norm, ReLU, then as ``linear``.
    """
    if kind not in KINDS:
        raise BenchError(f"model.head: no head is named '{kind}': {did_you_mean(kind, KINDS)}")
    if kind == "none":
        return nn.Identity()
    if embedding_dim is None:
        raise BenchError(f"model.embedding_dim: head '{kind}' needs it")
    if kind == "linear":
        return _orthogonal(feature_dim, embedding_dim)
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
