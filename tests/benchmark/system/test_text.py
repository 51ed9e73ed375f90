"""Text of others stays text, whatever a reader of Markdown, a terminal or a file system makes."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from stt_bench.benchmark.system.text import (
    code_block,
    decimals,
    escape_markdown,
    harmless_cell,
    is_name,
    one_line,
    paragraphs,
    table_line,
)

HOSTILE = [
    "<script>alert(1)</script>",
    "![x](https://evil.example/x.png)",
    "[x](javascript:alert(1))",
    "<img src=x onerror=alert(1)>",
    "a | b \\| c \\\\| d",
    "`code` ``more`` ``` fence",
    "**bold** *it* __bold__ _it_ ~~gone~~ snake_case_name _a_b_ __init__",
    "$x^2$ and $$y$$ and \\(z\\)",
    "&lt;b&gt; &copy; &#36; &",
    "# heading #",
    "- item",
    "+ item",
    "1. item",
    "12345) item",
    "> quote",
    "---",
    "===",
    "| a | b |",
    "[ref]: https://evil.example",
    "[^1]",
    "two\nlines\r\n\r\n# heading\n<script>",
    "tab\tand\x0bmore\x85end\u2028x",
    "ends with \\",
    "https://evil.example www.evil.example mailto:a@b.example <https://evil.example>",
    "\x1b[31mred\x1b[0m\x07",
    "\u202egnp.exe",
    "鳥 🐦 é Å ﬁ",
]
PIECES = [
    *"\\`*_[]()<>|$&#!~+-=.:;\"' \n\t{}^@0aZé",
    "www.",
    "://",
    "<b>",
    "![",
    "](",
    "&amp;",
    "1. ",
]
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def shown(markdown: str, container: str) -> str:
    """Return the text of the one inline part in a container, whose tokens must all be text."""
    tokens = PARSER.parse(markdown)
    assert not {"html_block", "fence", "code_block", "hr"} & {t.type for t in tokens}
    places = [n for n, token in enumerate(tokens) if token.type == "inline"]
    inside = [tokens[n] for n in places if tokens[n - 1].type == container]
    assert len(inside) == 1, markdown
    children = inside[0].children or []
    assert {child.type for child in children} <= {"text", "text_special"}, markdown
    return "".join(child.content for child in children)


def check(text: str) -> None:
    plain = one_line(text)
    escaped = escape_markdown(text)
    assert shown(f"# {escaped}\n", "heading_open") == plain
    assert shown(f"{escaped}\n", "paragraph_open") == plain
    assert shown(f"- {escaped}\n", "paragraph_open") == plain
    page = "\n".join(["| a |", "| --- |", table_line([escaped])])
    assert shown(page, "td_open") == plain
    (link,) = [
        token.children or []
        for token in PARSER.parse(f"[{escaped}](page.md) ![{escaped}](page.png)")
        if token.type == "inline"
    ]
    assert [t.attrs.get("href") or t.attrs.get("src") for t in link if t.attrs] == [
        "page.md",
        "page.png",
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_comes_back_as_it_is(text: str) -> None:
    check(text)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map("".join).filter(str.strip))
def test_any_text_comes_back_as_it_is(text: str) -> None:
    check(text)


def test_addresses_do_not_become_links_by_themselves() -> None:
    for text in ("see https://a.example", "see www.a.example", "see mailto:a@b.example"):
        escaped = escape_markdown(text)
        assert not any(sign in escaped for sign in ("https:", "www.", "mailto:"))


def test_ordinary_labels_are_not_touched() -> None:
    for text in ("softmax + 0.003 × center", "P×K, lr 0.001", "tf_retrieval_baseline (2021-10-09)"):
        assert escape_markdown(text) == text


def test_one_line_has_no_control_characters_and_keeps_the_rest() -> None:
    assert one_line(" a\tb\r\nc\x1b[31m\u202ed\ud800 ") == "a b c[31md"
    assert one_line("鳥 \u200d🐦 é") == "鳥 \u200d🐦 é"
    everything = one_line("".join(map(chr, range(0x3000))))
    assert not {"Cc", "Zl", "Zp"} & {unicodedata.category(c) for c in everything}
    assert one_line("0123456789", 10) == "0123456789"
    assert one_line("01234567890", 10) == "012345678…"


def test_paragraphs_are_kept_and_lines_are_joined() -> None:
    assert paragraphs("one\ntwo\n\n \n- three\n") == ["one two", "\\- three"]
    assert paragraphs(" \n ") == []


def test_nothing_closes_a_code_block() -> None:
    hostile = "run x\n```\n# heading\n````"
    lines = code_block([hostile, "~~~"])
    (block,) = PARSER.parse("\n".join([*lines, ""]))
    assert block.type == "fence"
    assert block.content == "run x ``` # heading ````\n~~~\n"


def test_names_are_no_paths() -> None:
    for name in ("cub200_retrieval", "a", "v1.2-b"):
        assert is_name(name)
    for name in (
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        ".hidden",
        "-x",
        "a b",
        "a\n",
        "é",
        "x" + "\0",
    ):
        assert not is_name(name)


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("  =1+1", "'=1+1"),
        ("\u202e=1", "'=1"),
        ("+x", "'+x"),
        ("-x", "'-x"),
        ("@x", "'@x"),
        ("-1.5e3", "-1.5e3"),
        ("+7", "+7"),
        ("a=1", "a=1"),
        ("", ""),
        ("−3", "−3"),
    ],
)
def test_no_cell_of_a_csv_file_is_a_formula(text: str, cell: str) -> None:
    assert harmless_cell(text) == cell


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.69314, "0.6931"),
        (-2.0, "-2.0000"),
        (999_999.0, "999999.0000"),
        (1e6, "1.0e+06"),
        (-1e30, "-1.0e+30"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_a_huge_number_is_told_by_a_power(value: float, told: str) -> None:
    assert decimals(value, 4) == told
