"""Figures inside a page: SVG by matplotlib, in the page's colours and letters.

The same drawing gives the same bytes. Colours of `INK` become variables of the style sheet, so that
a figure is readable on a light and on a dark page.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping

import matplotlib.style
from markupsafe import Markup, escape
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from stt_bench.benchmark.system.text import one_line

INK: Mapping[str, str] = {
    "text": "#010101",
    "muted": "#020202",
    "grid": "#030303",
    "paper": "#040404",
    "above": "#050505",
    "below": "#060606",
    "base": "#070707",
    "c0": "#080800",
    "c1": "#080801",
    "c2": "#080802",
    "c3": "#080803",
    "c4": "#080804",
    "c5": "#080805",
    "c6": "#080806",
    "c7": "#080807",
}
"""Colours to draw with, each of which is a variable ``--NAME`` of the page's style sheet: text,
muted text, grid lines, the background, above and below a baseline, the baseline, and eight colours
of lines."""

_VARIABLE = {colour: f"var(--{name})" for name, colour in INK.items()}
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "stt-bench",
    "text.color": INK["text"],
    "axes.edgecolor": INK["muted"],
    "axes.labelcolor": INK["text"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK["muted"],
    "ytick.color": INK["muted"],
    "grid.color": INK["grid"],
    "font.size": 12,
    "path.simplify": True,
}


def inline_svg(
    draw: Callable[[Figure], None],
    width: float,
    height: float,
    *,
    title: str,
    tips: Mapping[str, str] | None = None,
    rows: Mapping[str, int] | None = None,
    prefix: str = "f",
) -> Markup:
    """Return a drawing as an `<svg>` element that is as wide as the page lets it be.

    Args:
        draw: draws on a figure without a background.
        width: in inches of 72 points; a point is a CSS pixel where there is room.
        height: likewise.
        title: what the figure shows, for those who hear the page.
        tips: by the ``gid`` of an artist, the text shown where the mouse rests on it.
        rows: by the ``gid`` of an artist, the number that the page's script knows it by.
        prefix: of all ids in it: letters and digits, another for each figure of a page.
    """
    with (
        matplotlib.style.context(["default", _STYLE]),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        stream = io.StringIO()
        figure.savefig(
            stream,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    return Markup(_for_a_page(stream.getvalue(), title, tips or {}, rows or {}, prefix))


def _for_a_page(
    svg: str, title: str, tips: Mapping[str, str], rows: Mapping[str, int], prefix: str
) -> str:
    body = svg[svg.index("<svg") :].rstrip()
    body = re.sub(r"\s*<(metadata|style)\b.*?</\1>|\s*<!--.*?-->", "", body, flags=re.DOTALL)
    view = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', body)
    assert view is not None
    wide, high = (f"{float(size):g}" for size in view.groups())
    start = (
        f'<svg class="figure" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" '
        f'role="img" aria-label="{escape(one_line(title))}">'
    )
    tags = re.compile(r"<[^>]*>\n?\s*")  # what is text stays as it is
    return start + tags.sub(
        lambda tag: _tag(tag[0], tips, rows, prefix), body[body.index(">") + 1 :]
    )


def _tag(tag: str, tips: Mapping[str, str], rows: Mapping[str, int], prefix: str) -> str:
    tag = tag.rstrip()
    if group := re.fullmatch(r'<g id="([^"]*)"(.*)>', tag):  # matplotlib's names are not unique
        tip = tips.get(group[1])
        shown = "" if tip is None else f"<title>{escape(one_line(tip, 300))}</title>"
        number = f' data-row="{rows[group[1]]}"' if group[1] in rows else ""
        kind = ' class="tip"' if shown else ""
        return f"<g{kind}{number}{group[2]}>{shown}"
    tag = tag.replace("xlink:href", "href")
    tag = re.sub(r'(\bid="|url\(#|\bhref="#)', rf"\g<1>{prefix}-", tag)
    tag = re.sub(
        r"#0[0-8]0[0-9a-f]0[0-9a-f]\b", lambda colour: _VARIABLE.get(colour[0], colour[0]), tag
    )
    return re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", tag)
