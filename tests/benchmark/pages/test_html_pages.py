"""The HTML pages: whole files, the same from the same records, in which text stays text."""

from __future__ import annotations

import html.parser
import json
import re
import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from command_line import Command
from few_records import records_of

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.pages import all_tables
from stt_bench.benchmark.pages.all_tables import page_of_all
from stt_bench.benchmark.pages.forest import forest
from stt_bench.benchmark.pages.table_page import page_of_table
from stt_bench.benchmark.pages.write import read_boards, write_html
from stt_bench.benchmark.store.records import checksum
from stt_bench.benchmark.system.errors import BenchError

HOSTILE = (
    "</script><script>alert(1)</script> \"'><img src=x onerror=alert(1)> {{ 7 * 7 }} \u202eabc"
)
VOID = {"meta", "link", "input", "br", "hr", "img", "wbr", "path", "use", "rect", "circle"}


class Parsed(html.parser.HTMLParser):
    """What is on a page: its elements with their attributes, and whether all are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.shown: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.shown.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tables that share rows; a label and a title are hostile."""
    folder = records_of(tmp_path_factory.mktemp("pages") / "results")
    records_of(folder, "digits_retrieval")
    for path in (folder / "records" / "omniglot_mini_retrieval").glob("*/*.json"):
        record = json.loads(path.read_text())
        record["display"]["title"] = f"Omniglot {HOSTILE}"
        if record["row"] == "hard_triplet":
            record["display"]["label"] = HOSTILE + "long" * 300
        path.write_text(json.dumps(record | {"checksum": checksum(record)}))
    return folder


@pytest.fixture(scope="module")
def boards(results: Path) -> list[Leaderboard]:
    return read_boards(results, ["digits_retrieval", "omniglot_mini_retrieval"])


@pytest.fixture(scope="module")
def pages(boards: list[Leaderboard], results: Path) -> dict[str, str]:
    of_each = {board.table: page_of_table(board, results / "no runs") for board in boards}
    return {"report": page_of_all(boards), **of_each}


def test_the_command_writes_a_page(stt_bench: Command, tmp_path: Path) -> None:
    results = records_of(tmp_path / "results", seeds=1)
    of_all = stt_bench("report", "--html", "--results", results)
    of_one = stt_bench("report", "omniglot_mini_retrieval", "--html", "--results", results)
    assert of_all.stdout == f"{results / 'report.html'}\n"
    assert of_one.stdout == f"{results / 'omniglot_mini_retrieval.html'}\n"
    there = {path.name for path in results.iterdir()}
    assert there == {"records", "report.html", "omniglot_mini_retrieval.html"}
    both = stt_bench("report", "--html", "--distance", "cosine", "--results", results)
    assert both.returncode == 2
    unknown = stt_bench("report", "omniglot_retrievl", "--html", "--results", results)
    assert "did you mean 'omniglot_mini_retrieval'" in unknown.stderr


def test_a_file_that_is_not_ours_stays(tmp_path: Path) -> None:
    results = records_of(tmp_path, rows=["softmax"], seeds=1)
    (results / "report.html").write_text("mine")
    with pytest.raises(BenchError, match=r"report\.html exists and stt-bench cannot tell"):
        write_html(results, None, results)
    assert (results / "report.html").read_text() == "mine"
    for force in (True, False):  # the second time it is ours
        write_html(results, None, results, force=force)
    assert "Omniglot" in (results / "report.html").read_text()


def test_the_same_records_give_the_same_bytes(
    boards: list[Leaderboard], pages: dict[str, str], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 2e9)
    again = read_boards(results, ["digits_retrieval", "omniglot_mini_retrieval"])
    assert page_of_all(again) == pages["report"]
    assert page_of_table(again[1], results / "no runs") == pages["omniglot_mini_retrieval"]
    assert str(results.parent) not in "".join(pages.values())


