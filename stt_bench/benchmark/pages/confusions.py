"""Confusions: the items of which class are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stt_bench.benchmark.inspection.answers import Confusion
from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.pages.looked_at import LookedAt
from stt_bench.benchmark.pages.section import Section, rendered

PAIRS = 15
FEW = 30  # classes that a heat map shows
_LEVELS = 8


@dataclass(frozen=True)
class ConfusedPair:
    """A class that is taken for another: how often by each row, of how many items."""

    true: str
    found: str
    items: float
    counts: list[float]


@dataclass(frozen=True)
class HeatCell:
    """A cell of the heat map: a count, and its share of the row in `_LEVELS` steps."""

    count: float
    level: int


def confusions_of(
    board: Leaderboard, shown: Sequence[Row], looked: Sequence[LookedAt]
) -> tuple[list[tuple[str, Confusion]], bool]:
    """Return the confusions of rows by label, and whether a classifier made them.

    Where the records of the first row hold a classifier's confusions they are those, summed over
    the seeds; else they are of the nearest items of the runs that are there.
    """
    classified = [(row.label, found) for row in shown if (found := of_classifier(board, row))]
    if classified and shown and classified[0][0] == shown[0].label:
        return classified, True
    return [(one.row.label, one.confusion) for one in looked], False


def of_classifier(board: Leaderboard, row: Row) -> Confusion | None:
    """Return what the classifiers of a row's seeds took for what, or None where none is told."""
    held = [one.per_class for one in board.records if one.row == row.name]
    scores = [one for one in held if one is not None]
    if not scores or len({tuple(one.labels) for one in scores}) > 1:
        return None
    total = np.sum([one.confusion_matrix() for one in scores], axis=0)
    return Confusion.of(total, tuple(scores[0].labels))


def confusion_section(
    board: Leaderboard, shown: Sequence[Row], looked: Sequence[LookedAt], told: Sequence[str]
) -> Section:
    """Return the classes most often confused, and the heat map of the first row's."""
    found, by_classifier = confusions_of(board, shown, looked)
    first = found[0][1] if found else None
    html = rendered(
        "confusions.html",
        told=[] if by_classifier else list(told),
        by_classifier=by_classifier,
        labels=[label for label, _ in found],
        pairs=confused_pairs(found),
        heat=None if first is None or len(first.classes) > FEW else heat_map(first),
        classes=first.classes if first else (),
        items=int(first.counts.sum()) if first else 0,
    )
    return Section("confusions", "Confusions", html)


def confused_pairs(found: Sequence[tuple[str, Confusion]]) -> list[ConfusedPair]:
    """Return the pairs that the first row confuses most, with the counts of all rows."""
    if not found:
        return []
    return [
        ConfusedPair(true, other, items, [one.how_often(true, other) for _, one in found])
        for true, other, _, items in found[0][1].pairs(PAIRS)
    ]


def heat_map(confusion: Confusion) -> list[list[HeatCell]]:
    """Return the cells of all pairs of classes, true classes in rows.

    A cell's level is its share of the items of the true class: 0 where there are none, else 1 to 8.
    """
    matrix = confusion.matrix()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    levels = np.ceil(shares * _LEVELS).astype(int)
    return [
        [HeatCell(float(count), int(level)) for count, level in zip(*row, strict=True)]
        for row in zip(matrix, levels, strict=True)
    ]
