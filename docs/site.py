"""What the site needs beside mkdocs.yml: pages from outside docs, and links that suit both places.

A page is written for the repository: its links lead from file to file, and its headings have
the anchors that GitHub gives them.  Here the links of a page are rewritten for the site, where
`docs` is the root and the results, CONTRIBUTING.md and CHANGELOG.md lie beside its pages.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from pymdownx.slugs import slugify

ROOT = Path(__file__).parents[1]
BESIDE = ("CONTRIBUTING.md", "CHANGELOG.md", "results/*.md", "results/*.png", "results/*.csv")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")
OUTSIDE = re.compile(
    r"""<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//"""
)
log = logging.getLogger("mkdocs.hooks.site")


def on_config(config: Any) -> None:
    """Give headings the anchors that GitHub gives them."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")


def on_files(files: Files, config: Any) -> None:
    """Add the pages that lie outside docs."""
    for pattern in BESIDE:
        for path in sorted(ROOT.glob(pattern)):
            place = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, place, abs_src_path=str(path)))


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite the links of a page; of those to what is not on the site the text remains."""
    place = page.file.src_uri
    of_docs = page.file.generated_by is None
    folder = posixpath.dirname(f"docs/{place}" if of_docs else place)

    def rewritten(link: re.Match[str]) -> str:
        image, text, target, anchor = link[1], link[2], link[3], link[4] or ""
        path = posixpath.normpath(posixpath.join(folder, target))
        here = path.removeprefix("docs/")
        if files.get_file_from_path(here) is not None:
            start = posixpath.dirname(place) or "."
            return f"{image}[{text}]({posixpath.relpath(here, start)}{anchor})"
        return text if (ROOT / path).exists() else link[0]

    if not of_docs:  # Markdown inside HTML: GitHub reads it, Python-Markdown asks for a mark
        markdown = markdown.replace("<details>", '<details markdown="1">')
    return LINK.sub(rewritten, markdown)


def on_post_page(output: str, page: Any, config: Any) -> None:
    """Warn of what would be loaded from elsewhere; in strict mode that is an error."""
    for found in OUTSIDE.findall(output):
        log.warning("%s loads something from elsewhere: %s", page.file.src_uri, found)
