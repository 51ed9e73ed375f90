"""What a row's training costs against how well the row does."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.figure import Figure

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.outcome import main_metric
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.scores import Score
from stt_bench.benchmark.leaderboards.wording import listed, metric_name
from stt_bench.benchmark.pages.section import Section, rendered
from stt_bench.benchmark.pages.svg import INK, inline_svg

_WIDE_RANGE = 20  # of the dearest to the cheapest row, from which the axis is logarithmic
_GPUS = ("nvidia", "geforce", "tesla", "instinct", "radeon")


@dataclass(frozen=True)
class Cost:
    """A trained row: its cost, its score over the seeds, and whether no other row beats both."""

    number: int
    row: Row
    cost: float
    score: Score
    efficient: bool


def costs_of(board: Leaderboard, metric: str) -> tuple[list[Cost], str]:
    """Return the trained, ranked rows by cost, and the unit: core-minutes, or minutes of a GPU.

    Core-minutes are seconds × threads / 60, the mean over the seeds; where a record was made on a
    GPU, all are minutes of wall-clock time.
    """
    records = [one for one in board.records if one.experiment.train.steps > 0]
    on_gpu = any(name in one.training.device.lower() for one in records for name in _GPUS)
    found = []
    for row in board.rows:
        own = [one.training for one in records if one.row == row.name]
        if own and board.is_ranked(row, metric):
            each = [one.seconds * (1 if on_gpu else one.threads) / 60 for one in own]
            found.append((sum(each) / len(each), row, row.scores[metric]))
    found.sort(key=lambda one: (one[0], -one[2].mean, one[1].name))
    costs, best = [], float("-inf")
    for number, (cost, row, score) in enumerate(found, start=1):
        costs.append(Cost(number, row, cost, score, score.mean > best))
        best = max(best, score.mean)
    return costs, "minutes" if on_gpu else "core-minutes"


def cost_section(board: Leaderboard) -> Section:
    """Return the figure of cost against quality, and the table of its numbers."""
    metric = main_metric(board)
    costs, unit = costs_of(board, metric)
    devices = sorted({one.training.device for one in board.records if one.experiment.train.steps})
    html = rendered(
        "cost.html",
        costs=costs,
        unit=unit,
        metric=metric_name(metric),
        devices=listed(devices) if devices else "",
        several=len(devices) > 1,
        tuned=bool(board.tuned),
        picture=_figure(costs, unit, metric_name(metric)) if len(costs) > 1 else None,
    )
    return Section("cost", "Cost against quality", html)


def _figure(costs: list[Cost], unit: str, metric: str) -> Markup:
    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        front = [one for one in costs if one.efficient]
        axis.step(
            [one.cost for one in front],
            [100 * one.score.mean for one in front],
            where="post",
            color=INK["muted"],
            linewidth=0.8,
            linestyle=(0, (3, 3)),
            zorder=1,
        )
        for one in costs:
            mean = 100 * one.score.mean
            colour = INK["base" if one.row.is_baseline else "c0"]
            if one.score.interval is not None:
                low, high = (100 * end for end in one.score.interval)
                axis.plot([one.cost, one.cost], [low, high], color=colour, linewidth=1, zorder=2)
            axis.plot(
                one.cost,
                mean,
                marker="o",
                markersize=13,
                color=INK["paper"],
                markeredgecolor=colour,
                markeredgewidth=1.6 if one.efficient else 0.9,
                gid=f"cost-{one.number}",
                zorder=3,
            )
            axis.text(
                one.cost, mean, str(one.number), ha="center", va="center", fontsize=8, zorder=4
            )
        least, most = costs[0].cost, costs[-1].cost
        if least > 0 and most / least > _WIDE_RANGE:
            axis.set_xscale("log")
        else:
            axis.locator_params(axis="x", nbins=5)  # long numbers, such as 0.0325, have room
        axis.set_xlabel(f"{unit} of training")
        axis.set_ylabel(f"{metric}, %")
        axis.grid(color=INK["grid"], linewidth=0.6)
        axis.set_axisbelow(True)
        axis.margins(x=0.08, y=0.1)

    tips = {
        f"cost-{one.number}": f"{one.row.label}: {one.cost:.3g} {unit}, {100 * one.score.mean:.1f}"
        for one in costs
    }
    title = f"{metric} of {len(costs)} rows over {unit} of training; the table has the numbers"
    return inline_svg(draw, 5.6, 3.8, title=title, tips=tips, prefix="cost")
