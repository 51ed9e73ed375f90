"""Training: from a run's settings to its weights, resumable at every checkpoint.

Nothing random outlives a step: the batch, its augmentation and dropout are functions of (seed,
step), so the network, the optimiser and the step number are all a resumed run needs to end in the
same bytes.
"""

from __future__ import annotations

import math
import threading
import time

import torch
from torch import Tensor

from stt_bench.benchmark.datasets import ItemTable, load_items
from stt_bench.benchmark.datasets.batches import training_batches
from stt_bench.benchmark.datasets.items import Split
from stt_bench.benchmark.features.encoded import inputs_of
from stt_bench.benchmark.models import EmbeddingNetwork, weights_id
from stt_bench.benchmark.store.facts import Origin, TrainingFacts
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.store.weights import (
    damaged_checkpoint,
    read_checkpoint,
    write_checkpoint,
    write_weights,
)
from stt_bench.benchmark.system.errors import BenchError, TrainingStopped
from stt_bench.benchmark.system.files import write_json
from stt_bench.benchmark.system.machine import (
    commit,
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
from stt_bench.benchmark.training.learner import Learner
from stt_bench.benchmark.training.log import TrainingLog
from stt_bench.benchmark.training.optimization import learning_rate_factor
from stt_bench.benchmark.training.probe import changed, training_probe
from stt_bench.benchmark.training.step import take_step
from stt_bench.benchmark.training.stop import stop_requested


def train(run: Run, reporter: Reporter, *, items: ItemTable | None = None) -> TrainingFacts:
    """Train a run to its end, from its checkpoint if it has one; return the facts of it.

    Writes ``model.safetensors``, ``training.json``, ``metrics.jsonl`` and TensorBoard events. A
    finished run is left as it is.

    Raises:
        BenchError: settings and data do not fit, or the loss is no longer finite.
        TrainingStopped: SIGINT or SIGTERM came; the same command continues where this stopped.
    """
    run.save()
    items = items or load_items(run.experiment.data, reporter)
    if run.is_trained:
        return _finished(run, items)
    settings = run.experiment.train
    device = resolve_device(settings.device)
    make_deterministic(settings.threads)
    restart_peak_memory(device)
    seed_torch(run.seed, 0)
    origin = run.origin(items.data_hash, weights_id(run.experiment.model))
    learner = Learner(run.experiment, items, device)
    learner.probe = training_probe(run.experiment)
    commit()  # of the code that is loaded, whatever is committed while this trains
    if run.checkpoint.exists():
        state = read_checkpoint(run.checkpoint)
        state.check(origin, run.folder)
        if changed(state.probe or {}, learner.probe or {}):
            raise BenchError(
                f"{run.folder}: its training was begun by code that computes otherwise than "
                "today's; train it again with --force"
            )
        try:
            learner.load(state)
        except (RuntimeError, ValueError, KeyError, TypeError):
            raise BenchError(damaged_checkpoint(run.checkpoint)) from None
        reporter.say(f"{run.name}: continues at step {learner.step} of {settings.steps}")
    with stop_requested() as stop:
        if learner.step < settings.steps:
            _fit(run, items, learner, origin, stop, reporter)
        facts = _write(run, items, learner, origin)
    if facts.inactive:
        reporter.warn(
            f"{run.name}: every logged step had 0 terms: the loss never trained the network; give "
            "its batches positives and negatives, such as with sampler: {name: pxk, p: 4, k: 4}"
        )
    if stop.is_set():
        raise TrainingStopped(f"{run.name} was stopped after its last step")
    return facts


def _fit(
    run: Run,
    items: ItemTable,
    learner: Learner,
    origin: Origin,
    stop: threading.Event,
    reporter: Reporter,
) -> None:
    """Train from the learner's step to the last."""
    experiment, settings = run.experiment, run.experiment.train
    network, objective, selection = learner.network, learner.objective, learner.selection
    _tell_left_out(run, items, objective.needs.together, reporter)
    if experiment.input.is_fixed and network.frozen and network.cut is None:
        reporter.say(
            f"{run.name}: its frozen layers are computed in every step: they are no chain from the "
            "input on"
        )
    inputs = inputs_of(items, "train", experiment, network, training=True, reporter=reporter)
    with reporter.bar(f"{run.name}: read images", 1) as bar:
        batches = training_batches(
            items,
            experiment,
            run.seed,
            learner.step,
            settings.steps,
            progress=bar.of,
            needs=objective.needs,
            inputs=inputs,
        )
    _check_images(run, items, network, reporter)
    network.train()
    objective.train()
    with (
        TrainingLog(run, learner.step, reporter) as log,
        reporter.bar(
            f"{run.name}: train", settings.steps, learner.step, stage=True, runs=True
        ) as bar,
    ):
        since, first = time.perf_counter(), learner.step
        for step, images, labels, weights in batches:
            loss, parts, embeddings = take_step(
                learner, experiment, run.seed, step, images, labels, weights
            )
            done = step + 1
            report = done % settings.log_every == 0 or done in (1, settings.steps)
            if report:
                entry = _measure(run, learner, step, loss, parts, embeddings, labels, reporter)
                log.write(entry)
            if selection.is_due(done, settings.steps):
                value = selection.look(done, network, objective)
                log.write({"step": done, f"validation_{selection.metric}": value})
            if report:
                rate = (done - first) * len(labels) / (time.perf_counter() - since)
                bar.to(done, f"loss {entry['loss']:.4f}, {rate:,.0f} images/s")
            if done == settings.steps:
                break
            if done % settings.checkpoint_every == 0 or stop.is_set():
                now = time.perf_counter()
                learner.seconds += now - since
                since, first = now, done
                _check_finite(run, learner)  # a checkpoint of NaN would take a good one's place
                write_checkpoint(run.checkpoint, {**origin.model_dump(), **learner.state()})
            if stop.is_set():
                raise TrainingStopped(f"{run.name} stopped at step {done}")
        learner.seconds += time.perf_counter() - since


def _check_images(
    run: Run, items: ItemTable, network: EmbeddingNetwork, reporter: Reporter
) -> None:
    """Prepare every image once: a broken one is told before the training, not in or after it.

    Where the network is cut this is when they are encoded; what is kept of them is not read.
    """
    measured = run.experiment.evaluation
    splits: tuple[Split, ...] = ("train", "validation", "test")
    for split in splits:
        training = split == "train"
        images = inputs_of(
            items,
            split,
            run.experiment,
            network,
            training=training,
            crops=measured.crops if split == "test" else "center",
            flip=measured.flip and split == "test",
            reporter=reporter,
        )
        if len(images):
            with reporter.bar(f"{run.name}: check {split} images", len(images)) as bar:
                if not images.load(bar.of):
                    images.check(bar.of)


def _measure(
    run: Run,
    learner: Learner,
    step: int,
    loss: Tensor,
    parts: dict[str, Tensor],
    embeddings: Tensor,
    labels: Tensor,
    reporter: Reporter,
) -> dict[str, float]:
    """Return what is logged of a step (from 0), once its gradients are there."""
    value, objective = float(loss), learner.objective
    if not math.isfinite(value):
        raise BenchError(
            f"{run.name}: the loss is {value} at step {step + 1}; lower optimizer.lr "
            "or use train.precision: float32"
        )
    entry: dict[str, float] = {"step": step + 1, "loss": value}
    if run.experiment.phases:
        entry["phase"] = objective.phase(step)
    tensors = {**parts, **objective.diagnostics(step)}
    entry |= {name: float(tensor) for name, tensor in tensors.items()}
    entry |= batch_health(embeddings, labels)
    entry["gradient_norm"] = gradient_norm(learner.trained)
    rate = run.experiment.optimizer.lr * learning_rate_factor(run.experiment, step)
    entry["learning_rate"] = rate  # of heads and losses, without the factors of the rest
    if "terms" in entry:
        phase = objective.phase(step)
        learner.terms[phase] = max(learner.terms.get(phase, 0.0), entry["terms"])
    if learner.collapsed_at is None and entry.get("spread", 1.0) < COLLAPSED_SPREAD:
        learner.collapsed_at = step + 1
        reporter.warn(
            f"{run.name}: the embedding has collapsed at step {step + 1}: all images "
            f"lie within {entry['spread']:.0e} of their mean norm; lower optimizer.lr, use "
            "another loss first (priming, batch_all_triplet), or add softmax_head: true"
        )
    return entry


def _tell_left_out(run: Run, items: ItemTable, together: int, reporter: Reporter) -> None:
    """Say how many classes are too small for a loss that reads its pairs in groups."""
    sizes = items.split("train")["label"].value_counts()
    if small := int((sizes < together).sum()):
        reporter.say(
            f"{run.name}: does not train on {small} of {len(sizes)} classes, which have fewer than "
            f"{together} images: its loss takes {together} of a class at a time"
        )


def _check_finite(run: Run, learner: Learner) -> None:
    if not learner.is_finite():
        raise BenchError(
            f"{run.name}: a weight is no longer finite at step {learner.step}; lower optimizer.lr "
            "or use train.precision: float32"
        )


def _write(run: Run, items: ItemTable, learner: Learner, origin: Origin) -> TrainingFacts:
    """Write the trained weights and the facts of the training, then drop the checkpoint."""
    experiment, selection = run.experiment, learner.selection
    selection.restore(learner.network, learner.objective)
    _check_finite(run, learner)
    weights = {"network": learner.network, "objective": learner.objective}
    images = experiment.train.steps * experiment.sampler.images_per_batch
    facts = TrainingFacts(
        **origin.model_dump(),
        steps=experiment.train.steps,
        selected_step=None if selection.best is None else selection.best["step"],
        seconds=round(learner.seconds, 3),
        images_per_second=round(images / learner.seconds, 1) if learner.seconds else None,
        peak_memory_mib=round(peak_memory_mib(learner.device), 1),
        collapsed_at=learner.collapsed_at,
        inactive=learner.inactive,
        device=device_name(learner.device),
        threads=torch.get_num_threads(),
        checkpoint_sha256=write_weights(run.weights, weights),
        embedding_dim=learner.network.embedding_dim,
        trained_parameters=sum(p.numel() for p in learner.trained),
        classes=items.classes,
        versions=versions(),
        commit=commit(),
        probe=learner.probe,
        vector_width=items.width,
        pixel_bits=items.bits,
    )
    write_json(run.training, facts.model_dump(mode="json"))
    run.checkpoint.unlink(missing_ok=True)
    return facts


def _finished(run: Run, items: ItemTable) -> TrainingFacts:
    """Return the facts of a finished training, if it is of the present data and weights."""
    facts = run.facts()
    try:
        weights = weights_id(run.experiment.model)
    except BenchError:  # a file that is gone is needed no more
        weights = facts.initial_weights
    facts.check(run.origin(items.data_hash, weights), run.folder)
    run.checkpoint.unlink(missing_ok=True)
    return facts
