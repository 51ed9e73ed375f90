"""Result records: one JSON file per (table, row, seed), everything a leaderboard is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.store.display import Display
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import read_mapping, read_model, write_json

RECORD_SCHEMA: Literal[2] = 2


class Training(BaseModel):
    """What a training cost, and on what it ran."""

    model_config = ConfigDict(extra="forbid")

    seconds: float
    images_per_second: float | None
    peak_memory_mib: float
    trained_parameters: int
    collapsed_at: int | None
    selected_step: int | None = None
    inactive: bool = False  # the loss has terms, and no logged step had any
    device: str
    threads: int


class ClassScores(BaseModel):
    """How a classifier did on each class of the test split."""

    model_config = ConfigDict(extra="forbid")

    labels: list[str]
    items: list[int]
    recall: list[float | None]  # None: no test item is of this class
    confusion: list[str]  # of each true class: `predicted:count` where the count is not 0

    @classmethod
    def of(cls, labels: list[str], confusion: np.ndarray) -> ClassScores:
        """Return the scores of a (C, C) confusion matrix of counts, true classes in rows."""
        items = np.rint(confusion.sum(axis=1)).astype(int).tolist()
        return cls(
            labels=labels,
            items=items,
            recall=[row[i] / n if (n := items[i]) else None for i, row in enumerate(confusion)],
            confusion=[
                " ".join(f"{j}:{row[j]:.12g}" for j in np.flatnonzero(row)) for row in confusion
            ],
        )

    def confusion_matrix(self) -> np.ndarray:
        """Return the (C, C) counts, true classes in rows."""
        matrix = np.zeros((len(self.labels), len(self.labels)))
        for row, cells in zip(matrix, self.confusion, strict=True):
            for cell in cells.split():
                column, _, count = cell.partition(":")
                row[int(column)] = float(count)
        return matrix


class Record(BaseModel):
    """What was measured, on what, by which code, and how to trace it."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[2] = RECORD_SCHEMA
    table: str
    row: str
    seed: int
    display: Display
    metrics: dict[str, float]
    experiment: Experiment
    config_digest: str
    protocol: dict[str, Any]
    protocol_fingerprint: str
    data_hash: str
    checkpoint_sha256: str
    embeddings_sha256: str
    training: Training
    versions: dict[str, str]
    evaluated_with: dict[str, str] = {}
    per_class: ClassScores | None = None

    def save(self, path: Path) -> None:
        """Write the record."""
        write_json(path, self.model_dump(mode="json"))


def record_path(results: Path, table: str, row: str, seed: int) -> Path:
    """Return where the record of an experiment lies."""
    return results / "records" / table / row / f"seed-{seed}.json"


def read_record(path: Path) -> Record:
    """Read and check one record."""
    content = read_mapping(path)
    if content.get("schema_version") == 1:
        raise BenchError(
            f"{path}: is a record of schema 1, this version reads {RECORD_SCHEMA}: run "
            "`python results/migrate_to_schema_2.py RESULTS` of the source tree, or evaluate again"
        )
    record = read_model(path, Record, "a result record", "evaluate again", content=content)
    placed = (path.parent.parent.name, path.parent.name, path.stem)
    if placed != (record.table, record.row, f"seed-{record.seed}"):
        raise BenchError(
            f"{path}: holds the result of {record.table}/{record.row}/seed-{record.seed}; "
            "move it to that place or delete it"
        )
    return record


def read_records(results: Path) -> dict[str, list[Record]]:
    """Return all records below ``results/records``, by table, ordered by row and seed."""
    tables: dict[str, list[Record]] = {}
    for path in sorted((results / "records").glob("*/*/seed-*.json")):
        record = read_record(path)
        tables.setdefault(record.table, []).append(record)
    for records in tables.values():
        records.sort(key=lambda r: (r.display.order, r.row, r.seed))
    return tables
