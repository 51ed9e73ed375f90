"""Markdown of our pages as HTML, so that notes and sections are worded once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from markdown_it import MarkdownIt
from markupsafe import Markup


@cache
def _reader() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def from_markdown(lines: Sequence[str], caption: str = "") -> Markup:
    """Return lines of Markdown as HTML; HTML in them is shown as text.

    Tables get the caption, and scroll where there is no room for them.
    """
    html = _reader().render("\n".join(lines))
    around = Markup('<div class="scroll" role="region" tabindex="0" aria-label="{0}">')
    start = (around + Markup("<table><caption><span>{0}</span></caption>")).format(caption)
    html = html.replace("<table>", start).replace("</table>", "</table></div>")
    return Markup(html.replace("<th", '<th scope="col"').replace('<th scope="col"ead', "<thead"))
