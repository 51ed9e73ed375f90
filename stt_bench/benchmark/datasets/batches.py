"""From items to batches of uint8 images."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.datasets.image_set import image_set
from stt_bench.benchmark.datasets.items import ItemTable
from stt_bench.benchmark.datasets.sampler import Needs, Stream, build_sampler, generator
from stt_bench.benchmark.datasets.threads import Progress
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.signals import STOPPING


class Inputs(Protocol):
    """What a network takes of some items: their images, or what a frozen part made of them."""

    @property
    def is_random(self) -> bool:
        """Tell whether `batch` draws from the generator that it is given."""

    def __len__(self) -> int:
        """Return the number of items."""

    def load(self, progress: Progress | None = None) -> bool:
        """Bring all into memory where they fit; tell whether they are there."""

    def check(self, progress: Progress | None = None) -> None:
        """Prepare each once; one error tells of all that cannot be prepared."""

    def batch(
        self,
        rows: np.ndarray,
        rng: np.random.Generator | None = None,
        part: slice | None = None,
    ) -> torch.Tensor:
        """Return the inputs of some rows; with a generator, random ones where they are random.

        Of a batch that several processes share, `part` is this one's: what is random is drawn for
        all rows, and made for these. So the parts together are the whole.
        """

    def views(self, rows: np.ndarray, *, flip: bool = False) -> list[torch.Tensor]:
        """Return all views of some rows that are embedded."""


class Batch(NamedTuple):
    """The inputs (B, ...) and class indices (B,), int64, of a training step.

    Images are uint8 (B, C, S, S). Where the items have weights, these are theirs, (B,) float32.
    """

    step: int
    images: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor | None = None


_Item = tuple[int, np.ndarray, np.ndarray, np.ndarray | None] | BenchError


class TrainingBatches(Dataset[Batch]):
    """The batch of every step; a pure function of the seed and the step."""

    def __init__(
        self,
        items: ItemTable,
        experiment: Experiment,
        seed: int,
        needs: Needs | None = None,
        inputs: Inputs | None = None,
    ) -> None:
        """Set up the sampler; the inputs are the images where none are given."""
        frame = items.split("train")
        self.classes = items.classes
        index = {label: number for number, label in enumerate(self.classes)}
        labels = np.array([index[label] for label in frame["label"]], dtype=np.int64)
        self.labels = torch.from_numpy(labels)
        weights = items.weights
        self.weights = None if weights is None else torch.from_numpy(weights)
        self.sampler = build_sampler(experiment.sampler, labels, seed, needs)
        self.images = inputs or image_set(items, "train", experiment.input, training=True)
        self._is_random = self.images.is_random
        self.seed, self.workers = seed, experiment.train.workers

    def __getitem__(self, step: int) -> Batch:
        """Return the batch of a step."""
        rows = self.sampler.batch(step)
        rng = generator(self.seed, Stream.AUGMENTATION, step) if self._is_random else None
        chosen = torch.from_numpy(rows)
        weights = None if self.weights is None else self.weights[chosen]
        return Batch(step, self.images.batch(rows, rng), self.labels[chosen], weights)

    def iterate(self, start: int, stop: int) -> Iterator[Batch]:
        """Return the batches of steps start, ..., stop - 1, made by the config's workers."""
        if not self.workers:
            return (self[step] for step in range(start, stop))
        loader = DataLoader(
            _Told(self),
            batch_size=None,
            sampler=range(start, stop),
            num_workers=self.workers,
            collate_fn=_as_it_is,
            worker_init_fn=_leave_stopping_to_the_trainer,
            generator=torch.Generator(),  # the loader would else draw from the trainer's
        )
        return _raise_errors(iter(loader))


def training_batches(
    items: ItemTable,
    experiment: Experiment,
    seed: int,
    start_step: int,
    stop_step: int,
    progress: Progress | None = None,
    needs: Needs | None = None,
    inputs: Inputs | None = None,
) -> Iterator[Batch]:
    """Load the training images and return the batches of the steps from start up to stop.

    Other `inputs` may stand in their place.

    Raises:
        BenchError: no batch can hold what the losses need; see `build_sampler`.
    """
    batches = TrainingBatches(items, experiment, seed, needs, inputs)
    if start_step < stop_step:
        batches.images.load(progress)
    return batches.iterate(start_step, stop_step)


def embedding_batches(
    images: Inputs, batch_size: int, *, flip: bool = False
) -> Iterator[tuple[slice, list[torch.Tensor]]]:
    """Yield the views of all images in order, and the rows that they are of."""
    for start in range(0, len(images), batch_size):
        rows = slice(start, min(start + batch_size, len(images)))
        yield rows, images.views(np.arange(rows.start, rows.stop), flip=flip)


def _leave_stopping_to_the_trainer(_worker: int) -> None:
    for kind in STOPPING:  # a terminal or a scheduler sends them to all of its processes
        signal.signal(kind, signal.SIG_IGN)


def _as_it_is(item: Any) -> Any:
    return item


class _Told(Dataset[_Item]):
    """Hands over arrays, and a user's error as an item: a worker would bury it in a traceback.

    A tensor would come from a worker by way of a socket in the temporary folder; where that
    folder's name is long, the socket cannot be made and the trainer waits for ever.
    """

    def __init__(self, batches: TrainingBatches) -> None:
        self.batches = batches

    def __getitem__(self, step: int) -> _Item:
        try:
            batch = self.batches[step]
        except BenchError as error:
            return BenchError(str(error))
        weights = None if batch.weights is None else batch.weights.numpy()
        return step, batch.images.numpy(), batch.labels.numpy(), weights


def _raise_errors(items: Iterator[_Item]) -> Iterator[Batch]:
    for item in items:
        if isinstance(item, BenchError):
            raise item
        step, images, labels, weights = item
        given = None if weights is None else torch.from_numpy(weights)
        yield Batch(step, torch.from_numpy(images), torch.from_numpy(labels), given)
