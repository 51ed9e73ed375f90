"""What learns: the network with its objective, its optimiser, and how far they have come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.sections import InputConfig, ModelConfig
from stt_bench.benchmark.datasets import ItemTable
from stt_bench.benchmark.models import EmbeddingNetwork, build_network
from stt_bench.benchmark.models.cut import cut_of
from stt_bench.benchmark.models.views import check_views
from stt_bench.benchmark.store.weights import Checkpoint
from stt_bench.benchmark.training.average import Average
from stt_bench.benchmark.training.checks import check_chunks, check_items
from stt_bench.benchmark.training.head_start import check_start, start_head
from stt_bench.benchmark.training.objective import Objective
from stt_bench.benchmark.training.optimization import build_optimizer, load_optimizer
from stt_bench.benchmark.training.scaling import LossScaler
from stt_bench.benchmark.training.update import Update
from stt_bench.benchmark.training.validation import Selection

_PARTS = ("network", "objective", "optimizer", "scaler")
_COUNTERS = ("step", "seconds", "collapsed_at", "terms")

Gather = Callable[
    [Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor, Tensor, Tensor | None]
]
"""(features, embeddings, labels, weights) of a process's part of a batch -> those of the batch."""


Build = Callable[[ModelConfig, InputConfig, int | None], EmbeddingNetwork]


def new_model(
    experiment: Experiment,
    num_classes: int,
    class_counts: Sequence[int] | None = None,
    width: int | None = None,
    build: Build = build_network,
) -> tuple[EmbeddingNetwork, Objective]:
    """Return the network and objective of an experiment, for ``num_classes`` training classes.

    The training images of each class are needed to train only, by a loss that adjusts for them;
    `width`, the values of a vector, where the items are vectors; `build` makes the network.
    """
    network = build(experiment.model, experiment.input, width)
    check_views(network, experiment)
    if network.cut is None:
        network.cut = cut_of(network, experiment.model, experiment.input)
    objective = Objective(
        experiment, num_classes, network.feature_dim, network.embedding_dim, class_counts
    )
    return network, objective


def model_for(
    experiment: Experiment, items: ItemTable, build: Build = build_network
) -> tuple[EmbeddingNetwork, Objective]:
    """Return the network and objective of an experiment that learns from these items.

    Raises:
        BenchError: they do not fit: the kind of items, their weights or columns, images that are
            fewer than the components a head starts from, or batch norm that would see chunks.
    """
    check_items(experiment, items)
    sizes = len(items.classes), items.class_counts, items.width
    network, objective = new_model(experiment, *sizes, build)
    check_start(network, experiment, items)
    check_chunks(experiment, network)
    return network, objective


class Learner:
    """All that a training changes; `state` is what a checkpoint holds of it.

    A step calls `forward`, which is the network or wraps it, and gives what comes of it through
    `gather` to the objective, where a batch is shared among processes.
    """

    forward: Callable[[Tensor], tuple[Tensor, Tensor]]
    gather: Gather | None = None
    average: Average | None = None  # of the weights, which is what is evaluated

    def __init__(self, experiment: Experiment, items: ItemTable, device: torch.device) -> None:
        """Build everything at step 0; the weights are drawn from torch's generator.

        Raises:
            BenchError: they do not fit: see `model_for`; or the validation part has no positives.
        """
        network, objective = model_for(experiment, items)
        # Channels last halves the time of depthwise convolutions on the CPU.
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        start_head(self.network, experiment, items)
        self.forward = self.network
        self.objective = objective.to(device)
        self.optimizer = build_optimizer(experiment.optimizer, self.network, self.objective)
        if experiment.train.ema is not None:
            self.average = Average(experiment.train.ema, self.trained)
        self.scaler = LossScaler(device, enabled=experiment.train.precision == "float16")
        self.selection = Selection(experiment, items, device)
        self.device = device
        self.probe: dict[str, float] | None = None  # of the code: see `training.probe`
        self.step = 0  # how many are done
        self.seconds = 0.0
        self.collapsed_at: int | None = None
        self.terms: dict[int, float] = {}  # of each phase, the most terms that a step had
        self._unread: dict[int, Tensor] = {}  # the same of steps whose numbers were not read yet

    @cached_property
    def update(self) -> Update:
        """Return what changes the parameters by their gradients."""
        return Update(self.optimizer)

    @property
    def trained(self) -> list[torch.nn.Parameter]:
        """Return the parameters that the optimiser changes."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    @property
    def inactive(self) -> bool:
        """Tell whether a loss that counts its terms never had one, so that it trained nothing."""
        self._read_terms()
        return 0 in self.terms.values()

    def note_terms(self, step: int) -> None:
        """Note how many terms the loss of a step (from 0) had; a GPU is not waited for."""
        phase = self.objective.phase(step)
        terms = None if self.terms.get(phase) else self.objective.diagnostics(step).get("terms")
        if terms is not None:
            known = self._unread.get(phase)
            self._unread[phase] = terms if known is None else torch.maximum(known, terms)

    def _read_terms(self) -> None:
        for phase, terms in self._unread.items():
            self.terms[phase] = max(self.terms.get(phase, 0.0), float(terms))
        self._unread.clear()

    def state(self) -> dict[str, Any]:
        """Return what a later process needs to continue."""
        self._read_terms()
        return {
            **{name: getattr(self, name) for name in _COUNTERS},
            **{name: getattr(self, name).state_dict() for name in _PARTS},
            "best": self.selection.best,
            "average": None if self.average is None else self.average.weights,
            "probe": self.probe,
        }

    def load(self, state: Checkpoint) -> None:
        """Continue from a state."""
        for name in _PARTS:
            if name != "optimizer":
                getattr(self, name).load_state_dict(getattr(state, name))
        load_optimizer(self.optimizer, state.optimizer)
        for name in _COUNTERS:
            setattr(self, name, getattr(state, name))
        self.selection.best = state.best
        if self.average is not None:
            self.average.load(state.average)

    def evaluated(self) -> AbstractContextManager[None]:
        """Return a context in which network and objective have the weights that are evaluated."""
        return nullcontext() if self.average is None else self.average.in_place()

    def synced(self, last: bool) -> AbstractContextManager[None]:
        """Return a context for a backward pass of a step; processes share gradients in the last."""
        apart = None if last else getattr(self.forward, "no_sync", None)
        return nullcontext() if apart is None else apart()

    def is_finite(self) -> bool:
        """Tell whether all weights are numbers, not NaN or infinity."""
        tensors = [*self.network.state_dict().values(), *self.objective.parameters()]
        return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())
