"""The pages in docs name tests, files, commands and settings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def test_every_test_that_is_named_exists() -> None:
    sources = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    defined = {name for text in sources.values() for name in re.findall(r"def (test_\w+)", text)}
    text = (ROOT / "docs" / "defects.md").read_text()
    named = set(re.findall(r"\btest_\w+(?:\.py)?", text))
    assert len(named) > 40
    missing = {n for n in named if n not in defined and n not in sources}
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_that_is_named_exists(page: Path) -> None:
    text = page.read_text()
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / link).exists(), link
    for path in re.findall(r"`((?:stt_bench|tests)/[\w/.{},]+)`", text):
        before, brace, rest = path.partition("{")
        inner, _, after = rest.partition("}")
        names = [before + name + after for name in inner.split(",")] if brace else [path]
        for name in names:
            assert (ROOT / name).exists(), name
