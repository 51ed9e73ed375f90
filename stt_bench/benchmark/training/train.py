"""Training: from a run's settings to its weights, resumable at every checkpoint.

Nothing random outlives a step: the batch, its augmentation and dropout are functions of (seed,
step), so the network, the optimiser and the step number are all a resumed run needs to end in the
same bytes.
"""

from __future__ import annotations

import io
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.datasets import ItemTable, load_items
from stt_bench.benchmark.datasets.batches import training_batches
from stt_bench.benchmark.models import EmbeddingNetwork, build_network, weights_id
from stt_bench.benchmark.models.views import check_views
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.system.errors import BenchError, TrainingStopped
from stt_bench.benchmark.system.files import sha256_of, write_atomically, write_json
from stt_bench.benchmark.system.machine import (
    device_name,
    make_deterministic,
    peak_memory_mib,
    resolve_device,
    restart_peak_memory,
    seed_torch,
    versions,
)
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.health import COLLAPSED_SPREAD, batch_health, gradient_norm
from stt_bench.benchmark.training.log import TrainingLog
from stt_bench.benchmark.training.objective import Objective
from stt_bench.benchmark.training.optimization import build_optimizer, learning_rate_factor
from stt_bench.benchmark.training.validation import Selection

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def train(run: Run, reporter: Reporter, *, items: ItemTable | None = None) -> None:
    """Train a run to its end, from its checkpoint if it has one; do nothing if it is complete.

    Writes ``model.safetensors``, ``training.json``, ``metrics.jsonl`` and TensorBoard events.

    Raises:
        BenchError: settings and data do not fit, or the loss is no longer finite.
        TrainingStopped: SIGINT or SIGTERM came; the same command continues where this stopped.
    """
    run.save()
    items = items or load_items(run.experiment.data)
    if run.training.exists() and run.weights.exists():
        facts = run.facts()
        run.check_origin(facts, items.data_hash)
        _check_starting_weights(run, facts)
        run.checkpoint.unlink(missing_ok=True)
        return
    trainer = _Trainer(run, items, reporter)
    trainer.resume()
    trainer.loop()
    trainer.finish()
    if trainer.stopped:
        raise TrainingStopped(f"{run.name} was stopped after its last step")


def _check_starting_weights(run: Run, origin: dict[str, Any]) -> None:
    """Refuse to go on from other starting weights; a file that is gone is needed no more."""
    try:
        now = weights_id(run.experiment.model)
    except BenchError:
        return
    if now != origin["initial_weights"]:
        raise BenchError(
            f"{run.folder} was trained from other starting weights "
            f"({origin['initial_weights']}, now {now}); add --force to train it again"
        )


def new_model(experiment: Experiment, num_classes: int) -> tuple[EmbeddingNetwork, Objective]:
    """Return the network and objective of an experiment, for ``num_classes`` training classes."""
    network = build_network(experiment.model, experiment.input)
    check_views(network, experiment)
    objective = Objective(experiment, num_classes, network.feature_dim, network.embedding_dim)
    return network, objective


