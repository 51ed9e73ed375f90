"""stt-bench: which loss is really better on my images, by how much, and can I believe the number?

The short way in: ``from stt_bench import build_loss, retrieval_metrics``. The names are imported
when they are first used, so that ``import stt_bench`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stt_bench.benchmark.datasets import register_dataset
    from stt_bench.evaluation import (
        classification_metrics,
        clustering_metrics,
        retrieval_metrics,
    )
    from stt_bench.losses import RankingLoss, build_loss, loss_names, register_loss

__version__ = "0.1.0"

__all__ = [
    "RankingLoss",
    "build_loss",
    "classification_metrics",
    "clustering_metrics",
    "loss_names",
    "register_dataset",
    "register_loss",
    "retrieval_metrics",
]

_HOMES = {
    "RankingLoss": "losses",
    "build_loss": "losses",
    "classification_metrics": "evaluation",
    "clustering_metrics": "evaluation",
    "loss_names": "losses",
    "register_dataset": "benchmark.datasets",
    "register_loss": "losses",
    "retrieval_metrics": "evaluation",
}


def __getattr__(name: str) -> Any:
    """Import one of the public names when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'stt_bench' has no attribute '{name}'")
    return getattr(import_module(f"stt_bench.{_HOMES[name]}"), name)
