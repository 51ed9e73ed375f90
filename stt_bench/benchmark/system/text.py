"""Words of others (labels, titles, class names, sources) made safe to print; numbers in words."""

from __future__ import annotations

import re
import unicodedata

NAME_RULE = "at most 100 letters, digits, '_', '-' and '.', the first a letter or digit"
"""What a name is made of; a file system takes 255 bytes, and we add to it."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PAGES = ("readme", "timing")
_LONG = 1e6  # a number that is written with a power
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;"}
_MARKUP = re.compile(
    r"[\\`*\[\]|#~]"  # code, emphasis, links and images, cells, headings, strikethrough
    r"|(?<![^\W_])_|_(?![^\W_])"  # inside a word, an underscore is one
    r"|^[-+=](?=\W|$)"  # lists, rules, underlined headings
    r"|:(?=//)|(?<=\bwww)\.|(?<=\bmailto):"  # addresses that become links by themselves
)
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_REORDERING = "".join(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]))


def is_name(text: str) -> bool:
    """Tell whether a text may name a file or folder: see `NAME_RULE`."""
    return _NAME.fullmatch(text) is not None


def is_table_name(text: str) -> bool:
    """Tell whether a text may name a table, whose page no other page of the results is."""
    return is_name(text) and text.lower() not in _PAGES


def one_line(text: str, longest: int | None = None) -> str:
    """Return a text as one line of visible characters, with an ellipsis where it is too long.

    Space of any kind and length becomes one blank; control characters, such as the escape that
    commands a terminal, and those that reorder text are left out.
    """
    words = " ".join(str(text).split())
    line = "".join(
        c for c in words if unicodedata.category(c) not in ("Cc", "Cs") and c not in _REORDERING
    )
    return line if longest is None or len(line) <= longest else line[: longest - 1].rstrip() + "…"


def escape_markdown(text: str) -> str:
    """Return Markdown that shows the text as it is: in paragraphs, headings, links and cells.

    Nothing in it is code, emphasis, a link, an image, a formula or HTML. The characters ``&<>$``
    become entities, since not all readers of Markdown let a backslash quote them.
    """
    quoted = _MARKUP.sub(lambda found: f"\\{found.group()}", one_line(text))
    quoted = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", quoted)  # a numbered list
    return "".join(_ENTITIES.get(c, c) for c in quoted)


def paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a text (blank lines part them), each as `escape_markdown` has it."""
    return [escape_markdown(part) for part in re.split(r"\n\s*\n", text.strip()) if part.strip()]


def code_block(lines: list[str]) -> list[str]:
    """Return the lines of a Markdown code block, whose fence none of its lines can close."""
    shown = [one_line(line) for line in lines]
    longest = max((len(run) for line in shown for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, *shown, fence]


def table_line(cells: list[str]) -> str:
    """Return a line of a Markdown table; the cells are Markdown without line breaks."""
    return f"| {' | '.join(cells)} |"


def harmless_cell(text: str) -> str:
    """Return a text as a cell of a csv file that no spreadsheet takes for a formula.

    It is one line; where it begins as a formula does, and is no number, an apostrophe goes first.
    """
    line = one_line(text)
    if not line.startswith(_FORMULA):
        return line
    try:
        float(line)
    except ValueError:
        return f"'{line}"
    return line


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 image`, `2,000 images`, `2 classes`."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def decimals(value: float, digits: int) -> str:
    """Return a number with some decimals, `0.6931`; from a million on with a power, `1.0e+30`."""
    return f"{value:.{digits}f}" if abs(value) < _LONG else f"{value:.1e}"
