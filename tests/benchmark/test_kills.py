"""Ten kills of `tests/perf/kills.py`: whatever a run is doing, the same command goes on."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from command_line import ROOT


def test_ten_kills_change_no_byte_of_the_results(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("kills", ROOT / "tests" / "perf" / "kills.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.kills(tmp_path.resolve(), 10, rows=("two_head", "frozen"))
    assert found.total() == 10
