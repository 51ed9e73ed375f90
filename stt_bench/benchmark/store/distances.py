"""Retrieval under both distances: what a record holds of the one that does not rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, Strict

from stt_bench.benchmark.store.class_records import ClassShare

if TYPE_CHECKING:
    from stt_bench.benchmark.store.records import Record

Distance = Literal["euclidean", "cosine"]
_RETRIEVAL = ("r_precision", "mrr", "map", "eer", "roc_auc")
_OF_K = ("recall@", "map@", "precision@", "ndcg@", "tar@")
_CLUSTERING = ("nmi", "nmi_std", "ami", "nmi_chance", "clusters")


class OtherDistance(BaseModel):
    """Retrieval under the distance that does not rank.

    `class_values` are of the same classes and metrics as the record's own.
    """

    model_config = ConfigDict(extra="forbid")

    distance: Distance
    metrics: dict[str, Annotated[FiniteFloat, Strict()]]
    class_values: dict[str, ClassShare] | None = None


def other_than(distance: Distance) -> Distance:
    """Return the other one of the two distances."""
    return "cosine" if distance == "euclidean" else "euclidean"


def is_retrieval(metric: str) -> bool:
    """Tell whether a metric is of ranked lists or pairs, so that both distances measure it.

    The standard error of one is, too.
    """
    metric = metric.removeprefix("standard_error_")
    return metric.startswith(_OF_K) or metric in _RETRIEVAL


def is_by_distance(metric: str) -> bool:
    """Tell whether a distance decides a metric: of ranked lists or of clusters."""
    return is_retrieval(metric) or metric in _CLUSTERING


def measured_by(record: Record, distance: Distance) -> Record:
    """Return a record as it stands under a distance: its own, or the one that does not rank.

    Under the latter there is no clustering, and no retrieval without near-duplicates; where the
    record knows nothing of it there is no retrieval.
    """
    if record.experiment.evaluation.distance == distance:
        return record
    metrics = _of_both(record.metrics)
    other, own, duplicates = record.other_distance, record.class_values, record.near_duplicates
    shares = None
    if other is not None:
        metrics |= other.metrics
        if own is not None and other.class_values is not None:
            shares = own.model_copy(update={"metrics": other.class_values})
    if duplicates is not None and duplicates.metrics_without is not None:
        without = _of_both(duplicates.metrics_without)
        duplicates = duplicates.model_copy(update={"metrics_without": without})
    changed = {"metrics": metrics, "class_values": shares, "near_duplicates": duplicates}
    return record.model_copy(update=changed)


def _of_both(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that no distance changes."""
    return {
        name: value
        for name, value in metrics.items()
        if name not in _CLUSTERING and not is_retrieval(name)
    }
