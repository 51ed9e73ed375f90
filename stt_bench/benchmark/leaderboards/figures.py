"""Figures of a leaderboard; the same records give the same bytes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stt_bench.benchmark.config.sections import FigureConfig
from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.wording import metric_name
from stt_bench.benchmark.system.png import save_figure


def draw_leaderboard(board: Leaderboard, path: Path) -> None:
    """Draw each row's Recall@1 and MAP@R (and accuracy), mean and spread over seeds, as dots."""
    metrics = [m for m in ("recall@1", "map@r", "accuracy") if m in board.metrics]
    rows = board.rows[::-1]
    figure = Figure(figsize=(3.2 * len(metrics) + 2.0, 0.32 * len(rows) + 1.1), layout="tight")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axis, metric in zip(axes, metrics, strict=True):
        for place, row in enumerate(rows):
            score = row.scores.get(metric)
            if score is None:
                continue
            colour = "#c0504d" if row.is_baseline else "#1f4e79"
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
            if row.is_baseline and ranked:
                axis.axvline(100 * score.mean, color=colour, linewidth=0.8, linestyle=":")
        axis.set_title(f"{metric_name(metric)}, %", fontsize=10)
        labels = [row.label.replace("$", r"\$") for row in rows]
        axis.set_yticks(range(len(rows)), labels, fontsize=9)
        axis.tick_params(axis="x", labelsize=8)
        axis.grid(axis="x", color="0.9")
        axis.set_axisbelow(True)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    save_figure(figure, path)


def draw_curves(board: Leaderboard, config: FigureConfig, path: Path) -> None:
    """Write the figure of `curves`."""
    save_figure(curves(board, config), path)


def curves(board: Leaderboard, config: FigureConfig) -> Figure:
    """Return MAP@R (and accuracy) over a numeric field: mean and spread over seeds.

    A curve for each value of `lines` and a panel for each value of `panels`; the horizontal axis is
    logarithmic where all its values are above 0.
    """
    rows = drawn_rows(board, config)
    metrics = [m for m in board.leads if any(m in row.scores for row in rows)]
    panels = list(dict.fromkeys(_panel(row, config) for row in rows))
    size = (3.0 * len(panels) + 2.2, 2.6 * len(metrics) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(metrics), len(panels), sharex=True, sharey="row", squeeze=False)
    lines = list(dict.fromkeys(str(row.experiment.value_of(config.lines)) for row in rows))
    for metric, axes in zip(metrics, grid, strict=True):
        for panel, axis in zip(panels, axes, strict=True):
            inside = [r for r in rows if _panel(r, config) == panel and metric in r.scores]
            for number, line in enumerate(lines):
                drawn = [r for r in inside if str(r.experiment.value_of(config.lines)) == line]
                drawn.sort(key=lambda row: row.experiment.value_of(config.x))
                if drawn:
                    scores = [row.scores[metric] for row in drawn]
                    axis.errorbar(
                        [row.experiment.value_of(config.x) for row in drawn],
                        [100 * score.mean for score in scores],
                        yerr=[100 * (score.std or 0.0) for score in scores],
                        marker="os^Dvx*P"[number % 8],
                        color=f"C{number}",
                        label=line,
                        capsize=3,
                    )
            if all(row.experiment.value_of(config.x) > 0 for row in rows):
                axis.set_xscale("log")
            axis.set_title(panel, fontsize=10)
            axis.set_xlabel(config.x if metric == metrics[-1] else "")
            axis.grid(color="0.9")
        axes[0].set_ylabel(f"{metric_name(metric)}, %")
    handles = {h.get_label(): h for axis in grid.flat for h in axis.get_legend_handles_labels()[0]}
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", fontsize=8)
    return figure


def drawn_rows(board: Leaderboard, config: FigureConfig) -> list[Row]:
    """Return the rows that have the figure's fields; those of an older config may lack them."""
    rows = []
    for row in board.rows:
        if config.rows is None or row.name in config.rows:
            with suppress(KeyError, TypeError):
                x = row.experiment.value_of(config.x)
                for field in filter(None, (config.lines, config.panels)):
                    row.experiment.value_of(field)
                if isinstance(x, int | float) and not isinstance(x, bool):
                    rows.append(row)
    return rows


def _panel(row: Row, config: FigureConfig) -> str:
    if config.panels is None:
        return ""
    if config.panels.partition(".")[0] == "sampler":
        return f"sampler {row.experiment.sampler.text}"
    return f"{config.panels} {row.experiment.value_of(config.panels)}"
