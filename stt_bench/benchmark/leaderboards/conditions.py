"""Under what a row was trained and measured: all of its settings that are not the loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stt_bench.benchmark.config.experiment import Experiment

# What makes a method: the loss with its parameters, and how its own learned vectors learn.
_LOSS = {
    "label",
    "loss",
    "softmax_head",
    "softmax_on",
    "loss_weight",
    "memory",
    "optimizer.proxy_lr_factor",
}
# What changes no trained weights, or only which metrics there are.
_BESIDE = {
    "data.root",
    "train.log_every",
    "train.checkpoint_every",
    "train.device",
    "train.workers",
    "train.threads",
    "evaluation.ks",
    "evaluation.distance",
    "evaluation.clustering",
    "evaluation.clustering_start",
    "evaluation.restarts",
    "evaluation.batch_size",
    "evaluation.backend",
    "evaluation.memory_mib",
}


def conditions(experiment: Experiment) -> dict[str, Any]:
    """Return all settings that are not the loss and can change a result, by dotted name."""
    found = {
        name: value
        for name, value in _flat(experiment.model_dump(mode="json"))
        if name not in _LOSS | _BESIDE and not name.startswith(("loss.", "memory."))
    }
    found["phases"] = [
        (phase.steps, phase.lr)
        for phase in experiment.phases
        if phase.lr not in (None, experiment.optimizer.lr)
    ]
    if experiment.model.head == "none":
        found.pop("model.embedding_dim", None)
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
