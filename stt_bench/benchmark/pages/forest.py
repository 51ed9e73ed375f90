"""The forest plot: each row's difference to the best Softmax row, with its intervals and mark."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.outcome import main_metric
from stt_bench.benchmark.leaderboards.wording import VERDICTS, metric_name, points
from stt_bench.benchmark.pages.section import rendered
from stt_bench.benchmark.pages.svg import INK, inline_svg
from stt_bench.benchmark.statistics.verdicts import Answer, Verdict
from stt_bench.benchmark.system.text import one_line

_COLOUR = {"▲": "above", "△": "above", "▼": "below", "▽": "below", "≈": "muted", "": "muted"}
_SIZES = {"wide": (10.4, 0.34, 34), "narrow": (4.9, 0.56, 52)}  # inches, inches a row, letters


class _Drawn(NamedTuple):
    label: str
    verdict: Verdict


def forest(board: Leaderboard) -> Markup:
    """Return the plot of the main metric; empty where no row is compared.

    It is drawn twice, for a page with room beside the plot for the labels and for one without.
    """
    metric = main_metric(board)
    drawn = [
        _Drawn(one_line(row.label), verdict)
        for row in board.rows
        if (verdict := board.verdict(row, board.best_softmax(row, metric), metric)) is not None
    ]
    if not drawn:
        return Markup()
    drawn.sort(key=lambda one: one.verdict.mean)
    tests = len(board.family)
    tips = {f"tip{place}": _tip(one) for place, one in enumerate(drawn)}
    name = metric_name(metric)
    softmax = [
        board.best_softmax(row, metric) for row in board.rows if board.is_ranked(row, metric)
    ]
    against = list(dict.fromkeys(row.label for row in softmax if row is not None))
    plots = {}
    for size, (width, height, letters) in _SIZES.items():
        plots[size] = inline_svg(
            partial(_draw, drawn=drawn, tests=tests, wide=size == "wide", letters=letters),
            width,
            height * len(drawn) + 0.75,
            title=f"Differences to the best Softmax row in {name}, with their intervals",
            tips=tips,
            prefix=f"{size[0]}f",
        )
    return rendered(
        "forest.html",
        plots=plots,
        metric=name,
        tests=tests,
        against=against,
        drawn=drawn,
        words=VERDICTS,
    )


def _tip(one: _Drawn) -> str:
    verdict = one.verdict
    told = [f"{one.label}: {points(verdict)} points, {VERDICTS[verdict.mark]}"]
    for name, answer in (("new classes", verdict.domain), ("these classes", verdict.classes)):
        if answer is not None:
            told.append(f"p {answer.adjusted:.2g} for {name}")
    return "; ".join([*told, f"{verdict.seeds} seeds"])


def _draw(figure: Figure, drawn: Sequence[_Drawn], tests: int, wide: bool, letters: int) -> None:
    axes = figure.add_subplot()
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    for place, (label, verdict) in enumerate(drawn):
        colour = INK[_COLOUR[verdict.mark]]
        band = axes.axhspan(place - 0.5, place + 0.5, facecolor=INK["paper"], alpha=0, linewidth=0)
        band.set_gid(f"tip{place}")
        _interval(axes, place, verdict.domain, tests, colour, 1.4)
        _interval(axes, place, verdict.classes, tests, colour, 5)
        sure = verdict.mark in ("▲", "▼")
        axes.plot(
            100 * verdict.mean,
            place,
            "o",
            markersize=7,
            markeredgecolor=colour,
            markerfacecolor=colour if sure else INK["paper"],
            markeredgewidth=1.6,
        )
        name = one_line(label, letters)
        told = points(verdict).replace("-", "−")
        text = partial(axes.text, transform=beside, va="center", parse_math=False)
        if wide:
            text(-0.01, place, name, ha="right")
            text(1.01, place, told, ha="left")
        else:
            text(0, place + 0.3, name, ha="left")
    _frame(axes, len(drawn))


def _interval(
    axes: Axes, place: int, answer: Answer | None, tests: int, colour: str, width: float
) -> None:
    if answer is not None:
        low, high = (100 * end for end in answer.corrected(tests))
        axes.plot([low, high], [place, place], color=colour, linewidth=width, alpha=0.55)


def _frame(axes: Axes, rows: int) -> None:
    axes.axvline(0, color=INK["base"], linewidth=1.2, zorder=0)
    axes.set_ylim(-0.6, rows - 0.4)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=INK["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel("points above (+) or below (−) the best Softmax row")
