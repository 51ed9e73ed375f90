"""Training: from a run's settings to its weights, resumable at every checkpoint.

Nothing random outlives a step: the batch, its augmentation and dropout are functions of (seed,
step), so the network, the optimiser and the step number are all a resumed run needs to end in the
same bytes.
"""

from __future__ import annotations

from contextlib import closing

import torch

from stt_bench.benchmark.datasets import ItemTable, load_items
from stt_bench.benchmark.models import weights_id
from stt_bench.benchmark.store.facts import Origin, TrainingFacts
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.store.weights import (
    read_checkpoint,
    unread_checkpoint,
    write_weights,
)
from stt_bench.benchmark.system.devices import device_name, resolve_device, tell_device
from stt_bench.benchmark.system.errors import BenchError, RefusedError, TrainingStopped
from stt_bench.benchmark.system.files import write_json
from stt_bench.benchmark.system.machine import (
    commit,
    make_deterministic,
    peak_memory_mib,
    restart_peak_memory,
    seed_torch,
    versions,
)
from stt_bench.benchmark.system.memory import full_memory_told
from stt_bench.benchmark.system.orders import ordered
from stt_bench.benchmark.system.processes import processes
from stt_bench.benchmark.system.progress import Reporter, Silent
from stt_bench.benchmark.system.signals import heeded_at_once
from stt_bench.benchmark.training.compiled import Compiled
from stt_bench.benchmark.training.diverged import diverged, file_of
from stt_bench.benchmark.training.finite import NotFiniteError
from stt_bench.benchmark.training.learner import Learner
from stt_bench.benchmark.training.loop import check_finite, fit
from stt_bench.benchmark.training.prepare import batches_of, check_images
from stt_bench.benchmark.training.probe import changed, training_probe
from stt_bench.benchmark.training.sharing import begin_alike, share
from stt_bench.benchmark.training.stop import stop_requested


def train(run: Run, reporter: Reporter, *, items: ItemTable | None = None) -> TrainingFacts:
    """Train a run to its end, from its checkpoint if it has one; return the facts of it.

    Writes ``model.safetensors``, ``training.json``, ``metrics.jsonl`` and TensorBoard events. A
    finished run is left as it is.

    Raises:
        BenchError: settings and data do not fit, or the loss is no longer finite.
        TrainingStopped: it was told to stop; the same command continues where this stopped.
    """
    run.save()
    items = items or load_items(run.experiment.data, reporter)
    finished = finished_facts(run, items)
    if finished is not None:
        run.forget_the_way()
        return finished
    run.forget_idle()
    with ordered("train", run):
        facts = _train(run, items, reporter)
    assert facts is not None
    return facts


def train_along(run: Run, items: ItemTable) -> None:
    """Take this process's part in a training that another one leads; write nothing.

    Raises:
        BenchError: as `train` does in the process that leads.
        TrainingStopped: one of the processes was told to stop.
    """
    _train(run, items, Silent())


