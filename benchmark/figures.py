"""Figures of a leaderboard; the same records give the same bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.files import write_atomically
from benchmark.leaderboard import Leaderboard, metric_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_leaderboard(board: Leaderboard, path: Path) -> None:
    """Draw each row's Recall@1 and MAP@R (and accuracy), mean and spread over seeds, as dots."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

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
            ranked = row.fingerprint == board.main_protocol
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


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; the same figure gives the same bytes."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120, metadata={"Software": None})
    write_atomically(path, lambda stream: stream.write(picture.getvalue()))
