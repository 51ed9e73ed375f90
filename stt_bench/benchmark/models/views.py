"""Views: several crops of one image are embedded, and become one embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stt_bench.benchmark.config.evaluation_section import EvaluationConfig
from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.models import EmbeddingNetwork
from stt_bench.benchmark.models.names import IDENTITY
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.unit_length import unit_length


def aggregated(views: Sequence[Tensor], config: EvaluationConfig, *, normalize: bool) -> Tensor:
    """Return the (B, D) embeddings of images from those of their views, each (B, D).

    ``mean`` averages them as they are, ``normalized_mean`` their directions. With `normalize`,
    the model's own, the mean is of unit length again. A single view is its own mean.
    """
    if len(views) == 1:
        return views[0]
    if config.aggregate == "normalized_mean":
        views = [unit_length(view, divide=True) for view in views]
    mean = torch.stack(list(views)).mean(dim=0)
    return unit_length(mean, divide=True) if normalize else mean


def mean_logits(views: Sequence[Tensor | None]) -> Tensor | None:
    """Return the (B, C) class scores of images from those of their views, None without any.

    The mean of log-probabilities differs from it by one number an image, so it ranks the classes
    alike.
    """
    scores = [view for view in views if view is not None]
    return torch.stack(scores).mean(dim=0) if scores[1:] else next(iter(scores), None)


def check_views(network: EmbeddingNetwork, experiment: Experiment) -> None:
    """Raise where the network does not take the larger images of ``crops: whole``."""
    if experiment.evaluation.crops != "whole" or experiment.model.backbone == IDENTITY:
        return
    side = experiment.input.resize or experiment.input.size
    blank = torch.zeros(1, experiment.input.channels, side, side, dtype=torch.uint8)
    network.eval()
    try:
        with torch.no_grad():
            features, _ = network(blank)
        taken = features.shape == (1, network.feature_dim)
    except Exception:  # the libraries raise what they like on sizes they do not take
        taken = False
    network.train()
    if not taken:
        raise BenchError(
            f"evaluation.crops: whole feeds {experiment.model.backbone} images of {side} pixels, "
            f"and it takes only input.size ({experiment.input.size}): use crops: five"
        )