@pytest.mark.parametrize("name", ["report", "omniglot_mini_retrieval", "digits_retrieval"])
class TestEachPage:
    def test_every_element_is_closed_and_every_id_is_there_once(
        self, pages: dict[str, str], name: str
    ) -> None:
        parsed = Parsed(pages[name])
        assert parsed.open == []
        ids = Counter(attributes["id"] for _, attributes in parsed.found if "id" in attributes)
        assert [one for one, count in ids.items() if count > 1] == []
        links = {a["href"] for a in parsed.all("a") + parsed.all("use") if "href" in a}
        assert {link[1:] for link in links if link.startswith("#")} <= ids.keys()

    def test_nothing_is_from_elsewhere(self, pages: dict[str, str], name: str) -> None:
        parsed = Parsed(pages[name])
        (policy,) = [m["content"] for m in parsed.all("meta") if "http-equiv" in m]
        assert "default-src 'none'" in policy
        assert "script-src 'sha256-" in policy
        assert len(parsed.all("script")) == 1
        for tag, attributes in parsed.found:
            assert not any(name.startswith("on") for name in attributes), tag
            if "src" in attributes:
                assert attributes["src"].startswith("data:image/"), tag
            if tag == "link":
                assert attributes["href"] == "data:,"
            if tag == "a" and not attributes["href"].startswith("#"):
                assert re.fullmatch(r"records/[\w/.-]+|\w+\.md", attributes["href"])
        outside = re.findall(r"(?:url\(|@import|src=|href=)[\"']?(?:https?:)?//", pages[name])
        assert outside == []

    def test_tables_have_captions_and_headings_come_in_order(
        self, pages: dict[str, str], name: str
    ) -> None:
        parsed = Parsed(pages[name])
        assert len(parsed.all("caption")) >= len(parsed.all("table")) > 0
        assert all(head.get("scope") in ("col", "row") for head in parsed.all("th"))
        levels = [int(tag[1]) for tag, _ in parsed.found if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        for svg in parsed.all("svg"):  # a picture has a name; a bar beside its number is hidden
            assert svg.get("aria-label") if "role" in svg else svg["aria-hidden"] == "true"
        assert all(region.get("aria-label") for _, region in parsed.found if "role" in region)
        assert parsed.all("html") == [{"lang": "en"}]


def test_text_of_others_stays_text(pages: dict[str, str]) -> None:
    for name in ("report", "omniglot_mini_retrieval"):
        parsed = Parsed(pages[name])
        shown = "".join(parsed.shown)
        assert "</script><script>alert(1)</script> \"'><img src=x onerror=alert(1)>" in shown
        assert "{{ 7 * 7 }}" in shown
        assert not parsed.all("img")
        assert "\u202e" not in pages[name]
    longest = max(map(len, re.findall(r"(?:long)+", pages["report"])))
    assert longest < 120


def test_every_number_of_every_seed_leads_to_its_record(
    boards: list[Leaderboard], pages: dict[str, str]
) -> None:
    """What the page says of a seed is held against the JSON file that it names."""
    parsed = Parsed(pages["digits_retrieval"])
    links = [a["href"] for a in parsed.all("a")]
    text = " ".join(parsed.shown)
    for record in boards[0].sources:
        file = f"records/digits_retrieval/{record.row}/seed-{record.seed}.json"
        assert file in links
        assert f"#p:digits_retrieval:{record.row}" in links
        assert record.checksum[:12] in text
        assert f"{100 * record.metrics['map@r']:.2f}" in text
        assert record.protocol_fingerprint in text
    assert "stt-bench verify digits_retrieval" in text


@pytest.mark.parametrize("fits", [True, False])
def test_the_page_of_all_names_the_checksums_of_its_records_where_they_fit(
    boards: list[Leaderboard], monkeypatch: pytest.MonkeyPatch, *, fits: bool
) -> None:
    board = boards[0]
    if not fits:
        monkeypatch.setattr(all_tables, "LARGEST", 10)
    text = page_of_all([board])
    parsed = Parsed(text)
    links = {a["href"] for a in parsed.all("a")}
    ids = {attributes.get("id") for _, attributes in parsed.found}
    for record in board.sources:
        assert f"records/{board.table}/{record.row}" in links
        assert (record.checksum[:8] in text) is fits
        assert (f"p:{board.table}:{record.row}" in ids) is fits
    assert f"stt-bench report {board.table} --html" in text


def test_the_numbers_of_the_plot_stand_in_a_table(boards: list[Leaderboard]) -> None:
    board = boards[0]
    part = str(forest(board))
    table = part.split("<tbody>")[1].split("</tbody>")[0]
    lines = [re.sub(r"<[^>]*>", "|", one).strip("|\n") for one in table.split("</tr>")[:-1]]
    told = {}
    for row in board.rows:
        verdict = board.verdict(row, board.best_softmax(row, "map@r"), "map@r")
        if verdict is not None:
            told[row.label] = verdict
    assert sorted(told) == sorted(line.split("|")[0] for line in lines)
    for line in lines:
        label, *cells = [cell for cell in line.split("|") if cell]
        verdict = told[label]
        assert cells[0] == f"{100 * verdict.mean:+.1f}".replace("-", "−")
        assert cells[-1] == str(verdict.seeds)
        for answer in filter(None, (verdict.classes, verdict.domain)):
            assert f"{answer.adjusted:.2g}" in cells


def test_what_the_signs_beside_a_row_say_stands_below_the_table(boards: list[Leaderboard]) -> None:
    board = boards[0]
    row = board.rows[-1]
    odd = replace(board, rows=[*board.rows[:-1], replace(row, fingerprint="0" * 16)])
    for page in (page_of_all([odd]), page_of_table(odd, Path("no runs"))):
        assert '<span class="flag">†' in page
        assert "† of another protocol, not ranked" in " ".join(Parsed(page).shown)
        assert 'class="flag" title' not in page


def test_the_leaderboard_says_what_the_board_knows(
    boards: list[Leaderboard], pages: dict[str, str]
) -> None:
    board = boards[0]
    values = re.findall(r'data-v="([^"]*)"', pages["digits_retrieval"].split("</tbody>")[0])
    best = max(board.rows, key=lambda row: row.scores["map@r"].mean)
    assert float(values[0]) == pytest.approx(100 * best.scores["map@r"].mean, rel=1e-4)


def test_the_matrix_has_the_difference_of_each_table(
    boards: list[Leaderboard], pages: dict[str, str]
) -> None:
    cells = pages["report"].split('id="matrix"')[1].split("</section>")[0]
    for board in boards:
        row = next(row for row in board.rows if row.name == "semi_hard_triplet")
        softmax = next(row for row in board.rows if row.name == "softmax")
        difference = 100 * (row.scores["map@r"].mean - softmax.scores["map@r"].mean)
        assert f"{difference:+.1f}" in cells
    assert "2 tables over 2 data sources." in cells
