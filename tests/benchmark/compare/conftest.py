"""Small data whose answer is known, and comparisons that take seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_comparisons import compared, make_quick, write_vectors

from stt_bench.benchmark.compare import compare as comparing


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    make_quick(monkeypatch)


@pytest.fixture
def tuned_alone(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a comparison end where all trials are there."""
    for stage in ("measure_untrained", "run"):
        monkeypatch.setattr(comparing._Work, stage, lambda _work: None)
    monkeypatch.setattr(comparing, "report", lambda *_: [None])
    monkeypatch.setattr(comparing, "write_html", lambda *_: None)


@pytest.fixture(scope="session")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a comparison of telling vectors in `out`, and the vectors beside it."""
    root = tmp_path_factory.mktemp("telling")
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
        compared(write_vectors(root, telling=True), root / "out")
    return root
