"""From items to batches of uint8 images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.sections import TrainConfig
from stt_bench.benchmark.datasets.ahead import CAN_FORK, Made, by_processes, by_threads
from stt_bench.benchmark.datasets.image_set import image_set
from stt_bench.benchmark.datasets.items import ItemTable
from stt_bench.benchmark.datasets.sampler import Needs, Stream, build_sampler, generator
from stt_bench.benchmark.datasets.threads import Progress
from stt_bench.benchmark.system.devices import resolve_device
from stt_bench.benchmark.system.processes import Processes
from stt_bench.benchmark.system.resources import usable_cores

_FEW_CORES = 2
_MOST_WORKERS = 16


class Inputs(Protocol):
    """What a network takes of some items: their images, or what a frozen part made of them."""

    @property
    def is_random(self) -> bool:
        """Tell whether `batch` draws from the generator that it is given."""

    @property
    def in_memory(self) -> bool:
        """Tell whether nothing has to be read for a batch."""

    @property
    def costly(self) -> bool:
        """Tell whether images are read or resized for a training batch, not only moved."""

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
    Where processes share the batch, the inputs are those of this one's part; all else is whole.
    """

    step: int
    images: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor | None = None


class TrainingBatches:
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
        self.seed, self._settings = seed, experiment.train
        self.shared_by = Processes()  # this one alone

    def __getitem__(self, step: int) -> Batch:
        """Return the batch of a step; of its images those of this process's part."""
        rows = self.sampler.batch(step)
        rng = generator(self.seed, Stream.AUGMENTATION, step) if self._is_random else None
        chosen = torch.from_numpy(rows)
        weights = None if self.weights is None else self.weights[chosen]
        part = None if self.shared_by.size == 1 else self.shared_by.share(len(rows))
        images = self.images.batch(rows, rng, part)
        return Batch(step, images, self.labels[chosen], weights)

    def iterate(self, start: int, stop: int) -> Iterator[Batch]:
        """Return the batches of steps start, ..., stop - 1, made as `worker_count` says."""
        steps = range(start, stop)
        if count := worker_count(self._settings, costly=self.images.costly):
            made = by_processes(self._tensors, steps, count)
            return (Batch(step, *one) for step, one in zip(steps, made, strict=True))
        return _here(self.__getitem__, steps, costly=self.images.costly)

    def _tensors(self, step: int) -> list[torch.Tensor]:
        return [one for one in self[step][1:] if one is not None]


def worker_count(settings: TrainConfig, *, costly: bool) -> int:
    """Return how many processes make batches; 0: this one does.

    `workers: auto` takes processes where a GPU trains on images that do not fit into memory, or are
    resized for each batch: as many as there are cores beside the one that feeds the GPU, at most
    16. On one or two cores, and where the cores train, none are quicker.
    """
    if not CAN_FORK:
        return 0
    if settings.workers != "auto":
        return settings.workers
    cores = usable_cores()
    if not costly or cores <= _FEW_CORES or resolve_device(settings.device).type == "cpu":
        return 0
    return min(_MOST_WORKERS, cores - 1)


def training_batches(
    items: ItemTable,
    experiment: Experiment,
    seed: int,
    start_step: int,
    stop_step: int,
    progress: Progress | None = None,
    needs: Needs | None = None,
    inputs: Inputs | None = None,
    shared_by: Processes | None = None,
) -> Iterator[Batch]:
    """Load the training images and return the batches of the steps from start up to stop.

    Other `inputs` may stand in their place; `shared_by` is this process's place among several that
    share each batch.

    Raises:
        BenchError: no batch can hold what the losses need; see `build_sampler`.
    """
    batches = TrainingBatches(items, experiment, seed, needs, inputs)
    batches.shared_by = shared_by or batches.shared_by
    if start_step < stop_step:
        batches.images.load(progress)
    return batches.iterate(start_step, stop_step)


def embedding_batches(
    images: Inputs, batch_size: int, *, flip: bool = False, rows: slice | None = None
) -> Iterator[tuple[slice, list[torch.Tensor]]]:
    """Yield the views of all images, or of some rows, in order, and the rows that they are of."""
    rows = rows or slice(0, len(images))

    def views(start: int) -> tuple[slice, list[torch.Tensor]]:
        batch = slice(start, min(start + batch_size, rows.stop))
        return batch, images.views(np.arange(batch.start, batch.stop), flip=flip)

    starts = range(rows.start, rows.stop, batch_size)
    return _here(views, starts, costly=not images.in_memory)


def _here(make: Callable[[int], Made], numbers: range, *, costly: bool) -> Iterator[Made]:
    """Make things in this process: ahead, by threads, where they are costly and a GPU works.

    On a CPU all cores read, then all compute: at the same time each would slow the other.
    """
    if not costly or not torch.cuda.is_initialized():
        return map(make, numbers)
    return by_threads(make, numbers)


def parts_of(images: Inputs, batch_size: int, shared_by: Processes) -> list[slice]:
    """Return the rows that each process embeds: whole batches, so that all are as in one process.

    The first part is never empty, unless there are no images.
    """
    count, last = -(-len(images) // batch_size), len(images)
    batches = [shared_by.share(count, rank) for rank in range(shared_by.size)]
    return [slice(min(b.start * batch_size, last), min(b.stop * batch_size, last)) for b in batches]
