"""What a process does that makes trials."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.tuning import tasks


class Told(Reporter):
    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    warn = say


@pytest.mark.parametrize(("device", "count"), [("auto", 1), ("cpu", 0)])
def test_which_device_auto_is_is_said_once(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, device: str, count: int
) -> None:
    monkeypatch.setattr(tasks, "run_trial", lambda *_, **__: None)
    experiment = load_table(str(tiny), [f"train.device={device}"]).rows["softmax"]
    data: Any = SimpleNamespace(of=lambda *_: None)
    config: Any = SimpleNamespace(folds=2)
    told = Told()
    worker = tasks.Worker(config, told, data, threading.Event())
    for index in range(2):
        worker.do(tasks.ToTry("softmax", experiment, study=0, index=index, point={}))
    assert [line.startswith("train.device: auto is ") for line in told.lines] == [True] * count
