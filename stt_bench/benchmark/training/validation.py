"""Model selection without the test split: a validation part is held out of the training items.

Retrieval holds out whole classes, so that validation asks what the test asks: unseen classes.
Classification holds out images of every class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.datasets import ItemTable
from stt_bench.benchmark.datasets.batches import embedding_batches, parts_of
from stt_bench.benchmark.datasets.groups import average_groups, one_row_each
from stt_bench.benchmark.datasets.transfer import moved
from stt_bench.benchmark.features.encoded import inputs_of
from stt_bench.benchmark.models import EmbeddingNetwork
from stt_bench.benchmark.system.devices import resolve_device
from stt_bench.benchmark.system.errors import BenchError, RefusedError
from stt_bench.benchmark.system.processes import Processes
from stt_bench.benchmark.training.objective import Objective
from stt_bench.benchmark.training.validation_rules import check_positives, ruled
from stt_bench.evaluation import classification_metrics, on_device, retrieval_metrics


def check_validation(experiment: Experiment, items: ItemTable) -> None:
    """Check that a query of the validation part has a positive, where one is needed.

    Raises:
        BenchError: none has.
    """
    if not experiment.train.validate_every or experiment.validation_metric == "accuracy":
        return
    held_out = one_row_each(items.split("validation"))
    if not held_out["label"].duplicated().any():
        raise RefusedError(
            "data.validation holds no two items of one class, so that no query has a positive: "
            "raise it"
        )
    check_positives(held_out, experiment.evaluation, "data.validation")


class Selection:
    """Measures the network on the validation part and keeps the best weights.

    A later step must be strictly better to replace an earlier one.
    """

    def __init__(self, experiment: Experiment, items: ItemTable, device: torch.device) -> None:
        """Choose the metric; nothing is read before the first measurement."""
        self.experiment, self.items, self.device = experiment, items, device
        self.every = experiment.train.validate_every
        self.metric = experiment.validation_metric
        self.batch_size = experiment.evaluation.batch_size
        self.shared_by = Processes()  # this one alone
        self.first = sum(phase.steps for phase in experiment.phases)
        self.best: dict[str, Any] | None = None
        check_validation(experiment, items)

    def is_due(self, step: int, last: int) -> bool:
        """Tell whether the network is measured after a step (from 1)."""
        return self.every is not None and (step % self.every == 0 or step == last)

    def look(self, step: int, network: EmbeddingNetwork, objective: Objective) -> float:
        """Measure the network; remember its weights if it is the best so far.

        Where several processes share the work, each embeds a part of the items.

        Weights that the row's own loss has not trained yet, those of its phases, are measured only.

        Raises:
            BenchError: the embeddings cannot be measured, since training diverged.
        """
        array = self._embedded(network, objective)
        found: dict[str, Any] = {}
        if self.shared_by.leads and array is not None:
            try:
                found["value"] = self._value(array, normalize=network.normalize)
            except ValueError as error:
                found["error"] = str(error)
        found.update(self.shared_by.shared(found))
        if "error" in found:
            raise BenchError(
                f"the validation at step {step} cannot be measured ({found['error']}); lower "
                "optimizer.lr"
            )
        value: float = found["value"]
        if step > self.first and (self.best is None or value > self.best["value"]):
            self.best = {
                "step": step,
                "value": value,
                "network": _weights(network),
                "objective": _weights(objective),
            }
        return value

    def restore(self, network: nn.Module, objective: nn.Module) -> None:
        """Give network and objective the best weights, where there are any."""
        if self.best is not None:
            network.load_state_dict(self.best["network"])
            objective.load_state_dict(self.best["objective"])

    @torch.inference_mode()
    def _embedded(self, network: EmbeddingNetwork, objective: Objective) -> np.ndarray | None:
        """Return what is measured of the items; in the first process, of all."""
        images = inputs_of(self.items, "validation", self.experiment, network, training=False)
        images.load()
        found = []
        network.eval()
        parts = parts_of(images, self.batch_size, self.shared_by)
        mine = parts[self.shared_by.rank]
        for _, (view,) in embedding_batches(images, self.batch_size, rows=mine):
            features, embeddings = network(moved(view, network.mean.device))
            wanted = embeddings
            if self.metric == "accuracy":
                scores = objective.logits(features, embeddings)
                assert scores is not None
                wanted = scores
            found.append(wanted.float())
        network.train()
        array = torch.cat(found).cpu().numpy() if found else None
        whole = array
        if array is not None and self.shared_by.size > 1:
            whole = np.empty((len(images), array.shape[1]), dtype=array.dtype)
            whole[mine] = array
        self.shared_by.merge(whole, parts)
        return whole

    def _value(self, array: np.ndarray, *, normalize: bool) -> float:
        return value_of(
            self.experiment,
            array,
            self.items.split("validation"),
            self.items.classes,
            normalize=normalize,
        )


def value_of(
    experiment: Experiment,
    array: np.ndarray,
    frame: pd.DataFrame,
    classes: list[str],
    *,
    normalize: bool,
) -> float:
    """Return the validation metric of an experiment on held-out items, by the table's rules.

    Args:
        experiment: says which metric, and by which distance.
        array: (N, D) embeddings, or (N, C) class scores where the metric is the accuracy.
        frame: the items' rows of the item table; the frames of a clip are averaged.
        classes: the labels that the columns of class scores stand for.
        normalize: whether the network scales its embeddings to length 1.

    Raises:
        ValueError: a number is not finite.
    """
    metric = experiment.validation_metric
    accuracy = metric == "accuracy"
    array, _, frame = average_groups(array, None, frame, normalize=normalize and not accuracy)
    labels = frame["label"]
    if accuracy:
        targets = pd.Index(classes).get_indexer(pd.Index(labels))
        return classification_metrics(array, targets)["accuracy"]
    distance = experiment.evaluation.distance
    average = "class" if experiment.evaluation.class_average else "query"
    sets = ruled(array, frame, experiment.evaluation)
    with on_device(resolve_device(experiment.train.device)):
        return retrieval_metrics(**sets, ks=(1,), average=average, distance=distance)[metric]


def _weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.cpu().clone() for name, tensor in module.state_dict().items()}
