"""Figures of a leaderboard; the same records give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from stt_bench.benchmark.config.table_sections import FigureConfig
from stt_bench.benchmark.config.vary import plain_number, said_of
from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.short_table import against_softmax, in_order, short_metrics
from stt_bench.benchmark.leaderboards.wording import metric_name
from stt_bench.benchmark.system.png import add_legend, drawn_figure, label

_SOFTMAX, _OTHER = "#c0504d", "#1f4e79"
_COLOURS = 10  # of matplotlib's cycle
_AXES = {"optimizer.lr": "learning rate", "loss_weight": "weight of the loss beside Softmax"}
_TICKS = 5
_SHAPES = {"▲": "^", "△": "^", "▼": "v", "▽": "v"}


def draw_leaderboard(board: Leaderboard, path: Path) -> None:
    """Draw the short table: scores as dots with their spread, and the differences to Softmax.

    A difference has its 95 % interval; the shape of its point is its mark: a filled triangle for
    ▲ or ▼, an open one for △ or ▽, a dot for ≈.
    """
    metrics = short_metrics(board)
    rows = in_order(board)[::-1]
    compared = any(against_softmax(board, row) is not None for row in rows)
    labels = [label(row.label) for row in rows]
    beside = max(2.0, 0.07 * max(map(len, labels)))  # inches
    panels = len(metrics) + compared
    size = (3.2 * panels + beside, 0.32 * len(rows) + 1.1)
    with drawn_figure(path, *size, layout="tight") as figure:
        axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
        for axis, metric in zip(axes, metrics, strict=False):
            _draw_dots(axis, board, rows, metric)
        if compared:
            _draw_differences(axes[-1], board, rows, metric_name(metrics[0]))
        for axis in axes:
            axis.set_yticks(range(len(rows)), labels, fontsize=9, parse_math=False)
            _tidy(axis)


def _draw_dots(axis: Axes, board: Leaderboard, rows: Sequence[Row], metric: str) -> None:
    softmax = [r for r in rows if r.is_baseline and metric in r.scores]
    ranked_softmax = [r for r in softmax if board.is_ranked(r, metric)]
    best = max(ranked_softmax, key=lambda r: r.scores[metric].mean).name if ranked_softmax else None
    for place, row in enumerate(rows):
        score = row.scores.get(metric)
        if score is None:
            continue
        colour = _SOFTMAX if row.is_baseline else _OTHER
        ranked = board.is_ranked(row, metric)
        axis.errorbar(
            100 * score.mean,
            place,
            xerr=100 * (score.std or 0.0),
            fmt="o",
            color=colour,
            markerfacecolor=colour if ranked else "white",
            capsize=3,
        )
        if row.name == best:
            axis.axvline(100 * score.mean, color=colour, linewidth=0.8, linestyle=":")
    axis.set_title(f"{metric_name(metric)}, %", fontsize=10)


def _draw_differences(axis: Axes, board: Leaderboard, rows: Sequence[Row], name: str) -> None:
    axis.axvline(0.0, color=_SOFTMAX, linewidth=0.8)
    for place, row in enumerate(rows):
        verdict = against_softmax(board, row)
        if verdict is None:
            continue
        told = verdict.mark in _SHAPES
        colour = _OTHER if told else "0.6"
        axis.errorbar(
            100 * verdict.mean,
            place,
            xerr=100 * (verdict.half_width or 0.0),
            fmt=_SHAPES.get(verdict.mark, "o"),
            color=colour,
            markerfacecolor="white" if verdict.mark in ("△", "▽") else colour,
            capsize=3,
        )
    axis.set_title(f"{name} − best Softmax, points", fontsize=10)


def _tidy(axis: Axes) -> None:
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="x", color="0.9")
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def draw_curves(board: Leaderboard, config: FigureConfig, path: Path) -> None:
    """Draw MAP@R (and accuracy) over a numeric field: mean and spread over seeds.

    A curve for each value of `lines`, or with ``row`` for each row that `vary` made several of, and
    a panel for each value of `panels`; the horizontal axis is logarithmic where all its values are
    above 0.
    """
    rows = drawn_rows(board, config)
    metrics = [m for m in board.leads if any(m in row.scores for row in rows)]
    panels = list(dict.fromkeys(_panel(row, config) for row in rows))
    lines = list(dict.fromkeys(_line(row, config) for row in rows))
    height = max(2.6 * len(metrics) + 0.4, 0.19 * len(lines) + 0.4)  # the legend's, if it is longer
    beside = 0.9 + 0.065 * min(40, max(map(len, lines)))
    with drawn_figure(path, 3.0 * len(panels) + beside, height) as figure:
        grid = figure.subplots(len(metrics), len(panels), sharex=True, sharey="row", squeeze=False)
        entries: dict[str, Any] = {}
        for metric, axes in zip(metrics, grid, strict=True):
            for panel, axis in zip(panels, axes, strict=True):
                inside = [r for r in rows if _panel(r, config) == panel and metric in r.scores]
                for number, line in enumerate(lines):
                    drawn = [r for r in inside if _line(r, config) == line]
                    if drawn:
                        curve = _draw_curve(axis, drawn, config.x, metric, number)
                        entries.setdefault(line, curve)
                _scale(axis, [row.experiment.value_of(config.x) for row in rows])
                axis.set_title(label(panel, 40), fontsize=10, parse_math=False)
                named = _AXES.get(config.x, config.x)
                axis.set_xlabel(named if metric == metrics[-1] else "", parse_math=False)
                axis.grid(color="0.9")
            axes[0].set_ylabel(f"{metric_name(metric)}, %")
        shown = [(entries[line], line) for line in entries]
        add_legend(figure, shown, loc="outside right upper", fontsize=8)


def _draw_curve(axis: Axes, rows: list[Row], x: str, metric: str, number: int) -> Any:
    rows = sorted(rows, key=lambda row: row.experiment.value_of(x))
    scores = [row.scores[metric] for row in rows]
    return axis.errorbar(
        [row.experiment.value_of(x) for row in rows],
        [100 * score.mean for score in scores],
        yerr=[100 * (score.std or 0.0) for score in scores],
        marker="os^Dvx*P"[number % 8],
        color=f"C{number}",
        linestyle="-" if number < _COLOURS else "--",
        capsize=3,
    )


def _scale(axis: Axes, values: Sequence[float]) -> None:
    """Make the horizontal axis logarithmic where all its values allow it; few have a tick each."""
    if min(values) > 0:
        axis.set_xscale("log")
    if len(places := sorted(set(values))) <= _TICKS:
        axis.set_xticks(places, [plain_number(place) for place in places], fontsize=8)
        axis.minorticks_off()


def drawn_rows(board: Leaderboard, config: FigureConfig) -> list[Row]:
    """Return the trained rows that have the figure's fields, or those of them that it names.

    Rows of an older config may lack a field; an untrained one has no learning rate or batch.
    """
    rows = []
    for row in board.rows:
        if config.rows is None or row.name in config.rows:
            if not row.is_trained:
                continue
            with suppress(KeyError, TypeError):
                x = row.experiment.value_of(config.x)
                for field in config.fields:
                    row.experiment.value_of(field)
                if isinstance(x, int | float) and not isinstance(x, bool):
                    rows.append(row)
    return rows


def _line(row: Row, config: FigureConfig) -> str:
    if config.lines != "row":
        return str(row.experiment.value_of(config.lines))
    value = row.experiment.value_of(config.x)
    return str(row.label).removesuffix(said_of(config.x, value))


def _panel(row: Row, config: FigureConfig) -> str:
    if config.panels is None:
        return ""
    if config.panels.partition(".")[0] == "sampler":
        return f"sampler {row.experiment.sampler.text}"
    return f"{config.panels} {row.experiment.value_of(config.panels)}"
