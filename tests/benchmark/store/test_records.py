"""Records: what is read back is checked, field by field."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from stt_bench.benchmark.store.records import read_record
from stt_bench.benchmark.system.errors import BenchError

ROOT = Path(__file__).parents[3]
COMMITTED = ROOT / "results/records/digits_retrieval/angular/seed-0.json"


def test_a_record_of_schema_1_is_refused_and_migrated_with_the_same_metrics(tmp_path: Path) -> None:
    migration = runpy.run_path(str(ROOT / "results/migrate_to_schema_2.py"))
    text = COMMITTED.read_text()
    old = text.replace('"schema_version": 2', '"schema_version": 1').replace(
        '"display": {', '"listing": {'
    )
    path = tmp_path / "records/digits_retrieval/angular/seed-0.json"
    path.parent.mkdir(parents=True)
    path.write_text(old)
    with pytest.raises(BenchError, match=r"seed-0\.json: is a record of schema 1.*migrate"):
        read_record(path)
    assert migration["migrate"](path)
    assert path.read_text() == text
    assert not migration["migrate"](path)
    assert read_record(path).metrics == json.loads(old)["metrics"]
