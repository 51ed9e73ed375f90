"""The pages as a site and on GitHub: all in the nav, every link and anchor leads somewhere."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import markdown
import pytest
from markdown_it import MarkdownIt
from ruamel.yaml import YAML

import stt_bench
from stt_bench import evaluation, losses

ROOT = Path(__file__).parents[1]
SITE = YAML(typ="safe").load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
OF_DOCS = sorted((ROOT / "docs").rglob("*.md"))
BESIDE = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
GENERATED = sorted((ROOT / "results").glob("*.md"))
PAGES = [ROOT / "README.md", *BESIDE, *OF_DOCS, *GENERATED]
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(([^)\s]*)\)")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """Return the text of a page without its code."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def places(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    values = nav.values() if isinstance(nav, dict) else nav
    return [place for value in values for place in places(value)]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found: Counter[str] = Counter()
    names = set()
    for heading in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE):
        shown = LINK.sub(lambda link: link[0].rpartition("](")[0][1:], heading)
        slug = re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")
        names.add(f"{slug}-{found[slug]}" if found[slug] else slug)
        found[slug] += 1
    return names


def test_every_page_of_docs_is_in_the_nav_once() -> None:
    named = Counter(places(SITE["nav"]))
    assert set(named.values()) == {1}
    of_docs = {page.relative_to(ROOT / "docs").as_posix() for page in OF_DOCS}
    beside = {name_of(page) for page in [*BESIDE, *GENERATED]}
    assert of_docs - named.keys() == set()
    assert named.keys() - of_docs - beside == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme == "https", link
            assert re.fullmatch(r"[\w-]+(\.[\w-]+)+", parts.netloc), link
            assert not re.search(r"[.,;:]$", link), link
            continue
        target = page.parent / parts.path if parts.path else page
        assert target.exists(), link
        assert target.resolve().is_relative_to(ROOT), link
        if parts.fragment:
            assert parts.fragment in anchors(target), link


class Outline(HTMLParser):
    """How many of each element a page has."""

    COUNTED = frozenset(
        ["h1", "h2", "h3", "h4", "li", "table", "tr", "th", "td", "pre", "a", "img", "strong"]
    )

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in self.COUNTED:
            self.found[tag] += 1


@pytest.mark.parametrize("page", [*BESIDE, *OF_DOCS], ids=name_of)
def test_a_page_reads_alike_on_github_and_on_the_site(page: Path) -> None:
    """CommonMark and Python-Markdown differ in lists without an empty line, nesting and more."""
    text = page.read_text(encoding="utf-8")
    there = MarkdownIt("commonmark").enable("table").render(text)
    here = markdown.markdown(text, extensions=["md_in_html", "tables", "fenced_code"])
    assert Outline(here).found == Outline(there).found


def test_nothing_is_loaded_from_elsewhere() -> None:
    assert SITE["theme"]["font"] is False
    assert not {"extra_css", "extra_javascript", "site_url"} & SITE.keys()


def test_broken_links_are_errors_where_the_site_is_built() -> None:
    assert set(SITE["validation"]["links"].values()) == {"warn"}
    assert SITE["validation"]["nav"]["omitted_files"] == "warn"
    assert "mkdocs build --strict" in (ROOT / "Makefile").read_text(encoding="utf-8")
    workflow = (ROOT / ".github" / "workflows" / "docs.yml").read_text(encoding="utf-8")
    (job,) = YAML(typ="safe").load(workflow)["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make docs"]


DOCUMENTED = sorted(
    {
        path
        for page in OF_DOCS
        for path in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
)


@pytest.mark.parametrize("path", DOCUMENTED)
def test_docstrings_on_the_site_name_parameters_that_exist(path: str) -> None:
    """The site's parser takes one name a line; another is an error where it is built strictly."""
    module, _, name = path.rpartition(".")
    found = getattr(import_module(module), name)
    text = inspect.getdoc(found)
    assert text, path
    _, _, section = text.partition("\nArgs:\n")
    section = re.split(r"\n(?=\S)", section)[0]
    names = [line.partition(":")[0].strip() for line in re.findall(r"^    \S.*$", section, re.M)]
    assert not names or set(names) <= set(inspect.signature(found).parameters), path


def test_the_api_pages_have_all_that_is_public() -> None:
    named = {path.rpartition(".")[2] for path in DOCUMENTED}
    functions = {name for name in losses.__all__ if not name[0].isupper()}
    assert (functions | {"RankingLoss", "CrossBatchMemory"}) - named == set()
    assert set(evaluation.__all__) - named == set()
    assert set(stt_bench.__all__) - named == set()
