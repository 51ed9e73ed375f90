"""Best-of-n curves: what each row's search would have found with fewer trials."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from stt_bench.benchmark.leaderboards.searches import RowSearch
from stt_bench.benchmark.leaderboards.wording import metric_name
from stt_bench.benchmark.system.png import drawn_figure, label

_COLUMNS = 5


def draw_best_of_n(searches: Sequence[RowSearch], path: Path) -> None:
    """Draw a panel for each row: the expected best of n trials with the band of its studies.

    Dotted: the row's own settings. All panels have the same axes.
    """
    columns = min(_COLUMNS, len(searches))
    lines = -(-len(searches) // columns)
    with drawn_figure(path, 2.2 * columns + 0.6, 1.6 * lines + 0.5, layout="tight") as figure:
        grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for axis in grid.flat[len(searches) :]:
            axis.set_axis_off()
        for axis, search in zip(grid.flat, searches, strict=False):
            _draw(axis, search)
        objectives = dict.fromkeys(s.row.experiment.validation_metric for s in searches)
        figure.supylabel(f"{' or '.join(map(metric_name, objectives))} on folds, %", fontsize=9)
        figure.supxlabel("best of n trials", fontsize=9)


def _draw(axis: Axes, search: RowSearch) -> None:
    found = [
        (n, best)
        for n in range(1, search.size.trials + 1)
        if (best := search.best_of(n)) is not None
    ]
    numbers = [n for n, _ in found]
    low = [100 * best.low for _, best in found]
    high = [100 * best.high for _, best in found]
    axis.fill_between(numbers, low, high, color="#1f4e79", alpha=0.25, linewidth=0)
    axis.plot(numbers, [100 * best.mean for _, best in found], color="#1f4e79")
    if search.default is not None and search.default.error is None:
        axis.axhline(100 * search.default.objective, color="0.3", linestyle=":", linewidth=1)
    colour = "#c0504d" if search.row.is_baseline else "black"
    name = label(search.row.label, 30)
    axis.set_title(name, fontsize=8, color=colour, parse_math=False)
    axis.tick_params(labelsize=7)
    axis.grid(color="0.9")
