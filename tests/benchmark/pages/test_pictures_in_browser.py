"""The pictures of a page in a real browser: boxes, hovering, arrow keys, phone width."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import MISSING, Browser, browser
from toy_runs import trained_toy

from stt_bench.benchmark.pages.table_page import page_of_table

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(MISSING), reason=MISSING)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    toy = trained_toy(root)
    (root / "toy.html").write_text(page_of_table(toy.board, toy.runs), encoding="utf-8")
    return root / "toy.html"


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as one:
        yield one


def visible_rows(window: Browser) -> Any:
    return window.run(
        "return [...new Set([...document.querySelectorAll('.panels [data-row]')]"
        ".filter(g => getComputedStyle(g).display !== 'none').map(g => g.dataset.row))].sort()"
    )


def test_boxes_show_and_hide_the_curves_of_a_row(window: Browser, page: Path) -> None:
    window.size(1280)
    window.open(page)
    assert visible_rows(window) == ["0", "1"]
    window.point("[data-curves] input[value='1']", click=True)
    assert visible_rows(window) == ["0"]
    window.point("[data-curves] button[value='none']", click=True)
    assert visible_rows(window) == []
    window.point("[data-curves] button[value='all']", click=True)
    assert visible_rows(window) == ["0", "1"]
    assert window.messages() == []


def test_an_item_of_the_map_is_shown_on_hover_and_by_arrow_keys(
    window: Browser, page: Path
) -> None:
    window.size(1280)
    window.open(page)
    names = window.run(
        "window.told = () => [document.querySelector('.peek output').textContent,"
        " document.querySelector('.peek svg').getAttribute('viewBox'),"
        " [...document.querySelectorAll('.here')].map(c => "
        "[...c.parentElement.children].indexOf(c))];"
        "return document.querySelectorAll('svg.map').length"
    )
    assert names == 3
    window.point("svg.map circle:last-of-type")
    text, view, here = window.run("return told()")
    assert here == [14, 14, 14]  # the same item in each row's map
    assert view == "96 144 48 48"  # tile 14 of 4 a row
    assert " – " in text
    window.run("document.querySelector('svg.map').focus()")
    seen = set()
    for key in ("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown", "ArrowRight"):
        window.devtools("Input.dispatchKeyEvent", type="keyDown", key=key)
        seen.add(window.run("return told()")[0])
    assert len(seen) > 1
    own = window.run(
        "return [...document.querySelectorAll('svg.map')[0].querySelectorAll('.same')]"
        ".every(c => c.dataset.k === document.querySelector('svg.map .here').dataset.k)"
    )
    assert own
    assert window.messages() == []


def test_nothing_is_wider_than_a_phone_and_no_name_became_markup(
    window: Browser, page: Path
) -> None:
    for dark in (False, True):
        window.size(390, dark=dark)
        window.open(page)
        assert window.run("return document.documentElement.scrollWidth") <= 390
        broken = window.run(
            "return [...document.querySelectorAll('img')].filter(i => i.complete && "
            "!i.naturalWidth).length"
        )
        assert broken == 0
        away = "filter(e => getComputedStyle(e).display === 'none').length"
        assert window.run(f"return [...document.querySelectorAll('.asked li')].{away}") == 0
        contrast = window.run(
            "const c = e => getComputedStyle(document.querySelector(e));"
            "return [c('.asked .right b, .asked .wrong b').color, c('body').backgroundColor]"
        )
        assert contrast[0] != contrast[1]
    assert window.run("return document.querySelectorAll('script').length") == 1
    assert window.messages() == []
