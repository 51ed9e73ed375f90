"""Whether an experiment can be trained: what it names exists, and its parts fit each other."""

from __future__ import annotations

from pathlib import Path

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.tables import Where
from stt_bench.benchmark.datasets import check_dataset
from stt_bench.benchmark.datasets.sampler import check_sampler
from stt_bench.benchmark.models import check_backbone, library_tag
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.training.objective import needs_of
from stt_bench.losses import CrossBatchMemory, build_loss
from stt_bench.losses.registry import CONTEXT


def check_experiment(experiment: Experiment, where: Where) -> None:
    """Look up what an experiment names and build its losses, before anything trains.

    Args:
        experiment: the settings of a row.
        where: tells where a field of them stands, for the sentence of an error.

    Raises:
        BenchError: an unknown name or parameter, or a sampler that the loss cannot use.
    """
    _check_names(experiment, where)
    _check_losses(experiment, where)


def check_opened(experiment: Experiment, folder: Path) -> None:
    """Check that what the experiment of a run names exists here too.

    Raises:
        BenchError: it does not, as for a loss of a plugin that was not named.
    """
    try:
        check_dataset(experiment.data)
        check_backbone(experiment.model.backbone)
        for loss in experiment.losses:
            build_loss(loss.name, num_classes=2, embedding_dim=2, **loss.params)
    except (BenchError, ValueError, TypeError) as error:
        raise BenchError(
            f"{folder / 'run.json'}: {error}; if a plugin has it, name its file before the "
            "command: stt-bench --plugin FILE"
        ) from None


def _check_names(experiment: Experiment, where: Where) -> None:
    """Look up the dataset, its options, backbone and weights, so that a typo is found at once."""
    try:
        check_dataset(experiment.data)
    except BenchError as error:
        raise BenchError(f"{where('data', 'name')}: {error}") from None
    try:
        check_backbone(experiment.model.backbone)
    except BenchError as error:
        raise BenchError(f"{where('model', 'backbone')}: {error}") from None
    try:
        library_tag(experiment.model)
    except BenchError as error:
        raise BenchError(f"{where('model', 'weights')}: {error}") from None


def _check_losses(experiment: Experiment, where: Where) -> None:
    """Build each loss once, so that a wrong name or parameter is found before anything trains."""
    places = [("phases", str(number), "loss") for number in range(len(experiment.phases))]
    for field, loss in zip([*places, ("loss",)], experiment.losses, strict=True):
        place = where(*field, "name")
        for name in CONTEXT:
            if name in loss.params:
                raise BenchError(
                    f"{place}: {name} of the loss {loss.name} is told by the data and the model: "
                    "leave it out"
                )
        try:
            built = build_loss(loss.name, num_classes=2, embedding_dim=2, **loss.params)
        except (ValueError, TypeError) as error:
            raise BenchError(f"{place}: {error}") from None
        if experiment.memory is not None and field == ("loss",):
            try:
                built = CrossBatchMemory(built, embedding_dim=2, **experiment.memory.model_dump())
            except ValueError as error:
                raise BenchError(f"{where('memory')}: {error}") from None
        try:
            check_sampler(experiment.sampler, needs_of(built), loss.name)
        except BenchError as error:
            raise BenchError(f"{place}: {error}") from None
