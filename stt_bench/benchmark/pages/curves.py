"""Learning and health curves of a table's rows, laid over each other."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.wording import metric_name
from stt_bench.benchmark.pages.section import Section, rendered
from stt_bench.benchmark.pages.svg import INK, inline_svg
from stt_bench.benchmark.store.runs import open_run
from stt_bench.benchmark.system.errors import BenchError

PANELS = {
    "loss": "Loss of the batch",
    "mean_norm": "Mean norm of the embeddings",
    "distance_within": "Mean distance within a class",
    "distance_between": "Mean distance between classes",
    "active": "Share of active terms",
}
_VALIDATION = "validation_"
_POINTS = 100  # of a curve, at most
_AT_FIRST = 6  # rows that are shown before anything is chosen
_COLOURS = 8
_DASHES = ("", "6 2", "2 2", "8 2 2 2", "1 3")
_LARGE_RATIO = 50  # of the largest to the least value, from which an axis is logarithmic
_CONSTANT = 1e-4  # of the values, below which their spread is not drawn


@dataclass(frozen=True)
class Seed:
    """What one run's log holds, by name: the steps and the values; and how its training ended."""

    seed: int
    curves: dict[str, list[tuple[int, float]]]
    ended: str


@dataclass(frozen=True)
class Line:
    """A row in the legend."""

    number: int
    label: str
    colour: str
    dashes: str
    at_first: bool
    ended: list[str]


def curves_section(board: Leaderboard, first: Sequence[Row], runs: Path) -> Section:
    """Return the curves of all rows whose runs are there; `first` are those shown at first."""
    order = {row.name: row for row in [*first, *board.rows]}.values()
    trained = [row for row in order if row.is_trained]
    found = [(row, seeds) for row in trained if (seeds := _read_seeds(board, row, runs))]
    lines = [
        Line(
            number,
            row.label,
            f"c{number % _COLOURS}",
            _DASHES[number // _COLOURS % len(_DASHES)],
            number < _AT_FIRST,
            [one.ended for one in seeds],
        )
        for number, (row, seeds) in enumerate(found)
    ]
    drawn = [(line, seeds) for line, (_, seeds) in zip(lines, found, strict=True)]
    html = rendered(
        "curves.html",
        lines=lines,
        missing=[row.label for row in trained if row not in [one for one, _ in found]],
        panels=[_panel(place, name, drawn) for place, name in enumerate(_panels(drawn))],
        several=any(len(seeds) > 1 for _, seeds in found),
    )
    return Section("curves", "Learning and health curves", html)


def read_log(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the (step, value) pairs of each quantity in a ``metrics.jsonl``, by step.

    Lines that are no entry of a training, and numbers that are not finite, are left out.
    """
    found: dict[str, dict[int, float]] = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for line in lines:
        try:
            entry: Any = json.loads(line)
            step = entry["step"]
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            continue
        for name, value in entry.items():
            usable = isinstance(value, int | float) and math.isfinite(value)
            if name != "step" and usable and isinstance(step, int):
                found.setdefault(name, {})[step] = float(value)
    return {name: sorted(points.items()) for name, points in found.items()}


def _read_seeds(board: Leaderboard, row: Row, runs: Path) -> list[Seed]:
    """Return the logs of a row's runs, as far as they are of the trainings in its records."""
    found = []
    for record in (one for one in board.sources if one.row == row.name):
        try:
            run = open_run(runs / board.table / row.name / f"seed-{record.seed}")
            if run.facts(with_weights=False).checkpoint_sha256 != record.checkpoint_sha256:
                continue
            curves = read_log(run.metrics)
        except (BenchError, OSError):
            continue
        told = [f"seed {record.seed}: {run.experiment.train.steps:,} steps"]
        if record.training.selected_step is not None:
            told.append(f"weights of step {record.training.selected_step:,}")
        if record.training.collapsed_at is not None:
            told.append(f"collapsed at step {record.training.collapsed_at:,}")
        found.append(Seed(record.seed, curves, ", ".join(told)))
    return found


def _panels(drawn: Sequence[tuple[Line, list[Seed]]]) -> list[str]:
    """Return the quantities that some row has, in their order: the loss, validation, the rest."""
    names = {name for _, seeds in drawn for one in seeds for name in one.curves}
    validated = sorted(name for name in names if name.startswith(_VALIDATION))
    first, *rest = PANELS
    return [name for name in (first, *validated, *rest) if name in names]


def _panel(place: int, name: str, drawn: Sequence[tuple[Line, list[Seed]]]) -> dict[str, Any]:
    scale = 1.0
    title = PANELS.get(name, "")
    if not title:
        title, scale = f"{metric_name(name.removeprefix(_VALIDATION))} on validation, %", 100.0
    told = [
        f"{line.label}: {scale * points[0][1]:.3g} at step {points[0][0]:,}, "
        f"{scale * points[-1][1]:.3g} at step {points[-1][0]:,}"
        for line, seeds in drawn
        if (points := seeds[0].curves.get(name))
    ]

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        values: list[float] = []
        for line, seeds in drawn:
            for rank, one in enumerate(seeds):
                if not (points := thinned(one.curves.get(name, []))):
                    continue
                steps, numbers = zip(*points, strict=True)
                values += numbers
                dashes = tuple(map(float, line.dashes.split()))
                axis.plot(
                    steps,
                    [scale * number for number in numbers],
                    color=INK[line.colour],
                    linestyle=(0, dashes) if dashes else "-",
                    linewidth=1.6 if rank == 0 else 0.7,
                    marker="o" if len(points) == 1 else "",
                    markersize=3,
                    gid=f"row-{line.number}",
                )
        if min(values) > 0 and max(values) / min(values) > _LARGE_RATIO:
            axis.set_yscale("log")
        elif max(values) - min(values) < _CONSTANT * max(map(abs, values)):
            middle = scale * values[0]  # unit length, but for the rounding
            axis.set_ylim(middle - abs(middle) / 2, middle + abs(middle) / 2)
        axis.set_xlabel("step")
        axis.grid(color=INK["grid"], linewidth=0.6)
        axis.set_axisbelow(True)

    picture: Markup = inline_svg(
        draw,
        4.4,
        2.7,
        title=f"{title} over the steps of training. " + "; ".join(told),
        rows={f"row-{line.number}": line.number for line, _ in drawn},
        prefix=f"v{place}",
    )
    return {"title": title, "picture": picture}


def thinned(points: Sequence[tuple[int, float]], most: int = _POINTS) -> list[tuple[int, float]]:
    """Return points of a curve, at most some: the first, the last, and others evenly between."""
    if len(points) <= most:
        return list(points)
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]
