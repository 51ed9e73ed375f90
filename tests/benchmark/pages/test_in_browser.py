"""The pages in a real browser: sorting, filtering, folding, hovering, keys, and no complaint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import MISSING, Browser, browser
from few_records import records_of

from stt_bench.benchmark.pages.write import write_html

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

HEADS = "[...document.querySelectorAll('[data-board] thead th')]"
SHOWN = "[...document.querySelectorAll('[data-board] tbody tr')].filter((r) => !r.hidden)"
ROWS = ("softmax", "softmax_normalized", "hard_triplet", "semi_hard_triplet", "contrastive")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = records_of(tmp_path_factory.mktemp("pages"), rows=ROWS)
    records_of(results, "digits_retrieval", rows=["softmax", "semi_hard_triplet"])
    write_html(results, None, results)
    write_html(results, ["omniglot_mini_retrieval"], results)
    return results


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as one:
        yield one


@pytest.fixture
def page(chromium: Browser, folder: Path) -> Iterator[Browser]:
    """The page of one table, at 1280 pixels; the test fails where the console says anything."""
    chromium.size(1280)
    chromium.open(folder / "omniglot_mini_retrieval.html")
    yield chromium
    assert chromium.messages() == []


def labels(page: Browser) -> list[str]:
    return page.run(f"return {SHOWN}.map((r) => r.querySelector('th a').textContent)")


def head(page: Browser, text: str) -> int:
    """Return which column has a heading, from 1."""
    return page.run(f"return {HEADS}.findIndex((h) => h.textContent === arguments[0])", text) + 1


def numbers(page: Browser, column: int) -> list[float]:
    cells = f"{SHOWN}.map((r) => r.cells[arguments[0] - 1].textContent)"
    texts = [text.split("±")[0].strip("△▽▲▼≈ ") for text in page.run(f"return {cells}", column)]
    return [float("nan") if text == "–" else float(text.replace("−", "-")) for text in texts]


def test_a_column_sorts_by_its_numbers_both_ways(page: Browser) -> None:
    column = head(page, "MAP@R")
    start = numbers(page, column)
    assert start == sorted(start, reverse=True)
    button = f"[data-board] thead th:nth-child({column}) button"
    for sort, sign in (("descending", -1), ("ascending", 1)):
        page.point(button, click=True)
        assert (
            page.run(f"return {HEADS}[arguments[0]].getAttribute('aria-sort')", column - 1) == sort
        )
        found = numbers(page, column)
        assert found == sorted(found, key=lambda value: sign * value)
    assert page.run(f"return {HEADS}.filter((h) => h.hasAttribute('aria-sort')).length") == 1
    page.point("[data-board] thead th:first-child button", click=True)
    assert labels(page) == sorted(labels(page), key=str.casefold)


def test_what_has_no_number_comes_last_either_way(page: Browser) -> None:
    column = head(page, "− best Softmax")
    for _ in range(2):
        page.point(f"[data-board] thead th:nth-child({column}) button", click=True)
        found = numbers(page, column)
        missing = [value != value for value in found]
        assert any(missing)
        assert missing == sorted(missing)


def test_rows_are_filtered_by_words_and_by_kind(page: Browser) -> None:
    page.point("input[type=search]", click=True)
    page.keys("TRIPLET semi")
    assert labels(page) == ["Semi-hard triplet"]
    assert page.run("return document.querySelector('.tools output').textContent") == "1 of 5 rows"
    page.run(
        "const s = document.querySelector('input[type=search]'); s.value = '';"
        "s.dispatchEvent(new Event('input'));"
        "const k = document.querySelector('.tools select'); k.value = 'Baselines';"
        "k.dispatchEvent(new Event('change'));"
    )
    assert set(labels(page)) == {"Softmax", "Softmax, unit length"}


def test_columns_fold(page: Browser) -> None:
    column = head(page, "NMI")
    shown = f"return getComputedStyle({HEADS}[{column - 1}]).display !== 'none'"
    before = page.run(shown)
    page.point("input[type=checkbox][value=Metrics]", click=True)
    assert page.run(shown) is not before
    hidden = f"return new Set({SHOWN}.map((r) => r.cells[{column - 1}].hidden)).size"
    assert page.run(hidden) == 1


def test_the_mouse_on_the_plot_tells_the_numbers(page: Browser) -> None:
    page.point("#differences .wide .tip")
    told = page.run(
        "const t = document.getElementById('tip'); return t.hidden ? '' : t.textContent"
    )
    assert "points" in told
    assert "seeds" in told
    page.mouse(1, 1)
    assert page.run("return document.getElementById('tip').hidden")


def test_a_number_leads_to_the_records_it_is_made_of(page: Browser) -> None:
    row = page.run(f"return {SHOWN}[0].querySelector('th a').getAttribute('href')")
    page.point("[data-board] tbody td:not(.t, .w)", click=True)
    assert page.run("return location.hash") == row
    assert page.run(
        "const e = document.getElementById(location.hash.slice(1));"
        "return e.closest('details').open && e.getBoundingClientRect().height > 0"
    )


def test_the_keyboard_reaches_and_sorts(page: Browser) -> None:
    page.keys("\t")
    assert page.run("return document.activeElement.className") == "skip"
    for _ in range(60):
        page.keys("\t")
        if page.run("return document.activeElement.closest('thead') !== null"):
            break
    page.keys("\r")
    assert page.run("return document.activeElement.parentNode.getAttribute('aria-sort')")
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert page.run(outline) != "none"


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["report", "omniglot_mini_retrieval"])
def test_it_is_readable_at_any_width_light_and_dark(
    chromium: Browser, folder: Path, name: str, width: int, dark: bool
) -> None:
    chromium.size(width, dark=dark)
    chromium.open(folder / f"{name}.html")
    assert chromium.run("return document.documentElement.scrollWidth <= innerWidth")
    found = chromium.run(_CONTRASTS)
    assert len(found) > 100
    low = [(text, round(ratio, 2)) for text, ratio in found if ratio < 4.5]
    assert low == []
    assert chromium.messages() == []


# WCAG 2.1: (L1 + 0.05) / (L2 + 0.05) of relative luminances, of all elements with own text.
_CONTRASTS = """
const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (e) => {
  for (; e; e = e.parentElement) {
    const colour = parts(getComputedStyle(e).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
return [...document.body.querySelectorAll('*')]
  .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
  .filter((e) => e.checkVisibility() && !['SCRIPT', 'OPTION', 'TITLE'].includes(e.tagName))
  .map((e) => {
    const style = getComputedStyle(e);
    const ink = e.namespaceURI.endsWith('svg') ? style.fill : style.color;
    const [a, b] = [light(parts(ink)), light(behind(e))].sort((x, y) => y - x);
    return [e.textContent.trim().slice(0, 40), (a + 0.05) / (b + 0.05)];
  });
"""


def test_without_scripts_it_is_a_plain_page(chromium: Browser, folder: Path) -> None:
    chromium.size(1280)
    chromium.devtools("Emulation.setScriptExecutionDisabled", value=True)
    try:
        chromium.open(folder / "omniglot_mini_retrieval.html")
    finally:
        chromium.devtools("Emulation.setScriptExecutionDisabled", value=False)
    assert not chromium.run("return document.documentElement.classList.contains('js')")
    assert not chromium.run("return document.querySelector('.tools').checkVisibility()")
    assert not chromium.run("return document.querySelector('thead button') !== null")
    assert len(labels(chromium)) == len(ROWS)
    hidden = f"{HEADS}.filter((h) => !h.checkVisibility()).map((h) => h.textContent)"
    assert chromium.run(f"return {hidden}") == []
