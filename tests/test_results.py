"""The committed pages are what today's code makes of the committed records."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stt_bench.benchmark.leaderboards import report as reporting
from stt_bench.benchmark.store.records import read_table_records
from stt_bench.benchmark.suite import load_table

RESULTS = Path(__file__).parents[1] / "results"
TABLES = sorted(path.name for path in (RESULTS / "records").iterdir())


@pytest.mark.long
def test_pages_are_generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "results"
    copy.mkdir()
    for name in ("records", "tuning"):
        if (RESULTS / name).exists():
            shutil.copytree(RESULTS / name, copy / name)
    for name in ("published.csv", "timing.md"):
        if (RESULTS / name).exists():
            shutil.copy(RESULTS / name, copy)
    monkeypatch.setattr(reporting, "draw_leaderboard", lambda *_: None)  # pictures take long
    monkeypatch.setattr(reporting, "draw_curves", lambda *_: None)
    monkeypatch.setattr(reporting, "draw_best_of_n", lambda *_: None)
    reporting.report(copy)
    made = {path.name: path.read_text() for path in copy.glob("*.md")}
    committed = {path.name: path.read_text() for path in RESULTS.glob("*.md")}
    assert sorted(made) == sorted(committed)
    for name, text in made.items():
        assert committed[name] == text, name


@pytest.mark.parametrize("table", TABLES)
def test_records_are_of_the_tables_rows_and_settings(table: str) -> None:
    rows = load_table(str(RESULTS.parent / "stt_bench" / "configs" / f"{table}.yaml")).rows
    records = read_table_records(RESULTS, table)
    assert {record.row for record in records} <= set(rows)
    for record in records:
        before = record.tuning.base_digest if record.tuning else record.config_digest
        assert before == rows[record.row].digest(), record.row
