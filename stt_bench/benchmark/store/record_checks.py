"""What a record claims, held against what follows from the rest of it: no number is believed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from stt_bench.benchmark.store.class_records import ClassScores
from stt_bench.benchmark.store.distances import is_retrieval
from stt_bench.benchmark.store.protocol import COLUMNS, SAMPLES, fingerprint, protocol_of

if TYPE_CHECKING:
    from stt_bench.benchmark.store.class_records import ClassRetrieval, ClassShare
    from stt_bench.benchmark.store.records import Record

COUNTS = (
    "queries", "queries_without_positive", "sampled_from", "clusters", "positive_pairs",
    "negative_pairs",
)  # fmt: skip
_LOWEST = {"ami": -1.0}  # every other metric that is no count lies between 0 and 1
_ROUNDING = 1e-9
_OF_VALUES = 1e-6  # what rounding the leave-class-out values may do to their mean
_AT_MOST = (("map@r", "r_precision"), ("recall@1", "mrr"), ("accuracy", "top5_accuracy"))
_RECALL = re.compile(r"recall@[1-9][0-9]{0,9}")
_OF_K = re.compile(r"(recall|precision|map|ndcg)@([1-9][0-9]{0,9})")
_NAMES = {"recall": "Recall", "precision": "Precision", "map": "MAP", "ndcg": "nDCG"}
_SHA256 = re.compile(r"[0-9a-f]{64}")


def faults(record: Record) -> Iterator[str]:
    """Yield what is wrong in a record: the field, and why it cannot be."""
    yield from _metric_faults(record.metrics)
    if record.near_duplicates is not None and record.near_duplicates.metrics_without is not None:
        yield from _metric_faults(
            record.near_duplicates.metrics_without, "near_duplicates.metrics_without"
        )
    yield from _other_faults(record)
    yield from _class_faults(record)
    yield from _class_score_faults(record)
    yield from _identity_faults(record)
    yield from _display_faults(record)


def _metric_faults(metrics: Mapping[str, float], where: str = "metrics") -> Iterator[str]:
    if "queries" not in metrics:
        yield f"{where}: 'queries' is missing"
    yield from _value_faults(metrics, where)


def _value_faults(metrics: Mapping[str, float], where: str) -> Iterator[str]:
    for name, value in metrics.items():
        field = f"{where}.{name}"
        start = name.partition("@")[0]
        if start in _NAMES and name not in ("map", "map@r") and not _OF_K.fullmatch(name):
            yield f"{field}: the K of {_NAMES[start]}@K is an integer from 1"
        if not math.isfinite(value):
            yield f"{field} is {value}, not a finite number"
        elif name in COUNTS:
            if value < 0 or not value.is_integer():
                yield f"{field} is {value:g}: a count is an integer from 0"
        else:
            lowest = _LOWEST.get(name, 0.0)
            if not lowest - _ROUNDING <= value <= 1 + _ROUNDING:
                yield f"{field} is {value:g}: it lies between {lowest:g} and 1"
    recalls = sorted(int(name[len("recall@") :]) for name in metrics if _RECALL.fullmatch(name))
    of_more = [(f"recall@{k}", f"recall@{more}") for k, more in pairwise(recalls)]
    for less, more in (*_AT_MOST, *of_more):
        if less in metrics and more in metrics and metrics[less] > metrics[more] + _ROUNDING:
            yield (
                f"{where}.{less} is {metrics[less]:g}, {where}.{more} {metrics[more]:g}: "
                f"{less} cannot be the higher one"
            )


def _other_faults(record: Record) -> Iterator[str]:
    """Yield what is wrong under the distance that does not rank."""
    other, own = record.other_distance, record.class_values
    if other is None:
        return
    if other.distance == record.experiment.evaluation.distance:
        yield f"other_distance.distance is {other.distance}, by which the metrics are measured"
    if other.metrics.keys() != set(filter(is_retrieval, record.metrics)):
        yield "other_distance.metrics are not the retrieval metrics of the record"
    yield from _value_faults(other.metrics, "other_distance.metrics")
    if other.class_values is None:
        return
    if own is None or other.class_values.keys() != own.metrics.keys():
        yield "other_distance.class_values are of other metrics than class_values"
        return
    for metric, share in other.class_values.items():
        if not len(share.sums) == len(share.values) == len(own.counts):
            yield f"other_distance.class_values.{metric}: not as many classes as class_values has"
        elif not _gives(*_mean(share, own.counts, record), other.metrics.get(metric)):
            yield f"other_distance.class_values.{metric} do not give the {metric} beside them"
        else:
            yield from _share_faults(share, own, f"other_distance.class_values.{metric}")


def _class_faults(record: Record) -> Iterator[str]:
    held = record.class_values
    if held is None:
        return
    for metric, share in held.metrics.items():
        if not _gives(*_mean(share, held.counts, record), record.metrics.get(metric)):
            yield f"class_values.metrics.{metric} do not give the {metric} beside them"
        else:
            yield from _share_faults(share, held, f"class_values.metrics.{metric}")
    queries, counted = record.metrics.get("queries", 0.0), sum(held.counts)
    if queries != counted:
        yield f"metrics.queries is {queries:g}, the counts of class_values give {counted}"


def _share_faults(share: ClassShare, held: ClassRetrieval, where: str) -> Iterator[str]:
    """Yield where sums exceed their counts, or leave-class-out values average to another metric.

    The mean over more than 1,000 classes does not follow from the groups they are put into.
    """
    pairs = list(zip(share.sums, held.counts, strict=True))
    if not all(-_ROUNDING <= total <= count + _ROUNDING for total, count in pairs):
        yield f"{where}.sums: one is below 0 or above the number of its queries"
    if held.weighting == "query":
        expected = sum(share.sums) / sum(held.counts)
    elif all(isinstance(group, str) for group in held.groups):
        expected = sum(total / count for total, count in pairs) / len(pairs)
    else:
        return
    if not math.isclose(sum(share.values) / len(pairs), expected, abs_tol=_OF_VALUES):
        yield f"{where}.values do not average to what the sums beside them give"


def _class_score_faults(record: Record) -> Iterator[str]:
    held = record.per_class
    if held is None:
        return
    counts = held.confusion_matrix()
    again = ClassScores.of(held.labels, counts)
    if again.items != held.items:
        yield "per_class.items are not those of per_class.confusion"
    pairs = zip(again.recall, held.recall, strict=True)
    if not all(
        one is told if one is None or told is None else math.isclose(one, told, abs_tol=_ROUNDING)
        for one, told in pairs
    ):
        yield "per_class.recall is not that of per_class.confusion"
    recalls = [recall for recall in again.recall if recall is not None]
    given = {
        "accuracy": counts.trace() / max(1.0, counts.sum()),
        "macro_accuracy": sum(recalls) / max(1, len(recalls)),
    }
    for metric, value in given.items():
        if not _gives(value, _ROUNDING, record.metrics.get(metric)):
            yield f"per_class does not give the {metric} beside it"


def _mean(share: ClassShare, counts: Sequence[int], record: Record) -> tuple[float, float]:
    """Return the metric that a share gives, and what rounding may do to it.

    Sums give the mean over queries; that over classes is the mean of the leave-class-out values.
    """
    if record.experiment.evaluation.class_average:
        return sum(share.values) / max(1, len(share.values)), _OF_VALUES
    return sum(share.sums) / sum(counts), _ROUNDING


def _gives(mean: float, tolerance: float, metric: float | None) -> bool:
    return metric is not None and math.isclose(mean, metric, abs_tol=tolerance)


def _identity_faults(record: Record) -> Iterator[str]:
    if record.config_digest != record.experiment.digest():
        yield "config_digest is not that of the experiment beside it"
    yield from _tuning_faults(record)
    own = record.protocol
    for key, kind in (("weights", str), ("embedding_dim", int)):
        if not isinstance(own.get(key), kind):
            yield f"protocol.{key} is missing or no {kind.__name__}"
            return
    expected = protocol_of(
        record.experiment,
        data_hash=record.data_hash,
        initial_weights=own["weights"],
        embedding_dim=own["embedding_dim"],
        weighted=SAMPLES in own,
    )
    measured = record.experiment.evaluation
    if measured.query_groups is not None or measured.junk is not None:
        if not _SHA256.fullmatch(str(own.get(COLUMNS))):
            yield f"protocol.{COLUMNS} is no sha256 of the columns that the rules read"
        expected[COLUMNS] = own.get(COLUMNS)
    model = record.experiment.model
    wanted = None if model.head == "none" else model.embedding_dim
    if wanted is not None and own["embedding_dim"] != wanted:
        yield f"protocol.embedding_dim is {own['embedding_dim']}, the experiment says {wanted}"
    for key in [*expected, *(key for key in own if key not in expected)]:
        if own.get(key) != expected.get(key):
            yield f"protocol.{key} is {own.get(key)!r}, the experiment says {expected.get(key)!r}"
    if record.protocol_fingerprint != fingerprint(own):
        yield "protocol_fingerprint is not that of the protocol beside it"


def _tuning_faults(record: Record) -> Iterator[str]:
    found = record.tuning
    if found is None:
        return
    if found.study != record.seed % found.studies:
        yield f"tuning.study is {found.study}, seed {record.seed} takes the winner of another"
    if not found.index < found.trials:
        yield f"tuning.index is {found.index}, of {found.trials} trials"
    if record.effort is not None and record.effort.trials != found.studies * found.trials:
        yield (
            f"effort.trials is {record.effort.trials}, tuning says {found.studies} × {found.trials}"
        )
    chosen = {**found.point, "train.steps": found.steps}
    for field, value in chosen.items():
        try:
            own = record.experiment.value_of(field)
        except (KeyError, TypeError):
            own = None
        if own != value:
            yield f"tuning: {field} was chosen as {value}, the experiment says {own}"
    if found.before.keys() != chosen.keys():
        yield "tuning.before does not name the fields of tuning.point and train.steps"
        return
    try:
        before = record.experiment.with_values(found.before)
    except (ValueError, KeyError, TypeError):
        yield "tuning.before does not fit the experiment"
        return
    if before.digest() != found.base_digest:
        yield "tuning.base_digest is not that of the experiment with the values of tuning.before"


def _display_faults(record: Record) -> Iterator[str]:
    figure = record.display.figure
    if figure is None or (figure.rows is not None and record.row not in figure.rows):
        return
    for part in ("x", "lines", "panels"):
        field = getattr(figure, part)
        if field not in (figure.x, *figure.fields):  # none, or the row itself
            continue
        value: Any = None
        try:
            value = record.experiment.value_of(field)
        except (KeyError, TypeError):
            yield f"display.figure.{part}: the experiment has no field '{field}'"
        if part == "x" and (isinstance(value, bool) or not isinstance(value, int | float)):
            yield f"display.figure.x: the field '{field}' is {value!r}, not a number"
