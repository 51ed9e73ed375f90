"""The loop of a training: step after step, with what is logged, validated and kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from stt_bench.benchmark.config.sections import TrainConfig
from stt_bench.benchmark.datasets.batches import Batch
from stt_bench.benchmark.store.facts import Origin
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.store.weights import write_checkpoint
from stt_bench.benchmark.system.errors import TrainingStopped
from stt_bench.benchmark.system.processes import processes
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.system.text import decimals
from stt_bench.benchmark.training.finite import NotFiniteError, Watch
from stt_bench.benchmark.training.health import pairs_of
from stt_bench.benchmark.training.learner import Learner
from stt_bench.benchmark.training.log import TrainingLog, Unwritten
from stt_bench.benchmark.training.measured import measured
from stt_bench.benchmark.training.sharing import stay_alike, whole_batch
from stt_bench.benchmark.training.step import take_step

# Of a training, at most, beside the first and the last step's. TensorBoard shows ten pictures of a
# name, unless told otherwise.
_HISTOGRAMS, _PICTURES = 24, 8


def fit(
    run: Run,
    learner: Learner,
    batches: Iterable[Batch],
    origin: Origin,
    stop: threading.Event,
    reporter: Reporter,
) -> None:
    """Train on the batches, from the learner's step to the last.

    Raises:
        NotFiniteError: training diverged; the last checkpoint is a finite one.
        BenchError: the disk is full, or the validation cannot be measured.
        TrainingStopped: `stop` is set, here or in a process that trains along; the step that was
            under way is in the checkpoint.
    """
    experiment, settings = run.experiment, run.experiment.train
    network, objective, selection = learner.network, learner.objective, learner.selection
    network.train()
    objective.train()
    present = processes()
    with (
        TrainingLog(run, learner.step, reporter) if present.leads else Unwritten() as log,
        reporter.bar(
            f"{run.name}: train", settings.steps, learner.step, stage=True, runs=True
        ) as bar,
    ):
        watch, since, first = Watch(), time.perf_counter(), learner.step
        for step, images, labels, weights in batches:
            taken = take_step(learner, experiment, run.seed, step, images, labels, weights)
            learner.note_terms(step)
            done = step + 1
            watch.note(done, taken.loss, taken.overflow)
            report = done % settings.log_every == 0 or done in (1, settings.steps)
            select = selection.is_due(done, settings.steps)
            stopping = present.any(stop.is_set())
            keep = done % settings.checkpoint_every == 0 or stopping
            if report or select or keep or watch.is_due():  # all else leaves a GPU at its work
                watch.look()
            if report:
                pairs = pairs_of(taken.embeddings, taken.labels)
                entry = measured(run, learner, step, taken, pairs, reporter)
                drawn = _is_drawn(done, settings, _PICTURES)
                log.write(
                    entry,
                    pairs if drawn or _is_drawn(done, settings, _HISTOGRAMS) else None,
                    whole_batch(images, len(taken.labels)) if drawn else None,
                )
            if report or select or keep:
                stay_alike(learner)
            if select:
                with learner.evaluated():
                    value = selection.look(done, network, objective)
                log.write({"step": done, f"validation_{selection.metric}": value})
            if report:
                rate = (done - first) * len(taken.labels) / (time.perf_counter() - since)
                bar.to(done, f"loss {decimals(entry['loss'], 4)}, {rate:,.0f} images/s")
            if done == settings.steps:
                break
            if keep:
                now = time.perf_counter()
                learner.seconds += now - since
                since, first = now, done
                check_finite(learner)  # a checkpoint of NaN would take a good one's place
                log.flush()
                if present.leads:
                    write_checkpoint(run.checkpoint, {**origin.model_dump(), **learner.state()})
            if stopping:
                raise TrainingStopped(f"{run.name} stopped at step {done}")
        learner.seconds += time.perf_counter() - since


def _is_drawn(done: int, settings: TrainConfig, most: int) -> bool:
    """Tell whether a logged step is drawn: at most `most` are, as far apart as they can be."""
    every = max(1, -(-settings.steps // (most * settings.log_every)))
    return done % (every * settings.log_every) == 0 or done in (1, settings.steps)


def check_finite(learner: Learner) -> None:
    """Raise NotFiniteError where a weight is NaN or infinite."""
    if not learner.is_finite():
        raise NotFiniteError("a weight is not finite", learner.step)
