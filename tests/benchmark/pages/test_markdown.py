"""Markdown of our pages as HTML."""

from __future__ import annotations

from stt_bench.benchmark.pages.markdown import from_markdown
from stt_bench.benchmark.system.text import escape_markdown, table_line


def test_escaped_text_is_shown_as_it_is() -> None:
    hostile = "<b>x</b> *a* _b_ `c` [d](e) | & $1$ https://f.org \\"
    shown = "&lt;b&gt;x&lt;/b&gt; *a* _b_ `c` [d](e) | &amp; $1$ https://f.org \\"
    html = from_markdown([f"- {escape_markdown(hostile)}"])
    assert html == f"<ul>\n<li>{shown}</li>\n</ul>\n"


def test_html_is_shown_as_text() -> None:
    assert "<script>" not in from_markdown(["<script>alert(1)</script>"])
    assert "href" not in from_markdown(["[x](javascript:alert(1))"])


def test_tables_have_a_caption_and_scopes() -> None:
    lines = [table_line(["a", "b"]), table_line(["---", "---:"]), table_line(["1", "2"])]
    html = from_markdown(lines, caption="<x>")
    assert "<caption><span>&lt;x&gt;</span></caption>" in html
    assert html.count('<th scope="col"') == 2
    assert "<thead>" in html
    assert html.count("<div") == html.count("</div>") == 1
