"""The HTML pages: whole files, the same from the same records, in which text stays text."""

from __future__ import annotations

from pathlib import Path

from command_line import Command
from few_records import records_of


def test_the_command_writes_a_page(stt_bench: Command, tmp_path: Path) -> None:
    results = records_of(tmp_path / "results")
    of_all = stt_bench("report", "--html", "--results", results)
    of_one = stt_bench("report", "omniglot_retrieval", "--html", "--results", results)
    assert of_all.stdout == f"{results / 'report.html'}\n"
    assert of_one.stdout == f"{results / 'omniglot_retrieval.html'}\n"
    assert {path.name for path in results.iterdir()} == {
        "records",
        "report.html",
        "omniglot_retrieval.html",
    }
    for page in results.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert text.startswith("<!DOCTYPE html>")
        assert "Hard triplet" in text
