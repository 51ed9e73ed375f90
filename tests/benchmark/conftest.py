"""A small table on the bundled digits, quick enough to train in a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from command_line import stt_bench  # noqa: F401  (a fixture)

from stt_bench.benchmark.datasets import catalog
from stt_bench.benchmark.system import plugins
from stt_bench.benchmark.training.objective import Objective
from stt_bench.losses import registry

TINY = """\
title: Tiny
description: For tests.
seeds: [0]
data: {name: digits, task: retrieval}
input: {size: 16, channels: 1, mean: [0.3], std: [0.37]}
model: {backbone: small_cnn, embedding_dim: 8}
sampler: {name: pxk, p: 4, k: 4}
train: {steps: 12, log_every: 4, checkpoint_every: 5, threads: 1}
evaluation: {ks: [1, 4], restarts: 1}
rows:
  softmax: {label: Softmax, loss: softmax}
  hard:
    label: Hard
    loss: {name: hard_triplet, margin: 1.0}
  two_head:
    loss: {name: hard_triplet, margin: soft}
    softmax_head: true
    loss_weight: 0.5
    data: {task: classification}
  center:
    loss: center
    softmax_head: true
    loss_weight: 0.003
"""


@pytest.fixture(autouse=True)
def _registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test's plugin registers is forgotten after it."""
    monkeypatch.setattr(registry, "_factories", dict(registry._factories))
    monkeypatch.setattr(registry, "_from_packages", set(registry._from_packages))
    monkeypatch.setattr(catalog, "_DATASETS", dict(catalog._DATASETS))
    monkeypatch.setattr(plugins, "_loaded", list(plugins._loaded))


@pytest.fixture(scope="session")
def tiny_text() -> str:
    return TINY


@pytest.fixture
def tiny(tmp_path: Path, tiny_text: str) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(tiny_text)
    return path


Act = Callable[[Objective], Any]
AtStep = Callable[[int, Act], AbstractContextManager[None]]


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> AtStep:
    """Return a context in which something happens at a step (from 0) of every training."""

    @contextmanager
    def context(wanted: int, act: Act) -> Iterator[None]:
        forward = Objective.forward

        def watched(self: Objective, *args: Any) -> Any:
            if args[3] == wanted:
                act(self)
            return forward(self, *args)

        with monkeypatch.context() as patch:
            patch.setattr(Objective, "forward", watched)
            yield

    return context


class Killed(RuntimeError):  # noqa: N818  (no error of the code)
    """The process is gone."""


@pytest.fixture
def killed_at(at_step: AtStep) -> Callable[[int], AbstractContextManager[None]]:
    """Return a context in which every training dies at a step (from 0)."""

    def die(_objective: Objective) -> None:
        raise Killed

    @contextmanager
    def context(step: int) -> Iterator[None]:
        with at_step(step, die), pytest.raises(Killed):
            yield

    return context
