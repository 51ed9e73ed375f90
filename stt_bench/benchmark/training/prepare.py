"""What a training reads: its batches, and that no image of any split is broken."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import nullcontext

from stt_bench.benchmark.datasets import ItemTable
from stt_bench.benchmark.datasets.batches import Batch, Inputs, training_batches, worker_count
from stt_bench.benchmark.datasets.image_set import Crops, image_set
from stt_bench.benchmark.datasets.items import Split
from stt_bench.benchmark.datasets.transfer import on_device
from stt_bench.benchmark.features.encoded import inputs_of
from stt_bench.benchmark.models import EmbeddingNetwork
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.system.processes import processes
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.system.text import counted
from stt_bench.benchmark.training.learner import Learner


def batches_of(
    run: Run, items: ItemTable, learner: Learner, reporter: Reporter
) -> Generator[Batch, None, None]:
    """Return the batches of all steps that the learner has still to take, on its device.

    Raises:
        BenchError: no batch can hold what the losses need, or an image is broken.
    """
    experiment, network, objective = run.experiment, learner.network, learner.objective
    _tell_left_out(run, items, objective.needs.together, reporter)
    if experiment.input.is_fixed and network.frozen and network.cut is None:
        reporter.say(
            f"{run.name}: its frozen layers are computed in every step: they are no chain from the "
            "input on"
        )
    inputs = inputs_of(items, "train", experiment, network, training=True, reporter=reporter)
    # What the first process encodes of the frozen part, the others find on disk.
    turn = processes().first() if network.cut is not None else nullcontext()
    with turn, reporter.bar(f"{run.name}: read images", 1) as bar:
        batches = training_batches(
            items,
            experiment,
            run.seed,
            learner.step,
            experiment.train.steps,
            progress=bar.of,
            needs=objective.needs,
            inputs=inputs,
            shared_by=processes(),
        )
    if count := worker_count(experiment.train, costly=inputs.costly):
        reporter.once(f"train.workers: batches are made ahead in {counted(count, 'process')}")
    with processes().first():
        if processes().leads:
            check_images(run, items, reporter, network)
    return on_device(batches, learner.device)


def check_images(
    run: Run, items: ItemTable, reporter: Reporter, network: EmbeddingNetwork | None = None
) -> None:
    """Prepare every image once: a broken one is told before the training, not in or after it.

    With the network that will train on them they are made ready, too: kept in memory, or encoded
    where it is cut; what is kept of them is not read. Without, nothing trains.

    Raises:
        BenchError: some are broken; it names all, of all splits.
    """
    if network is None and (items.arrays is not None or items.vectors is not None):
        return
    experiment, measured = run.experiment, run.experiment.evaluation
    splits: tuple[Split, ...] = ("train", "validation", "test")
    for split in splits:
        training = split == "train"
        crops: Crops = measured.crops if split == "test" else "center"
        if network is None:
            images: Inputs = image_set(
                items, split, experiment.input, training=training, crops=crops
            )
        else:
            images = inputs_of(
                items,
                split,
                experiment,
                network,
                training=training,
                crops=crops,
                flip=measured.flip and split == "test",
                reporter=reporter,
            )
        if len(images):
            with reporter.bar(f"{run.name}: check {split} images", len(images)) as bar:
                if network is None or not images.load(bar.of):
                    images.check(bar.of)


def _tell_left_out(run: Run, items: ItemTable, together: int, reporter: Reporter) -> None:
    """Say how many classes are too small for a loss that reads its pairs in groups."""
    sizes = items.split("train")["label"].value_counts()
    if small := int((sizes < together).sum()):
        reporter.say(
            f"{run.name}: does not train on {small} of {len(sizes)} classes, which have fewer than "
            f"{together} images: its loss takes {together} of a class at a time"
        )
