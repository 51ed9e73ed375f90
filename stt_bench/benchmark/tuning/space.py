"""The search space of a row, and its points: each a pure function of study and index.

The ranges are fixed before the first run, the same for all tables, and written beside the losses
(`RankingLoss.search`). Here stand those that rows share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.stats import qmc

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.training.optimization import PROXIES
from stt_bench.losses import RankingLoss, build_loss
from stt_bench.losses.search import Range

# Learning rate of the head, the loss and its classifier; the backbone's; both our own.
HEAD_RATE = Range(1e-5, 1e-1, "log")
BACKBONE_RATE = Range(1e-6, 1e-2, "log")
# Learning rate of proxies and β: the Reality Check's (Musgrave, Belongie and Lim, ECCV 2020).
PROXY_RATE = Range(1e-6, 1.0, "log")
# Weight of a memory's part, as that of a second head; our own.
MEMORY_WEIGHT = Range(0.03, 3.0, "log")

RATE = "optimizer.lr"
_DIGITS = 6
NEAR = 0.02  # of the unit cube: nearer than that to a bound, a winner sits at it

Value = int | float
Point = dict[str, Value]


@dataclass(frozen=True)
class Dimension:
    """One field that is tuned.

    Attributes:
        field: Its dotted name.
        bounds: What it is tuned among.
        factor_of: The field of which this one is a factor; the bounds are those of the product.
    """

    field: str
    bounds: Range
    factor_of: str | None = None


def space_of(experiment: Experiment) -> list[Dimension]:
    """Return what is tuned of a row, in the order of the fields' names.

    That is: the learning rate; those of the backbone and of the loss's proxies, where they train,
    as factors of it; the loss's own parameters; the weight of a second head's loss; the weight of a
    memory's part.
    """
    loss = _built(experiment)
    found = [Dimension(RATE, HEAD_RATE)]
    if _backbone_trains(experiment):
        found.append(Dimension("optimizer.backbone_lr_factor", BACKBONE_RATE, RATE))
    if experiment.optimizer.proxy_lr_factor and _has_proxies(loss):
        found.append(Dimension("optimizer.proxy_lr_factor", PROXY_RATE, RATE))
    found += [Dimension(f"loss.{name}", bounds) for name, bounds in loss.search_ranges().items()]
    if experiment.softmax_head:
        found.append(Dimension("loss_weight", loss.search_weight))
    if experiment.memory is not None:
        found.append(Dimension("memory.weight", MEMORY_WEIGHT))
    return sorted(found, key=lambda dimension: dimension.field)


def only_rates(experiment: Experiment) -> bool:
    """Tell whether nothing of the loss itself is tuned, though it has parameters that could be."""
    return experiment.loss.name.startswith("pml:") and not _built(experiment).search_ranges()


def point_of(space: list[Dimension], study: int, index: int) -> Point:
    """Return point `index` (from 0) of a study: a Sobol sequence scrambled by the study's number.

    Neither how many points there are, nor which were tried before, nor where, matters.
    """
    unit = _unit(len(space), study, index)
    point = {d.field: d.bounds.value(u) for d, u in zip(space, unit, strict=True)}
    for dimension in space:
        if dimension.factor_of is not None:
            factor = point[dimension.field] / point[dimension.factor_of]
            point[dimension.field] = float(f"{factor:.{_DIGITS}g}")
    return point


@lru_cache(maxsize=4096)
def _unit(dimensions: int, study: int, index: int) -> tuple[float, ...]:
    """Return a point of a scrambled Sobol sequence, each value in [0, 1); many rows share it."""
    sequence = qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng(study))
    if index:
        sequence.fast_forward(index)
    return tuple(sequence.random(1)[0].tolist())


def own_point(experiment: Experiment, space: list[Dimension]) -> Point:
    """Return the row's own values of what is tuned."""
    loss, point = _built(experiment), {}
    for dimension in space:
        value = value_of(experiment, dimension.field)
        if value is None:  # the loss's default
            value = getattr(loss, dimension.field.removeprefix("loss."), None)
        if isinstance(value, int | float):
            point[dimension.field] = value
    return point


def value_of(experiment: Experiment, field: str) -> Value | None:
    """Return a row's value of a field, None where it gives none."""
    try:
        value = experiment.value_of(field)
    except KeyError:
        return None
    return value if isinstance(value, int | float) else None


def at_bounds(space: list[Dimension], point: Mapping[str, Value]) -> list[tuple[str, float]]:
    """Return the fields of a point that sit at a bound of their range, each with that bound.

    At a bound is what lies within `NEAR` of it in the unit cube, in which a logarithmic range is
    even in the logarithm. The bound of a factor is that of its product with the learning rate.
    """
    found = []
    for dimension in space:
        value = float(point[dimension.field])
        if dimension.factor_of is not None:
            value *= point[dimension.factor_of]
        unit = dimension.bounds.unit(value)
        if unit <= NEAR:
            found.append((dimension.field, dimension.bounds.low))
        elif unit >= 1 - NEAR:
            found.append((dimension.field, dimension.bounds.high))
    return found


def _built(experiment: Experiment) -> RankingLoss:
    loss: dict[str, Any] = experiment.loss.params
    return build_loss(
        experiment.loss.name, num_classes=2, embedding_dim=2, class_counts=[1, 1], **loss
    )


def _has_proxies(loss: RankingLoss) -> bool:
    named = [name for name, entry in loss.named_parameters() if entry.requires_grad]
    return any(PROXIES & set(name.split(".")) for name in named)


def _backbone_trains(experiment: Experiment) -> bool:
    model, rate = experiment.model, experiment.optimizer.backbone_lr_factor
    return bool(rate) and model.backbone != "identity" and model.freeze != "all"
