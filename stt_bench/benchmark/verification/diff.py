"""What tells two results apart: every field that differs, in groups by what it can explain."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stt_bench.benchmark.store.records import Record
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.machine import same_code
from stt_bench.benchmark.verification.fields import Difference, differences

_FOLLOWS = "follows from the above"
GROUPS: dict[str, tuple[str, ...]] = {
    "settings": ("experiment", "seed", "tuning"),
    "data": ("data_hash", "near_duplicates"),
    "starting weights": ("protocol.weights",),
    "code": ("commit", "probe", "versions", "evaluated_with", "schema_version"),
    "machine": ("training.device", "training.threads"),
    "trained network": ("checkpoint_sha256", "embeddings_sha256"),
    "metrics": ("metrics", "other_distance", "class_values", "per_class"),
    "course of the training": ("training",),
    "counts of the work": ("effort",),
    "names and texts": ("table", "row", "display"),
    _FOLLOWS: (
        "config_digest",
        "protocol",
        "protocol_fingerprint",
        "checksum",
    ),
    "other": ("",),
}
"""Of a field the first group with the field, or one above it, is its own."""

KINDS = ("a record", "a row", "a table", "a folder of results")
"""By how many names tell the records in it apart."""

EXPLAINING = ("settings", "data", "starting weights", "code", "machine")
"""The groups that can explain a difference between metrics."""


@dataclass(frozen=True)
class Told:
    """A difference, and in which of the compared records it is: all where `places` is empty."""

    difference: Difference
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """All that tells two records, rows or results apart."""

    compared: int  # pairs of records
    groups: dict[str, list[Told]]
    means: dict[str, tuple[float, int]]  # of each metric: mean difference in points, of so many
    only_first: list[str]
    only_second: list[str]

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing differs."""
        return not (self.groups or self.only_first or self.only_second)

    def lines(self) -> Iterator[str]:
        """Yield the differences as they are printed."""
        if self.is_empty:
            yield "no difference"
            return
        for side, names in (("first", self.only_first), ("second", self.only_second)):
            if names:
                yield f"only in the {side}: {', '.join(names)}"
        for group, found in self.groups.items():
            yield f"{group}:"
            for told in found:
                where = f"  [{', '.join(told.places)}]" if told.places else ""
                yield f"  {told.difference.text()}{where}"
        if self.compared > 1 and self.means:
            yield f"mean difference over {self.compared} pairs, second − first, in points:"
            for metric, (mean, count) in self.means.items():
                of_them = "" if count == self.compared else f" (of {count} pairs)"
                yield f"  {metric}: {mean:+.2f}{of_them}"
        if "metrics" in self.groups:
            reasons = [group for group in EXPLAINING if group in self.groups]
            yield (
                f"the metrics may differ because of: {', '.join(reasons)}"
                if reasons
                else "nothing that is recorded explains the other metrics"
            )

    def content(self) -> dict[str, Any]:
        """Return the same as what JSON can hold."""
        return {
            "compared": self.compared,
            "only_in_first": self.only_first,
            "only_in_second": self.only_second,
            "differences": {
                group: [
                    {
                        "field": told.difference.field,
                        "first": told.difference.first,
                        "second": told.difference.second,
                        "points": told.difference.points,
                        "records": list(told.places),
                    }
                    for told in found
                ]
                for group, found in self.groups.items()
            },
            "mean_points": {metric: mean for metric, (mean, _) in self.means.items()},
        }


Records = Mapping[tuple[str, ...], Record]


def compare(first: Records, second: Records) -> Comparison:
    """Compare the records that both have under one key; see `places.records_at`.

    Raises:
        BenchError: one is a record and the other a row, or the like.
    """
    kinds = [KINDS[len(next(iter(records)))] for records in (first, second)]
    if kinds[0] != kinds[1]:
        raise BenchError(f"{kinds[0]} and {kinds[1]} cannot be compared: name two of one kind")
    shared = [key for key in first if key in second]
    groups: dict[str, list[Told]] = {}
    pairs = [(key, _tree(first[key]), _tree(second[key])) for key in shared]
    found: dict[str, tuple[Difference, list[str]]] = {}
    for key, one, other in pairs:
        for difference in differences(one, other):
            found.setdefault(repr(difference), (difference, []))[1].append("/".join(key))
    order = {difference.field: place for place, (difference, _) in enumerate(found.values())}
    for difference, places in sorted(found.values(), key=lambda one: order[one[0].field]):
        told = Told(difference, () if len(places) == len(pairs) else tuple(places))
        groups.setdefault(_group(difference), []).append(told)
    if "settings" in groups:  # a probe is of the row's own loss: it then tells nothing of the code
        by_probe = {True: list[Told](), False: list[Told]()}
        for told in groups.pop("code", []):
            by_probe[told.difference.field.partition(".")[0] == "probe"].append(told)
        groups[_FOLLOWS] = by_probe[True] + groups.get(_FOLLOWS, [])
        groups["code"] = by_probe[False]
    return Comparison(
        compared=len(pairs),
        groups={name: groups[name] for name in GROUPS if groups.get(name)},
        means=_means([(first[key], second[key]) for key in shared]),
        only_first=["/".join(key) for key in first if key not in second],
        only_second=["/".join(key) for key in second if key not in first],
    )


def group_of(field: str) -> str:
    """Return the group that a dotted field belongs to."""
    for group, heads in GROUPS.items():
        if any(field == head or not head or field.startswith(f"{head}.") for head in heads):
            return group
    raise AssertionError("the last group takes all")


def _group(difference: Difference) -> str:
    """Return the group of a difference; two commits of the same code are names."""
    if difference.field == "commit" and same_code(difference.first, difference.second):
        return "names and texts"
    return group_of(difference.field)


def _tree(record: Record) -> dict[str, Any]:
    return record.model_dump(mode="json")


def _means(pairs: Sequence[tuple[Record, Record]]) -> dict[str, tuple[float, int]]:
    """Return the mean difference of each metric that is no count, and of how many pairs."""
    by_metric: dict[str, list[float]] = {}
    for one, other in pairs:
        for metric in one.metrics:
            value = other.metrics.get(metric)
            points = Difference(f"metrics.{metric}", one.metrics[metric], value).points
            if points is not None:
                by_metric.setdefault(metric, []).append(points)
    return {
        metric: (statistics.fmean(values), len(values))
        for metric, values in by_metric.items()
        if any(values)
    }