class _Trainer:
    """The state of one training and the steps that change it."""

    def __init__(self, run: Run, items: ItemTable, reporter: Reporter) -> None:
        experiment = run.experiment
        self.run, self.items, self.reporter = run, items, reporter
        self.settings, self.steps = experiment.train, experiment.train.steps
        self.device = resolve_device(self.settings.device)
        make_deterministic(self.settings.threads)
        restart_peak_memory(self.device)
        seed_torch(run.seed, 0)
        self.classes = items.classes
        network, objective = new_model(experiment, len(self.classes))
        # Channels last halves the time of depthwise convolutions on the CPU.
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.objective = objective.to(self.device)
        self.optimizer = build_optimizer(experiment.optimizer, self.network, self.objective)
        self.trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.settings.precision == "float16"
        )
        self.origin = {
            "training_digest": experiment.training_digest(),
            "seed": run.seed,
            "data_hash": items.data_hash,
            "initial_weights": weights_id(experiment.model),
        }
        self.selection = Selection(experiment, items, self.device)
        self.step = 0
        self.stopped = False
        self.seconds = 0.0
        self.collapsed_at: int | None = None

    # -- one step ---------------------------------------------------------------------------

    def train_step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor], Any]:
        """Take one optimiser step; return the loss, its parts, and the embeddings."""
        seed_torch(self.run.seed, self.step + 1)
        factor = learning_rate_factor(self.run.experiment, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        dtype = _AUTOCAST.get(self.settings.precision)
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None):
            features, embeddings = self.network(images)
            loss, parts = self.objective(features, embeddings, labels, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        return loss.detach(), parts, embeddings.detach()

    def loop(self) -> None:
        """Train from the present step to the last."""
        if self.step >= self.steps:
            return
        self.network.train()
        self.objective.train()
        with self.reporter.bar(f"{self.run.name}: read images", 1) as bar:
            batches = training_batches(
                self.items,
                self.run.experiment,
                self.run.seed,
                self.step,
                self.steps,
                progress=bar.of,
            )
        with (
            TrainingLog(self.run, self.step) as log,
            _stop_requested() as stop,
            self.reporter.bar(self.run.name, self.steps, self.step) as bar,
        ):
            since, first = time.perf_counter(), self.step
            for batch in batches:
                images = batch.images.to(
                    self.device, non_blocking=True, memory_format=torch.channels_last
                )
                labels = batch.labels.to(self.device, non_blocking=True)
                loss, parts, embeddings = self.train_step(images, labels)
                number = self.step + 1
                report = number % self.settings.log_every == 0 or number in (1, self.steps)
                if report:
                    entry = self._measure(loss, parts, embeddings, labels)
                    log.write(entry)
                self.scaler.step(self.optimizer)
                self.scaler.update()
                self.step += 1
                if self.selection.is_due(self.step, self.steps):
                    value = self.selection.look(self.step, self.network, self.objective)
                    log.write({"step": self.step, f"validation_{self.selection.metric}": value})
                if report:
                    rate = (self.step - first) * len(labels) / (time.perf_counter() - since)
                    bar.to(self.step, f"loss {entry['loss']:.4f}  {rate:,.0f} images/s")
                if self.step % self.settings.checkpoint_every == 0 or stop.is_set():
                    now = time.perf_counter()
                    self.seconds += now - since
                    since, first = now, self.step
                    if self.step < self.steps:
                        self.save_checkpoint()
                self.stopped = stop.is_set()
                if self.stopped and self.step < self.steps:
                    raise TrainingStopped(f"{self.run.name} stopped at step {self.step}")
            self.seconds += time.perf_counter() - since

    def _measure(
        self, loss: Tensor, parts: dict[str, Tensor], embeddings: Tensor, labels: Tensor
    ) -> dict[str, float]:
        value = float(loss)
        if not math.isfinite(value):
            raise BenchError(
                f"{self.run.name}: the loss is {value} at step {self.step + 1}; lower optimizer.lr "
                "or use train.precision: float32"
            )
        tensors = {**parts, **self.objective.diagnostics(self.step)}
        entry: dict[str, float] = {"step": self.step + 1, "loss": value}
        if self.run.experiment.phases:
            entry["phase"] = self.objective.phase(self.step)
        entry |= {name: float(tensor) for name, tensor in tensors.items()}
        entry |= batch_health(embeddings, labels)
        entry["gradient_norm"] = gradient_norm(self.trained)
        entry["learning_rate"] = self.optimizer.param_groups[-1]["lr"]
        if self.collapsed_at is None and entry.get("spread", 1.0) < COLLAPSED_SPREAD:
            self.collapsed_at = self.step + 1
            self.reporter.warn(
                f"{self.run.name}: the embedding has collapsed at step {self.step + 1}: all images "
                f"lie within {entry['spread']:.0e} of their mean norm; lower optimizer.lr, use "
                "another loss first (priming, batch_all_triplet), or add softmax_head: true"
            )
        return entry

    # -- disk -------------------------------------------------------------------------------

    def save_checkpoint(self) -> None:
        """Write all that a later process needs to continue."""
        state = {
            **self.origin,
            "step": self.step,
            "seconds": self.seconds,
            "collapsed_at": self.collapsed_at,
            "network": self.network.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best": self.selection.best,
        }
        write_atomically(self.run.checkpoint, lambda stream: torch.save(state, stream))

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one of the same settings."""
        if not self.run.checkpoint.exists():
            return
        try:
            state = torch.load(self.run.checkpoint, map_location="cpu", weights_only=True)
        except Exception:  # torch raises many kinds for a damaged file
            raise BenchError(
                f"{self.run.checkpoint} is damaged; add --force to train again from the start"
            ) from None
        self.run.check_origin(state, self.items.data_hash)
        _check_starting_weights(self.run, state)
        self.origin["initial_weights"] = state["initial_weights"]
        self.network.load_state_dict(state["network"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.collapsed_at = state["collapsed_at"]
        self.selection.best = state.get("best")
        self.reporter.say(f"{self.run.name}: continues at step {self.step} of {self.steps}")

    def finish(self) -> None:
        """Write the trained weights and the facts of the training, then drop the checkpoint."""
        self.selection.restore(self.network, self.objective)
        best = self.selection.best
        tensors = {
            f"{part}.{name}": tensor.detach().cpu().contiguous()
            for part, module in (("network", self.network), ("objective", self.objective))
            for name, tensor in module.state_dict().items()
        }
        weights = io.BytesIO(safetensors.torch.save(tensors))
        write_atomically(self.run.weights, lambda stream: stream.write(weights.getbuffer()))
        images = self.steps * self.run.experiment.sampler.images_per_batch
        facts = {
            **self.origin,
            "steps": self.steps,
            "selected_step": None if best is None else best["step"],
            "seconds": round(self.seconds, 3),
            "images_per_second": round(images / self.seconds, 1) if self.seconds else None,
            "peak_memory_mib": round(peak_memory_mib(self.device), 1),
            "collapsed_at": self.collapsed_at,
            "device": device_name(self.device),
            "threads": torch.get_num_threads(),
            "checkpoint_sha256": sha256_of(self.run.weights),
            "embedding_dim": self.network.embedding_dim,
            "trained_parameters": sum(p.numel() for p in self.trained),
            "classes": self.classes,
            "versions": versions(),
        }
        write_json(self.run.training, facts)
        self.run.checkpoint.unlink(missing_ok=True)


@contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """Turn the first SIGINT or SIGTERM into a flag that is looked at after each step."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def note(_signal: int, _frame: FrameType | None) -> None:
        event.set()

    before = {kind: signal.signal(kind, note) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
