"""What tells two results apart: every field that differs, in groups by what it can explain."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stt_bench.benchmark.store.records import Record
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.machine import same_code
from stt_bench.benchmark.verification.fields import Difference, differences, is_count

_FOLLOWS = "follows from the above"
GROUPS: dict[str, tuple[str, ...]] = {
    "settings": ("experiment", "seed", "tuning"),
    "identity": ("table", "row", "display", "config_digest", "protocol_fingerprint"),
    "metrics": ("metrics", "other_distance", "class_values", "per_class"),
    "data": ("data_hash", "near_duplicates"),
    "starting weights": ("protocol.weights",),
    "code": ("commit", "probe", "versions", "evaluated_with", "schema_version"),
    "machine": ("training.device", "training.threads"),
    "trained network": ("checkpoint_sha256", "embeddings_sha256"),
    "course of the training": ("training",),
    "counts of the work": ("effort",),
    _FOLLOWS: ("protocol", "checksum"),
    "other": ("",),
}
"""Of a field the first group with the field, or one above it, is its own."""

KINDS = ("a record", "a row", "a table", "a folder of results")
"""By how many names tell the records in it apart."""

_DETAILS = ("metrics", "trained network", "course of the training", "counts of the work", _FOLLOWS)
"""The groups that differ seed by seed, of which a row or a table tells the means alone."""

_DETAIL_FIELDS = ("probe.", "tuning.point", "tuning.steps", "tuning.index", "tuning.objective")
"""Such fields in other groups; the point and length of a winner stand in its experiment too."""

_LEADS = ("map@r", "accuracy")
"""What is told of each row of a table; the rest with `--all`."""

EXPLAINING = ("settings", "data", "starting weights", "code", "machine")
"""The groups that can explain a difference between metrics."""


@dataclass(frozen=True)
class Told:
    """A difference, and in which of the compared records it is: all where `places` is empty."""

    difference: Difference
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mean:
    """The means of a metric in points, over the pairs of records that both have it."""

    first: float
    second: float
    pairs: int


@dataclass(frozen=True)
class Comparison:
    """All that tells two records, rows or results apart."""

    kind: str  # one of KINDS
    compared: list[str]  # the pairs of records by name
    groups: dict[str, list[Told]]
    means: dict[str, Mean]  # of each metric that differs
    rows: dict[str, dict[str, Mean]]  # the same of each row, of tables and folders of results
    only_first: list[str]
    only_second: list[str]

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing differs."""
        return not (self.groups or self.only_first or self.only_second)

    def lines(self, *, whole: bool = False) -> Iterator[str]:
        """Yield the differences as they are printed.

        Of rows, tables and folders what every seed has of its own is only named, but where they
        are wanted as a `whole`; of two records all is told.
        """
        if self.is_empty:
            yield "no difference"
            return
        for side, names in (("first", self.only_first), ("second", self.only_second)):
            if names:
                yield f"only in the {side}: {', '.join(names)}"
        whole, left_out = whole or self.kind == KINDS[0], Counter[str]()
        for group, found in self.groups.items():
            if group == "metrics":
                yield from self._mean_lines()
                yield from self._row_lines(whole=whole)
            shown = [told for told in found if whole or not _is_detail(group, told)]
            for told in found:
                if told not in shown:
                    left_out[told.difference.field.partition(".")[0]] += 1
            if shown:
                yield f"{group}:"
            for told in shown:
                where = f"  [{', '.join(self._short(told.places))}]" if told.places else ""
                yield f"  {told.difference.text()}{where}"
        if "metrics" in self.groups:
            reasons = [group for group in EXPLAINING if group in self.groups]
            yield (
                f"the metrics may differ because of: {', '.join(reasons)}"
                if reasons
                else "nothing that is recorded explains the other metrics"
            )
        if left_out:
            yield f"differs too, seed by seed (--all): {', '.join(left_out)}"

    def _mean_lines(self) -> Iterator[str]:
        if self.kind == KINDS[0] or not self.means:
            return
        yield f"means over {len(self.compared)} pair(s) of records, in points:"
        for metric, mean in self.means.items():
            of_them = "" if mean.pairs == len(self.compared) else f" (of {mean.pairs} pairs)"
            change = f"{mean.second - mean.first:+.2f}"
            yield f"  {metric}: {mean.first:.2f} → {mean.second:.2f} ({change}){of_them}"

    def _row_lines(self, *, whole: bool) -> Iterator[str]:
        """Yield a line for each row that differs: what leads, or every metric as a `whole`."""
        if self.rows:
            yield "means row by row, in points:"
        for row, means in self.rows.items():
            shown = means if whole else {name: means[name] for name in _LEADS if name in means}
            told = [
                f"{metric} {mean.first:.2f} → {mean.second:.2f} ({mean.second - mean.first:+.2f})"
                for metric, mean in (shown or means).items()
            ]
            yield f"  {row}: {', '.join(told)}"

    def _short(self, places: Sequence[str]) -> list[str]:
        """Return places with one name for all records of a row, where all are among them."""
        short = dict[str, None]()
        for place in places:
            head = place.rpartition("/")[0]
            own = [one for one in self.compared if one.rpartition("/")[0] == head]
            short[head if head and set(own) <= set(places) else place] = None
        return list(short)

    def content(self) -> dict[str, Any]:
        """Return the same as what JSON can hold."""
        return {
            "compared": len(self.compared),
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
            "mean_points": _points(self.means),
            "row_points": {row: _points(means) for row, means in self.rows.items()},
        }


def _points(means: Mapping[str, Mean]) -> dict[str, float]:
    return {name: mean.second - mean.first for name, mean in means.items()}


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
    by_row: dict[str, list[tuple[Record, Record]]] = {}
    if kinds[0] in KINDS[2:]:
        for key in shared:
            by_row.setdefault("/".join(key[:-1]), []).append((first[key], second[key]))
    of_rows = {row: _means(records) for row, records in by_row.items()}
    return Comparison(
        kind=kinds[0],
        compared=["/".join(key) for key in shared],
        groups={name: groups[name] for name in GROUPS if groups.get(name)},
        means=_means([(first[key], second[key]) for key in shared]),
        rows={row: means for row, means in of_rows.items() if means},
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
        return "identity"
    return group_of(difference.field)


def _is_detail(group: str, told: Told) -> bool:
    return group in _DETAILS or told.difference.field.startswith(_DETAIL_FIELDS)


def _tree(record: Record) -> dict[str, Any]:
    return record.model_dump(mode="json")


def _means(pairs: Sequence[tuple[Record, Record]]) -> dict[str, Mean]:
    """Return the means of each metric that is no count and differs in a pair."""
    by_metric: dict[str, list[tuple[float, float]]] = {}
    for one, other in pairs:
        for metric in one.metrics:
            if metric in other.metrics and not is_count(metric):
                values = (100 * one.metrics[metric], 100 * other.metrics[metric])
                by_metric.setdefault(metric, []).append(values)
    return {
        metric: Mean(
            statistics.fmean(a for a, _ in values),
            statistics.fmean(b for _, b in values),
            len(values),
        )
        for metric, values in by_metric.items()
        if any(a != b for a, b in values)
    }
