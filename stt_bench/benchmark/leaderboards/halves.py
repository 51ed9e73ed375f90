"""A table with a long tail: the frequent and the rare half of the classes apart."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.scores import Score
from stt_bench.benchmark.leaderboards.wording import metric_name, percent, points
from stt_bench.benchmark.statistics.verdicts import Verdict, verdicts
from stt_bench.benchmark.store.records import Record
from stt_bench.benchmark.system.text import escape_markdown, table_line

HALVES = ("frequent", "rare")


class _Cell(NamedTuple):
    row: str
    metric: str
    half: str


def halves(board: Leaderboard) -> list[str]:
    """Return a section on the two halves, as Markdown; none where no row has a long tail.

    The training classes get rarer in label order, so the first half of them is the frequent one
    (with the class in the middle). A score is the mean over the classes of a half, each counted
    once: of the recalls for accuracy, of the means over a class's queries for MAP@R. It is compared
    with that of the row that is the best Softmax over all classes.
    """
    values: dict[_Cell, dict[int, np.ndarray]] = {}  # by seed
    for record in board.records:
        if record.experiment.data.long_tail is not None:
            for metric in board.leads:
                for half, found in _by_half(record, metric).items():
                    values.setdefault(_Cell(record.row, metric, half), {})[record.seed] = found
    rows = [r for r in board.rows if any(cell.row == r.name for cell in values)]
    if not rows:
        return []
    metrics = [m for m in board.leads if any(cell.metric == m for cell in values)]
    judged = _judged(board, rows, values)
    header = ["Row"]
    for metric in metrics:
        for half in HALVES:
            name = f"{metric_name(metric)}, {half}"
            header += [name, f"{name} − best Softmax"]
    lines = [table_line(header), table_line(["---"] + ["---:"] * (len(header) - 1))]
    for row in rows:
        cells = [escape_markdown(row.label) + board.marks(row)]
        for metric in metrics:
            for half in HALVES:
                cell = _Cell(row.name, metric, half)
                of_seeds = [float(one.mean()) for one in values.get(cell, {}).values()]
                cells.append(percent(Score.of(of_seeds)) if of_seeds else "–")
                cells.append(points(judged[cell]) if cell in judged else "–")
        lines.append(table_line(cells))
    return [
        "## Frequent and rare classes",
        "",
        *lines,
        "",
        "The training classes, most frequent first, cut in the middle; the mean over the classes "
        "of a half. The differences are to the row that is the best Softmax over all classes, "
        f"marked as above; the {len(judged)} comparisons of this table are a family of their own.",
    ]


def _by_half(record: Record, metric: str) -> dict[str, np.ndarray]:
    """Return the class values of each half; none where the record has none of single classes."""
    scores, held = record.per_class, record.class_values
    if scores is None:
        return {}
    by_class: dict[str, float | None] = {}
    if metric == "accuracy":
        by_class = dict(zip(scores.labels, scores.recall, strict=True))
    elif held is not None and metric in held.metrics:
        sums = held.metrics[metric].sums
        by_class = {
            str(group): total / count
            for group, total, count in zip(held.groups, sums, held.counts, strict=True)
        }
    if not set(scores.labels) & by_class.keys():
        return {}
    middle = (len(scores.labels) + 1) // 2
    found = {}
    for half, labels in zip(HALVES, (scores.labels[:middle], scores.labels[middle:]), strict=True):
        there = [value for label in labels if (value := by_class.get(label)) is not None]
        found[half] = np.array(there, dtype=float)
    return found if all(map(len, found.values())) else {}


def _judged(
    board: Leaderboard, rows: list[Row], values: dict[_Cell, dict[int, np.ndarray]]
) -> dict[_Cell, Verdict]:
    """Return the verdicts on a row's halves against the best Softmax row, adjusted over all.

    All Softmax rows count, since any of them might have been the best.
    """
    differences: dict[tuple[_Cell, str], np.ndarray] = {}
    best: dict[_Cell, str] = {}
    for row in rows:
        if row.inactive or not row.has_all_seeds:
            continue
        for cell in (cell for cell in values if cell.row == row.name):
            other = board.best_softmax(row, cell.metric)
            if other is None or other is row or not other.has_all_seeds:
                continue
            best[cell] = other.name
            # Each might have come out best, so each counts in the correction.
            for softmax in board.softmax_rows(row, cell.metric):
                theirs = values.get(cell._replace(row=softmax.name), {})
                both = sorted(values[cell].keys() & theirs.keys())
                sizes = {len(of[seed]) for of in (values[cell], theirs) for seed in both}
                if softmax is not row and softmax.has_all_seeds and len(sizes) == 1:
                    by_seed = np.stack([values[cell][seed] - theirs[seed] for seed in both])
                    drawn = board.measured.by_draw(row.name, both, by_seed)
                    differences[cell, softmax.name] = drawn
    found = verdicts(
        [d.mean(axis=1) for d in differences.values()],
        # Classes of retrieval are each other's gallery, so their means say too much of new ones.
        [d if cell.metric == "accuracy" else None for (cell, _), d in differences.items()],
        pools=[(cell.metric, cell.half) for cell, _ in differences],
    )
    return {
        cell: replace(verdict, withheld=not {cell.row, softmax} <= board.whole)
        for (cell, softmax), verdict in zip(differences, found, strict=True)
        if softmax == best[cell]
    }