def _train(run: Run, items: ItemTable, reporter: Reporter) -> TrainingFacts | None:
    """Train a run; return its facts in the process that leads."""
    settings = run.experiment.train
    device = resolve_device(settings.device)
    make_deterministic(settings.threads, tf32=settings.precision == "tf32")
    tell_device(settings.device, device, reporter)
    if settings.precision == "float16" and device.type == "cpu":
        reporter.once(
            "train.precision: float16 is slow on a CPU, most of which lack it: use bfloat16",
            warn=True,
        )
    restart_peak_memory(device)
    seed_torch(run.seed, 0)
    origin = run.origin(items.data_hash, weights_id(run.experiment.model))
    # The first process may fetch weights, or encode what the head starts from.
    with full_memory_told(run.name, "train"), processes().first():
        learner = Learner(run.experiment, items, device)
    leads = processes().leads
    if leads:
        learner.probe = training_probe(run.experiment)
        commit()  # of the code that is loaded, whatever is committed while this trains
    if leads and run.checkpoint.exists():
        state = read_checkpoint(run.checkpoint)
        state.check(origin, run.folder)
        if changed(state.probe or {}, learner.probe or {}):
            raise RefusedError(
                f"{run.folder}: its training was begun by code that computes otherwise than "
                "today's; train it again with --force"
            )
        try:
            learner.load(state)
        except (RuntimeError, MemoryError, ValueError, KeyError, TypeError) as error:
            raise BenchError(unread_checkpoint(run.checkpoint, error)) from None
        reporter.say(f"{run.name}: continues at step {learner.step} of {settings.steps}")
    begin_alike(learner, origin)
    if settings.compile:
        learner.forward = Compiled(learner.network, reporter.warn)
    share(learner, run.experiment)
    learner.selection.shared_by = processes()
    with stop_requested() as stop, full_memory_told(run.name, "train"):
        try:
            if learner.step < settings.steps:
                with heeded_at_once():  # no step is under way that would be lost
                    batches = batches_of(run, items, learner, reporter)
                # However it ends: what makes batches is not to live as long as an error is kept.
                with closing(batches):
                    fit(run, learner, batches, origin, stop, reporter)
            elif not settings.steps:
                with heeded_at_once(), processes().first():
                    if leads:
                        check_images(run, items, reporter)
            if not leads:
                return None
            facts = _write(run, items, learner, origin)
        except NotFiniteError as error:
            if not leads:
                raise
            raise diverged(run, items, learner, error) from None
    if facts.inactive:
        reporter.warn(
            f"{run.name}: no step had a term: the loss never trained the network; give "
            "its batches positives and negatives, such as with sampler: {name: pxk, p: 4, k: 4}"
        )
    if stop.is_set():
        raise TrainingStopped(f"{run.name} was stopped after its last step")
    return facts


def _write(run: Run, items: ItemTable, learner: Learner, origin: Origin) -> TrainingFacts:
    """Write the trained weights and the facts of the training, then drop the checkpoint."""
    experiment, selection = run.experiment, learner.selection
    if learner.average is not None:
        learner.average.keep()
    selection.restore(learner.network, learner.objective)
    check_finite(learner)
    weights = {"network": learner.network, "objective": learner.objective}
    images = experiment.train.steps * experiment.sampler.images_per_batch
    frozen = [f"network.{name}" for name in learner.network.before_the_cut]
    whole, file = write_weights(run.weights, weights, frozen, run.common)
    facts = TrainingFacts(
        **origin.model_dump(),
        steps=experiment.train.steps,
        selected_step=None if selection.best is None else selection.best["step"],
        seconds=round(learner.seconds, 3),
        images_per_second=round(images / learner.seconds, 1) if learner.seconds else None,
        peak_memory_mib=round(peak_memory_mib(learner.device), 1),
        collapsed_at=learner.collapsed_at,
        inactive=learner.inactive,
        unreadable=dict(items.unreadable) or None,
        skipped_steps=learner.scaler.skipped,
        device=device_name(learner.device),
        threads=torch.get_num_threads(),
        processes=processes().size if processes().size > 1 else None,
        checkpoint_sha256=whole,
        file_sha256=file,
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
    run.forget_the_way()
    file_of(run).unlink(missing_ok=True)
    return facts


def finished_facts(run: Run, items: ItemTable) -> TrainingFacts | None:
    """Return the facts of a finished training, or None where it is still to be done.

    Raises:
        BenchError: it is finished, but not of the present settings, data and weights.
    """
    if not run.is_trained:
        return None
    try:
        facts = run.facts()
        try:
            weights = weights_id(run.experiment.model)
        except BenchError:  # a file that is gone is needed no more
            weights = facts.initial_weights
        facts.check(run.origin(items.data_hash, weights), run.folder)
    except RefusedError:
        if run.is_idle:
            return None
        raise
    return facts
