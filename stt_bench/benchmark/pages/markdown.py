"""Markdown of our pages as HTML, so that notes and sections are worded once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from markdown_it import MarkdownIt
from markupsafe import Markup


@cache
def _reader() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def from_markdown(lines: Sequence[str]) -> Markup:
    """Return lines of Markdown as HTML; HTML in them is shown as text."""
    return Markup(_reader().render("\n".join(lines)))


def from_markdown_inline(line: str) -> Markup:
    """Return one line of Markdown as HTML without a paragraph around it."""
    return Markup(_reader().renderInline(line))
