"""One trial: a point is trained on all folds side by side, until their mean gets no better."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import torch

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.table_sections import TuningConfig
from stt_bench.benchmark.datasets.batches import Inputs
from stt_bench.benchmark.datasets.groups import one_row_each
from stt_bench.benchmark.datasets.items import ItemTable
from stt_bench.benchmark.datasets.sampler import (
    Needs,
    Sampler,
    Stream,
    build_sampler,
    generator,
)
from stt_bench.benchmark.datasets.training_items import Fold
from stt_bench.benchmark.datasets.transfer import moved
from stt_bench.benchmark.features.encoded import inputs_of
from stt_bench.benchmark.models import EmbeddingNetwork
from stt_bench.benchmark.store.trials import Trial, mean_curve
from stt_bench.benchmark.system.devices import resolve_device
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.machine import (
    commit,
    make_deterministic,
    seed_torch,
)
from stt_bench.benchmark.training.checks import check_columns
from stt_bench.benchmark.training.learner import Learner
from stt_bench.benchmark.training.objective import row_needs
from stt_bench.benchmark.training.step import take_step
from stt_bench.benchmark.training.validation import value_of
from stt_bench.benchmark.training.validation_rules import check_positives
from stt_bench.benchmark.tuning.space import Point

_DIGITS = 6  # decimals of a measured value: MAP@R knows no more, and a journal stays small


def check_folds(experiment: Experiment, folds: Sequence[Fold]) -> None:
    """Check that the batches of a row can be drawn from what each fold trains on.

    And, under rules of the evaluation, that what it holds out can be measured.

    Raises:
        BenchError: they cannot, or it cannot.
    """
    needs = row_needs(experiment)
    for fold in folds:
        _sampler(experiment, _labels(fold), 0, needs)
        if experiment.validation_metric != "accuracy":
            check_columns(experiment, fold.items)
            held = one_row_each(fold.items.split("validation"))
            check_positives(held, experiment.evaluation, "the folds of the search")


def _labels(fold: Fold) -> np.ndarray:
    classes = {label: number for number, label in enumerate(fold.items.classes)}
    names = fold.items.split("train")["label"]
    return np.array([classes[label] for label in names], dtype=np.int64)


def _sampler(experiment: Experiment, labels: np.ndarray, seed: int, needs: Needs) -> Sampler:
    try:
        return build_sampler(experiment.sampler, labels, seed, needs)
    except BenchError as error:
        raise BenchError(
            f"the sampler does not fit the folds of the training split: {error}"
        ) from None


class DivergedError(Exception):
    """A loss or an embedding is no longer finite."""


class Material:
    """What the trials of all rows with the same data share: training items, folds and inputs."""

    def __init__(self, items: ItemTable, folds: Sequence[Fold]) -> None:
        """Take training items and their folds; images are read with the first trial."""
        self.items, self.folds = items, folds
        self._inputs: tuple[str, Inputs, Inputs] | None = None

    def inputs(self, experiment: Experiment, network: EmbeddingNetwork) -> tuple[Inputs, Inputs]:
        """Return what a network takes of all training items: to train on, and to be measured on.

        Where the network is cut these are encoded. What is before the cut does not train, so that
        all trials share them, unless it starts at random, from another seed in each.
        """
        random = network.cut is not None and experiment.model.weights is None
        key = repr((experiment.model, experiment.input, network.cut is None))
        if self._inputs is None or self._inputs[0] != key or random:
            made = [
                inputs_of(self.items, "train", experiment, network, training=training)
                for training in (True, False)
            ]
            for inputs in made:
                if not inputs.load():
                    inputs.check()  # tells of all images that cannot be read
            self._inputs = key, made[0], made[1]
        return self._inputs[1:]


def run_trial(
    experiment: Experiment,
    config: TuningConfig,
    material: Material,
    *,
    study: int,
    index: int,
    point: Point,
) -> Trial:
    """Train a point on every fold and measure it on what the fold holds out.

    The folds take the same steps between two validations and stop together: at the row's own
    `train.steps`, or after `patience` validations without a better mean. So each value of the mean
    curve is over all folds. All that is random follows from (study, index, fold).

    Raises:
        BenchError: the row's settings do not fit the folds.
    """
    began = time.process_time()
    tuned = experiment if index < 0 else experiment.with_values(point)
    settings, start = tuned.train, sum(phase.steps for phase in tuned.phases)
    make_deterministic(settings.threads, tf32=settings.precision == "tf32")
    error: str | None = None
    curves: list[list[float]] = [[] for _ in material.folds]
    runners = [
        _Runner(tuned, material, fold, _seed(study, index, number))
        for number, fold in enumerate(material.folds)
    ]
    done, best, since = start, -math.inf, 0
    try:
        while done < settings.steps and since < config.patience:
            done = min(done + config.every, settings.steps)
            values = []
            for runner in runners:
                runner.train_to(done)
                values.append(round(runner.measured(), _DIGITS))
            for curve, value in zip(curves, values, strict=True):
                curve.append(value)
            mean = sum(values) / len(values)
            best, since = (mean, 0) if mean > best else (best, since + 1)
    except DivergedError as diverged:
        error = f"{diverged} by step {done}"
    means = mean_curve(curves) if error is None else []
    place = means.index(max(means)) if means else 0
    return Trial(
        study=study,
        index=index,
        point=point,
        base_digest=experiment.digest(),
        start=start,
        every=config.every,
        patience=config.patience,
        curves=curves,
        objective=max(means, default=0.0),
        steps=min(start + (place + 1) * config.every, settings.steps) if means else 0,
        seconds=round(time.process_time() - began, 3),
        commit=commit(),
        data_hash=material.items.data_hash,
        error=error,
    )


class _Runner:
    """A fold's network while it trains."""

    def __init__(self, experiment: Experiment, material: Material, fold: Fold, seed: int) -> None:
        self.experiment, self.fold, self.seed = experiment, fold, seed
        seed_torch(seed, 0)
        device = resolve_device(experiment.train.device)
        self.learner = Learner(experiment, fold.items, device)
        self.trained, self.held = material.inputs(experiment, self.learner.network)
        labels = _labels(fold)
        self.sampler = _sampler(experiment, labels, seed, self.learner.objective.needs)
        self.labels = torch.from_numpy(labels)
        weights = fold.items.weights
        self.weights = None if weights is None else torch.from_numpy(weights)

    def train_to(self, step: int) -> None:
        """Take all steps up to one."""
        network, objective = self.learner.network, self.learner.objective
        network.train()
        objective.train()
        loss, drawn = None, self.trained.is_random
        for number in range(self.learner.step, step):
            # Not made ahead: a thread takes longer to hand frozen features over than to make them.
            rows = self.sampler.batch(number)
            rng = generator(self.seed, Stream.AUGMENTATION, number) if drawn else None
            images = self.trained.batch(self.fold.trained[rows], rng)
            chosen = torch.from_numpy(rows)
            labels = self.labels[chosen]
            weights = None if self.weights is None else self.weights[chosen]
            taken = take_step(
                self.learner, self.experiment, self.seed, number, images, labels, weights
            )
            loss = taken.loss
        if loss is not None and not bool(loss.isfinite()):
            raise DivergedError(f"the loss is {float(loss)}")

    def measured(self) -> float:
        """Return the objective on what the fold holds out."""
        with self.learner.evaluated(), torch.inference_mode():
            return self._measured()

    def _measured(self) -> float:
        experiment, learner = self.experiment, self.learner
        learner.network.eval()
        learner.objective.eval()
        accuracy = experiment.validation_metric == "accuracy"
        found = []
        size = experiment.evaluation.batch_size
        for first in range(0, len(self.fold.held), size):
            rows = self.fold.held[first : first + size]
            (view,) = self.held.views(rows)
            features, embeddings = learner.network(moved(view, learner.device))
            wanted = learner.objective.logits(features, embeddings) if accuracy else embeddings
            assert wanted is not None
            found.append(wanted.float())
        try:
            return value_of(
                experiment,
                torch.cat(found).cpu().numpy(),
                self.fold.items.split("validation"),
                self.fold.items.classes,
                normalize=learner.network.normalize,
            )
        except ValueError as error:
            raise DivergedError(f"the embeddings cannot be measured ({error})") from None


def _seed(study: int, index: int, fold: int) -> int:
    """Return the seed of a fold's training: a number below 2³² of (study, index, fold)."""
    return int(np.random.SeedSequence([study, index + 1, fold]).generate_state(1)[0])
