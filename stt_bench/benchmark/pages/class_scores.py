"""Scores by class, of the records alone: where a row gains over Softmax, and where it loses."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.outcome import main_metric
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.wording import metric_name
from stt_bench.benchmark.pages.section import Section, rendered
from stt_bench.benchmark.store.records import Record

_OPEN = 12  # classes at either end that stand open where there are more
_MOST = 1000  # classes that a page lists


@dataclass(frozen=True)
class ClassLine:
    """A class: how many queries or items it has, the score of each shown row, and the gain."""

    name: str
    items: int
    scores: list[float | None]
    gain: float | None


def class_section(board: Leaderboard, shown: Sequence[Row]) -> Section:
    """Return the scores by class of some rows; the gain is that of the first over Softmax."""
    metric = main_metric(board)
    lines = class_lines(board, shown, metric)
    softmax = _softmax(shown)
    many = len(lines) > 2 * _OPEN + 1
    parts = {
        "open": [*lines[:_OPEN], *lines[-_OPEN:]] if many else lines,
        "rest": lines[_OPEN:-_OPEN][: _MOST - 2 * _OPEN] if many else [],
    }
    gains = [line.gain for line in lines if line.gain is not None]
    html = rendered(
        "class_scores.html",
        labels=[row.label for row in shown],
        first=shown[0].label if shown else "",
        softmax=softmax.label if softmax else None,
        metric=metric_name(metric),
        unit="images" if metric == "accuracy" else "queries",
        count=len(lines),
        above=sum(gain > 0 for gain in gains),
        below=sum(gain < 0 for gain in gains),
        largest=max(map(abs, gains), default=0.0) or 1.0,
        fold_after=_OPEN if many else None,
        **parts,
    )
    return Section("classes", "Scores by class", html)


def class_lines(board: Leaderboard, shown: Sequence[Row], metric: str) -> list[ClassLine]:
    """Return a line for each class that all records of the first row tell, the largest gain first.

    A score is the mean over the row's seeds, between 0 and 1. Without Softmax the lines are in the
    order of the first row's scores.
    """
    by_row = [mean_by_class(board.records, row, metric) for row in shown]
    if not by_row or not by_row[0]:
        return []
    softmax = _softmax(shown)
    base = None if softmax is None else by_row[list(shown).index(softmax)]
    found = []
    for name, (items, score) in by_row[0].items():
        scores = [values[name][1] if name in values else None for values in by_row]
        gain = score - base[name][1] if base is not None and name in base else None
        found.append(ClassLine(name, items, scores, gain))
    return sorted(found, key=lambda line: _descending(line, base is not None))


def _softmax(shown: Sequence[Row]) -> Row | None:
    return next((row for row in shown[1:] if row.experiment.is_softmax), None)


def _descending(line: ClassLine, by_gain: bool) -> tuple[float, str]:
    value = line.gain if by_gain else line.scores[0]
    return (-value if value is not None else float("inf"), line.name)


def mean_by_class(records: Sequence[Record], row: Row, metric: str) -> dict[str, tuple[int, float]]:
    """Return of each class the number of its queries or items, and the mean score over the seeds.

    A class that some seed does not tell of is left out.
    """
    each = [_by_class(one, metric) for one in records if one.row == row.name]
    common = set.intersection(*map(set, each)) if each else set()
    return {
        name: (items, statistics.fmean(values[name][1] for values in each))
        for name, (items, _) in (each[0] if each else {}).items()
        if name in common
    }


def _by_class(record: Record, metric: str) -> dict[str, tuple[int, float]]:
    """Return the items and the score of each class of one record."""
    if metric == "accuracy":
        scores = record.per_class
        if scores is None:
            return {}
        triples = zip(scores.labels, scores.items, scores.recall, strict=True)
        return {name: (items, recall) for name, items, recall in triples if recall is not None}
    held = record.class_values
    if held is None or metric not in held.metrics:
        return {}
    sums = held.metrics[metric].sums
    names = (one if isinstance(one, str) else f"group {one + 1} of classes" for one in held.groups)
    return {
        name: (count, total / count)
        for name, count, total in zip(names, held.counts, sums, strict=True)
    }
