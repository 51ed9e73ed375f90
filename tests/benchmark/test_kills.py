"""Ten kills of `tests/perf/kills.py`: whatever a run is doing, the same command goes on.

Three of them are kills of `--jobs 2`: of the command, or of one of its processes.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from command_line import ROOT

from stt_bench.benchmark.jobs import pool


def test_ten_kills_change_no_byte_of_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "START", "fork")  # everything is imported already
    spec = importlib.util.spec_from_file_location("kills", ROOT / "tests" / "perf" / "kills.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.kills(tmp_path.resolve(), {1: 7, 2: 3}, rows=("two_head", "frozen"))
    assert found.total() == 10
