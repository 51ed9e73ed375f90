"""The loop of a training: step after step, with what is logged, validated and kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from stt_bench.benchmark.datasets.batches import Batch
from stt_bench.benchmark.store.facts import Origin
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.store.weights import write_checkpoint
from stt_bench.benchmark.system.errors import BenchError, TrainingStopped
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.learner import Learner
from stt_bench.benchmark.training.log import TrainingLog
from stt_bench.benchmark.training.measured import measured
from stt_bench.benchmark.training.step import take_step


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
        BenchError: training diverged; the last checkpoint is a finite one.
        TrainingStopped: `stop` is set; the step that was under way is in the checkpoint.
    """
    experiment, settings = run.experiment, run.experiment.train
    network, objective, selection = learner.network, learner.objective, learner.selection
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
                entry = measured(run, learner, step, loss, parts, embeddings, labels, reporter)
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
                check_finite(run, learner)  # a checkpoint of NaN would take a good one's place
                log.flush()
                write_checkpoint(run.checkpoint, {**origin.model_dump(), **learner.state()})
            if stop.is_set():
                raise TrainingStopped(f"{run.name} stopped at step {done}")
        learner.seconds += time.perf_counter() - since


def check_finite(run: Run, learner: Learner) -> None:
    """Raise BenchError where a weight is NaN or infinite."""
    if not learner.is_finite():
        raise BenchError(
            f"{run.name}: a weight is no longer finite at step {learner.step}; lower optimizer.lr "
            "or use train.precision: float32"
        )
