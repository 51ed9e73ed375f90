"""Two rows of the tiny table with their runs and records, made once and copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from command_line import Command, Done

from stt_bench.benchmark.store.class_records import ClassRetrieval
from stt_bench.benchmark.store.records import Record, read_record
from stt_bench.benchmark.suite import load_table, run_table
from stt_bench.benchmark.system.progress import Reporter


class Made(NamedTuple):
    """A folder with ``runs`` and ``results``, and how to call a command on them."""

    folder: Path
    call: Callable[..., Done]

    def record(self, row: str = "softmax", seed: int = 0) -> Path:
        return self.folder / "results" / "records" / "tiny" / row / f"seed-{seed}.json"

    def run(self, row: str = "softmax", seed: int = 0) -> Path:
        return self.folder / "runs" / "tiny" / row / f"seed-{seed}"


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory, tiny_text: str) -> Path:
    folder = tmp_path_factory.mktemp("made")
    (folder / "tiny.yaml").write_text(tiny_text)
    run_table(
        load_table(str(folder / "tiny.yaml"), ["train.steps=3"]),
        rows=["softmax", "hard"],
        seeds=[0, 1],
        runs=folder / "runs",
        results=folder / "results",
        force=False,
        reporter=Reporter(quiet=True),
    )
    return folder


@pytest.fixture
def made(made_once: Path, tmp_path: Path, stt_bench: Command) -> Made:
    folder = tmp_path / "made"
    shutil.copytree(made_once, folder)

    def call(*arguments: object, runs: str | None = "runs") -> Done:
        where = () if runs is None else ("--runs", folder / runs)
        return stt_bench(*arguments, *where, "--results", folder / "results")

    return Made(folder, call)


def cheat(path: Path, factor: float = 1.1) -> Record:
    """Raise MAP@R in a record, and all in it that has to fit: every check of a reader passes."""
    record = read_record(path)
    held = record.class_values
    assert held is not None
    own = held.metrics["map@r"]
    share = own.model_copy(
        update={
            "sums": [factor * value for value in own.sums],
            "values": [factor * value for value in own.values],
        }
    )
    fitting = ClassRetrieval.model_validate(
        held.model_dump() | {"metrics": {**held.metrics, "map@r": share}}
    )
    metrics = record.metrics | {"map@r": factor * record.metrics["map@r"]}
    edited = record.model_copy(update={"metrics": metrics, "class_values": fitting})
    edited.save(path)
    return read_record(path)
