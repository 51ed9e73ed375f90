"""A run's folder: ``runs/TABLE/ROW/seed-N/``, what lies in it and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark.config import Experiment
from benchmark.errors import BenchError
from benchmark.files import read_json, write_json
from benchmark.tables import Table

RUN_SCHEMA = 1


@dataclass(frozen=True)
class Run:
    """One experiment of a table and the folder it lives in."""

    table: str
    row: str
    seed: int
    experiment: Experiment
    folder: Path
    listing: dict[str, Any]  # title, description and place in the table: for the leaderboard only

    @property
    def name(self) -> str:
        """Return ``TABLE/ROW/seed-N``."""
        return f"{self.table}/{self.row}/seed-{self.seed}"

    @property
    def weights(self) -> Path:
        """Return the file of the trained network; its presence says that training is complete."""
        return self.folder / "model.safetensors"

    @property
    def checkpoint(self) -> Path:
        """Return the file an unfinished training continues from."""
        return self.folder / "checkpoint.pt"

    @property
    def training(self) -> Path:
        """Return the file with the facts of a complete training (time, memory, hashes)."""
        return self.folder / "training.json"

    @property
    def metrics(self) -> Path:
        """Return the file of the training's health metrics, one JSON object a line."""
        return self.folder / "metrics.jsonl"

    def embeddings(self, split: str = "test") -> Path:
        """Return the folder of an embedding set."""
        return self.folder / "embeddings" / split

    def save(self) -> None:
        """Write ``run.json``, the resolved config.

        Raises:
            BenchError: the folder holds work done with other settings (named in the sentence).
        """
        file = self.folder / "run.json"
        content = {
            "schema": RUN_SCHEMA,
            "table": self.table,
            "row": self.row,
            "seed": self.seed,
            "training_digest": self.experiment.training_digest(),
            "listing": self.listing,
            "experiment": self.experiment.model_dump(mode="json"),
        }
        if file.exists() and (self.training.exists() or self.checkpoint.exists()):
            before = read_json(file)
            if before.get("training_digest") != content["training_digest"]:
                ours = self.experiment.model_dump(mode="json", exclude={"label", "evaluation"})
                changed = _first_difference(before.get("experiment"), ours)
                raise BenchError(
                    f"{self.folder} holds a run with another '{changed}'; add --force to train "
                    "it again, or name another folder with --runs"
                )
        write_json(file, content)


def run_of(table: Table, row: str, seed: int, runs: Path) -> Run:
    """Return the run of one row and seed of a table, below the folder ``runs``."""
    listing = {
        "label": table.rows[row].label or row,
        "title": table.title,
        "description": table.description,
        "order": list(table.rows).index(row),
    }
    folder = runs / table.name / row / f"seed-{seed}"
    return Run(table.name, row, seed, table.rows[row], folder, listing)


def open_run(folder: Path) -> Run:
    """Return the run whose folder is given.

    Raises:
        BenchError: the folder holds no run, or one this version cannot read.
    """
    file = folder / "run.json"
    if not file.exists():
        raise BenchError(f"{folder} is not a run: there is no run.json in it")
    content = read_json(file)
    if content.get("schema") != RUN_SCHEMA:
        raise BenchError(f"{file}: schema {content.get('schema')} is not {RUN_SCHEMA}; train again")
    try:
        experiment = Experiment.model_validate(content["experiment"])
        return Run(
            content["table"],
            content["row"],
            content["seed"],
            experiment,
            folder,
            content["listing"],
        )
    except (KeyError, ValidationError) as error:
        raise BenchError(f"{file}: is not a run of this version ({error}); train again") from None


def _first_difference(before: Any, now: Any, path: str = "") -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in now:
            if before.get(key) != now[key]:
                return _first_difference(before.get(key), now[key], f"{path}.{key}".lstrip("."))
    return path
