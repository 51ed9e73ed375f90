"""Result records: one JSON file per (table, row, seed), everything a leaderboard is made of."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, Strict

from stt_bench.benchmark.config.experiment import Experiment, digest_of
from stt_bench.benchmark.store.class_records import ClassRetrieval, ClassScores
from stt_bench.benchmark.store.display import Display
from stt_bench.benchmark.store.distances import OtherDistance
from stt_bench.benchmark.store.duplicates import DuplicateScores
from stt_bench.benchmark.store.facts import Training
from stt_bench.benchmark.store.ledger import Effort
from stt_bench.benchmark.store.names import RowName, Seed, TableName
from stt_bench.benchmark.store.record_checks import faults
from stt_bench.benchmark.store.trials import TuningRecord
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import read_mapping, read_model, write_json

RECORD_SCHEMA: Literal[3] = 3
_AGAIN = "delete it and evaluate again"


class Record(BaseModel):
    """What was measured, on what, by which code, and how to trace it."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[3] = RECORD_SCHEMA
    table: TableName
    row: RowName
    seed: Seed
    display: Display
    metrics: dict[str, Annotated[FiniteFloat, Strict()]]
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
    class_values: ClassRetrieval | None = None  # older records have none
    other_distance: OtherDistance | None = None
    near_duplicates: DuplicateScores | None = None  # None: not looked for, or no images
    tuning: TuningRecord | None = None
    commit: str | None = None  # of the code that trained; None outside a checkout
    probe: dict[str, FiniteFloat] | None = None  # what that code makes of a tiny batch
    effort: Effort | None = None
    checksum: str = ""  # of all the rest; `save` sets it

    def save(self, path: Path) -> None:
        """Write the record, with the checksum of what is written."""
        content = self.model_dump(mode="json")
        write_json(path, content | {"checksum": checksum(content)}, numbers_in_line=True)


def checksum(content: Mapping[str, Any]) -> str:
    """Return the sha256 of the canonical JSON of a record's content but for its checksum."""
    return digest_of({name: value for name, value in content.items() if name != "checksum"})


def record_path(results: Path, table: str, row: str, seed: int) -> Path:
    """Return where the record of an experiment lies."""
    return results / "records" / table / row / f"seed-{seed}.json"


def read_record(path: Path) -> Record:
    """Read one record; all in it that follows from the rest is computed again and compared.

    Raises:
        BenchError: one sentence that names the file and the field.
    """
    content = read_mapping(path, _AGAIN)
    if (schema := content.get("schema_version")) in (1, 2):
        raise BenchError(
            f"{path}: is a record of schema {schema}, this version reads {RECORD_SCHEMA}: run "
            "`python results/migrate_to_schema_3.py RESULTS` of the source tree, or evaluate again"
        )
    record = read_model(path, Record, "a result record", _AGAIN, content=content)
    placed = (path.parent.parent.name, path.parent.name, path.stem)
    if placed != (record.table, record.row, f"seed-{record.seed}"):
        raise BenchError(
            f"{path}: holds the result of {record.table}/{record.row}/seed-{record.seed}; "
            "move it to that place or delete it"
        )
    if wrong := next(faults(record), None):
        raise BenchError(f"{path}: {wrong}: the record was changed after it was made; {_AGAIN}")
    if record.checksum != checksum(content):
        wrong = "not that of the rest" if record.checksum else "missing"
        raise BenchError(
            f"{path}: checksum is {wrong}: the record was changed after it was made; {_AGAIN}"
        )
    return record


def tables_with_records(results: Path) -> list[str]:
    """Return the names of the tables that have records."""
    paths = (results / "records").glob("*/*/seed-*.json")
    return sorted({path.parent.parent.name for path in paths})


def record_paths(results: Path, table: str) -> list[Path]:
    """Return where the records of a table lie that there are."""
    return sorted((results / "records" / table).glob("*/seed-*.json"))


def read_table_records(results: Path, table: str) -> list[Record]:
    """Return the records of one table, ordered by row and seed."""
    paths = record_paths(results, table)
    return sorted(map(read_record, paths), key=lambda r: (r.display.order, r.row, r.seed))


def expected_seconds(results: Path, table: str, row: str, experiment: Experiment) -> float | None:
    """Return how long a row's training takes by its records, or None where it has none.

    That is the mean time of a step, on the machines that made them, × the steps of now.
    """
    each = []
    for path in (results / "records" / table / row).glob("seed-*.json"):
        with suppress(BenchError):
            record = read_record(path)
            if steps := record.experiment.train.steps:
                each.append(record.training.seconds / steps)
    steps = experiment.train.steps
    return steps * sum(each) / len(each) if each else 0.0 if steps == 0 else None
