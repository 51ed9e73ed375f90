"""Whether an experiment can be trained: what it names exists, and its parts fit each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch.nn.modules.batchnorm import _BatchNorm

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.loss_sections import LossConfig
from stt_bench.benchmark.config.tables import Where
from stt_bench.benchmark.datasets import ItemTable, check_dataset
from stt_bench.benchmark.datasets.item_rules import metadata_of
from stt_bench.benchmark.datasets.sampler import check_sampler
from stt_bench.benchmark.models import EmbeddingNetwork, check_backbone, library_tag
from stt_bench.benchmark.models.names import IDENTITY
from stt_bench.benchmark.system.devices import check_device_name
from stt_bench.benchmark.system.errors import BenchError, RefusedError
from stt_bench.benchmark.system.text import one_line
from stt_bench.benchmark.training.objective import needs_of
from stt_bench.losses import CrossBatchMemory, RankingLoss, build_loss, loss_names
from stt_bench.losses.registry import CONTEXT
from stt_bench.names import did_you_mean


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


def idle_classifiers(rows: Mapping[str, Experiment]) -> str | None:
    """Return a sentence on the rows whose classifier teaches the network nothing; None: no such.

    It stands on pooled features that nothing trains, beside the head and not behind it.
    """
    idle = [
        name
        for name, row in rows.items()
        if row.softmax_head
        and row.softmax_on == "features"
        and (row.model.freeze == "all" or row.model.backbone == IDENTITY)
    ]
    if not idle:
        return None
    return (
        f"in {', '.join(idle)} the classifier of softmax_head stands on frozen features: it "
        "teaches the head nothing, and the embedding is that of the ranking loss alone; use "
        "softmax_on: embedding"
    )


def check_opened(experiment: Experiment, folder: Path) -> None:
    """Check that what the experiment of a run names exists here too.

    Raises:
        BenchError: it does not, as for a loss of a plugin that was not named.
    """
    try:
        check_dataset(experiment.data)
        check_backbone(experiment.model.backbone)
        for loss in experiment.losses:
            _built(loss)
    except BenchError as error:
        raise RefusedError(
            f"{folder / 'run.json'}: {error}; if a plugin has it, name its file before the "
            "command: stt-bench --plugin FILE"
        ) from None


def check_items(experiment: Experiment, items: ItemTable) -> None:
    """Check that the network takes the kind of items, the losses their weights, the rules columns.

    Raises:
        BenchError: it is images for vectors or the reverse, a loss takes no weights, or a column is
            missing.
    """
    if (items.width is not None) != (experiment.model.backbone == IDENTITY):
        words = ["images", "vectors"] if items.width is not None else ["vectors", "images"]
        raise RefusedError(
            f"model.backbone: {experiment.model.backbone} takes {words[0]}, and dataset "
            f"'{items.name}' has {words[1]}"
        )
    check_weights(experiment, items)
    check_columns(experiment, items)


def check_weights(experiment: Experiment, items: ItemTable) -> None:
    """Check that every loss of an experiment takes the weights of the items, if they have any.

    Raises:
        BenchError: one does not.
    """
    if items.weights is None:
        return
    for loss in experiment.losses:
        if not _built(loss).with_weights:
            raise RefusedError(
                f"the loss '{loss.name}' takes no sample weights, and dataset '{items.name}' has "
                "some: leave out its column weight, or the row"
            )


def check_columns(experiment: Experiment, items: ItemTable) -> None:
    """Check that the items have the columns that the rules of the evaluation read.

    Raises:
        BenchError: one is missing.
    """
    known = metadata_of(items.frame)
    for field in ("query_groups", "junk"):
        name = getattr(experiment.evaluation, field)
        if name is not None and name not in known:
            hint = did_you_mean(name, known) if known else "it has no further columns"
            raise RefusedError(
                f"evaluation.{field}: dataset '{items.name}' has no column '{name}': {hint}"
            )


def _check_names(experiment: Experiment, where: Where) -> None:
    """Look up dataset, options, backbone, weights and device, so that a typo is found at once."""
    lookups: list[tuple[tuple[str, str], Callable[[Any], object], object]] = [
        (("data", "name"), check_dataset, experiment.data),
        (("model", "backbone"), check_backbone, experiment.model.backbone),
        (("model", "weights"), library_tag, experiment.model),
        (("train", "device"), check_device_name, experiment.train.device),
    ]
    for field, look_up, given in lookups:
        try:
            look_up(given)
        except BenchError as error:
            raise RefusedError(f"{where(*field)}: {error}") from None


def _check_losses(experiment: Experiment, where: Where) -> None:
    """Build each loss once, so that a wrong name or parameter is found before anything trains."""
    places = [("phases", str(number), "loss") for number in range(len(experiment.phases))]
    for field, loss in zip([*places, ("loss",)], experiment.losses, strict=True):
        try:
            built = _built(loss)
        except BenchError as error:
            raise RefusedError(f"{where(*field, 'name')}: {error}") from None
        if experiment.memory is not None and field == ("loss",):
            try:
                built = CrossBatchMemory(built, embedding_dim=2, **experiment.memory.model_dump())
            except ValueError as error:
                raise RefusedError(f"{where('memory')}: {error}") from None
        try:
            check_sampler(experiment.sampler, needs_of(built), loss.name)
        except BenchError as error:
            raise RefusedError(f"{where(*field, 'name')}: {error}") from None


def _built(loss: LossConfig) -> RankingLoss:
    """Build a loss as training will, but for its sizes.

    Raises:
        BenchError: whatever goes wrong in it, a plugin's own faults too.
    """
    for name in CONTEXT:
        if name in loss.params:
            raise RefusedError(f"loss.{name} follows from the data and the model: remove it")
    if loss.name.lower() in ("none", "untrained") and loss.name not in loss_names():
        raise RefusedError(
            f"unknown loss '{loss.name}': the untrained network is `train: {{steps: 0}}`, whatever "
            "the loss of its row"
        )
    try:
        return build_loss(loss.name, num_classes=2, embedding_dim=2, **loss.params)
    except ValueError as error:
        raise RefusedError(one_line(str(error), 500)) from None
    except Exception as error:
        told = one_line(f"{type(error).__name__}: {error}", 500)
        raise BenchError(f"the loss '{loss.name}' cannot be built ({told})") from error


def check_chunks(experiment: Experiment, network: EmbeddingNetwork) -> None:
    """Check that a network makes the same of an image whatever others are in its chunk.

    Raises:
        BenchError: it has batch norm that trains.
    """
    size = experiment.train.chunk
    if size is None or size >= experiment.sampler.images_per_batch:
        return
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.training:
            mend = (
                "choose another model.head"
                if name.startswith("head.")
                else "set model.freeze_batch_norm: true"
            )
            raise RefusedError(
                f"train.chunk: {size}: the batch norm '{name}' would see chunks of {size} images "
                f"in place of the batch of {experiment.sampler.images_per_batch}; {mend}, or leave "
                "train.chunk out"
            )
