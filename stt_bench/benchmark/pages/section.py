"""A part of a page, and the templates that pages are made of."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import stt_bench
from stt_bench.benchmark.system.text import one_line

LONGEST_LABEL = 120
_DASH = re.compile(r"(?<![\w.])-(?=\d)")


@dataclass(frozen=True)
class Section:
    """A part of a page: its id (unique on the page, letters, digits and `-`), heading and content.

    The heading is any text. The content stands as it is, so that whatever is not of our own making
    has gone through a template of `rendered` or through `markupsafe.escape`.
    """

    id: str
    title: str
    html: Markup


@cache
def environment() -> Environment:
    """Return the templates: they escape all they are given, and refuse what they are not given.

    The filter ``line`` makes a text of others one line of visible characters, ``label`` one of at
    most 120, and ``prose`` one with a minus before negative numbers and no break before %.
    """
    found = Environment(
        loader=PackageLoader("stt_bench.benchmark.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["line"] = one_line
    found.filters["prose"] = lambda text: _DASH.sub("−", one_line(text)).replace(" %", "\u00a0%")
    found.filters["label"] = lambda text: one_line(text, LONGEST_LABEL)
    return found


def rendered(template: str, **values: object) -> Markup:
    """Return a template of `templates/` filled in."""
    return Markup(environment().get_template(template).render(**values))


def page(
    title: str,
    lead: Markup,
    sections: Sequence[Section],
    *,
    assets: Sequence[str] = ("page",),
    contents: bool = True,
    sources: str = "the result records",
) -> str:
    """Return a whole page: its title, what stands first, a list of the sections, and these.

    `assets` are the scripts and style sheets of `templates/` that it needs, without their endings;
    `sources` says of what the page is made.

    Its policy forbids whatever is not in the file; of scripts it allows our own by its hash.
    """
    script = "".join(_asset(f"{name}.js") for name in assets)
    allowed = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return str(
        rendered(
            "page.html",
            title=title,
            lead=lead,
            sections=sections,
            contents=contents,
            sources=sources,
            style=Markup("".join(_asset(f"{name}.css") for name in assets)),
            script=Markup(script),
            script_hash=allowed,
            version=stt_bench.__version__,
        )
    )


def _asset(name: str) -> str:
    """Return a file of ours that stands in every page as it is."""
    return (files("stt_bench.benchmark.pages") / "templates" / name).read_text(encoding="utf-8")
