"""What a timing measured: ``timing.json``, and the ratios that are made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel
from scipy import stats


class Variant(BaseModel):
    """The measurements of Softmax alone, or with a loss on a second head; round by round."""

    loss: str  # of the second head; `softmax`: there is none
    train_seconds: list[float]
    inference_seconds: list[float]
    peak_memory_mib: float | None  # of two training steps in a process of their own


class BackboneTiming(BaseModel):
    """The variants of one backbone, Softmax alone first."""

    backbone: str
    variants: list[Variant]


class Timing(BaseModel):
    """What ``timing.json`` holds."""

    schema_version: Literal[1] = 1
    command: str
    device: str
    threads: int
    batch: int
    size: int
    steps: int
    seed: int
    versions: dict[str, str]
    backbones: list[BackboneTiming]


@dataclass(frozen=True)
class Ratio:
    """A geometric mean of paired ratios with its 95 % interval."""

    mean: float
    low: float
    high: float


def paired_ratio(times: Sequence[float], baseline: Sequence[float]) -> Ratio:
    """Return the geometric mean of (N,) per-round ratios, with Student's interval of their logs."""
    logs = np.log(times) - np.log(baseline)
    reach = np.multiply(stats.t.interval(0.95, len(logs) - 1), stats.sem(logs))
    low, mean, high = np.exp(logs.mean() + np.array([reach[0], 0.0, reach[1]])).tolist()
    return Ratio(mean, low, high)
