"""A run's folder: ``runs/TABLE/ROW/seed-N/``, what lies in it and what it says of itself."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.store.display import Display, display_of
from stt_bench.benchmark.store.facts import Origin, TrainingFacts
from stt_bench.benchmark.store.names import RowName, Seed, TableName
from stt_bench.benchmark.store.progress import progress_file
from stt_bench.benchmark.store.trials import TuningRecord
from stt_bench.benchmark.system.atomic import check_way, discard_folder, remove_unlinked
from stt_bench.benchmark.system.errors import BenchError, OtherSettingsError
from stt_bench.benchmark.system.files import check_not_newer, read_mapping, read_model, write_json

RUN_SCHEMA: Literal[2] = 2

_OURS = {
    "run.json",
    "training.json",
    "checkpoint.pt",
    "model.safetensors",
    "error.txt",
    "failed.json",
}


@dataclass(frozen=True)
class Run:
    """One experiment of a table and the folder it lives in."""

    table: str
    row: str
    seed: int
    experiment: Experiment
    folder: Path
    display: Display
    tuning: TuningRecord | None = None

    @property
    def name(self) -> str:
        """Return ``TABLE/ROW/seed-N``."""
        return f"{self.table}/{self.row}/seed-{self.seed}"

    @property
    def base_digest(self) -> str:
        """Return the digest of the row's settings before tuning, if it is tuned."""
        return self.experiment.digest() if self.tuning is None else self.tuning.base_digest

    @property
    def weights(self) -> Path:
        """Return the file of the trained network; its presence says that training is complete."""
        return self.folder / "model.safetensors"

    @property
    def common(self) -> Path:
        """Return the folder of what runs have in common on the disk: frozen parts of networks."""
        return self.folder.absolute().parents[2] / ".frozen"

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

    @property
    def failure(self) -> Path:
        """Return the file with the sentence of why the run failed, until it succeeds."""
        return self.folder / "failed.json"

    def note_failure(self, told: str | None) -> None:
        """Write why the run failed; or, with None, that it did not. A full disk is no matter."""
        with suppress(BenchError, OSError):
            if told is None:
                self.failure.unlink(missing_ok=True)
            else:
                write_json(self.failure, {"failed": told})

    def told_failure(self) -> str | None:
        """Return why the run failed the last time, in a sentence; None if it did not."""
        try:
            told = read_mapping(self.failure).get("failed")
        except BenchError:
            return None
        return told if isinstance(told, str) else None

    def forget_the_way(self) -> None:
        """Remove what only an unfinished training needs."""
        self.checkpoint.unlink(missing_ok=True)
        progress_file(self.folder).unlink(missing_ok=True)

    def embeddings(self, split: str = "test") -> Path:
        """Return the folder of an embedding set."""
        return self.folder / "embeddings" / split

    def discard(self) -> None:
        """Remove the folder, at once also for a process that is killed in the middle.

        So is what it was the last to have in common with others.

        Raises:
            BenchError: what lies in it is no run.
        """
        self.check_ours()
        if self.folder.exists():
            discard_folder(self.folder)
            remove_unlinked(self.common)

    def check_ours(self) -> None:
        """Check that a run, or nothing, lies in the folder.

        Raises:
            BenchError: what lies in it is no run, or a file is in its way.
        """
        check_way(self.folder)
        names = {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()
        if names and not names & _OURS:
            raise BenchError(
                f"{self.folder} holds files that are no run and would be lost: move them, or "
                "name another folder with --runs"
            )

    @property
    def is_idle(self) -> bool:
        """Tell whether a training of no step is all that lies there: nothing would be lost."""
        if self.checkpoint.exists() or any(self.folder.glob("embeddings/*/meta.json")):
            return False
        return self._trained("steps") == 0

    def forget_idle(self) -> None:
        """Remove what says that an idle training is finished: another takes its place."""
        if self.is_idle:
            self.training.unlink()

    def _trained(self, key: str) -> Any:
        """Return a value of ``training.json``; None where there is none."""
        try:
            return read_mapping(self.training).get(key)
        except BenchError:
            return None

    @property
    def is_trained(self) -> bool:
        """Tell whether the training came to its end; an idle one of other settings is none."""
        there = self.training.exists() and self.weights.exists()
        return there and not (
            self.is_idle and self._trained("training_digest") != self.experiment.training_digest()
        )

    def facts(self, *, with_weights: bool = True) -> TrainingFacts:
        """Return what ``training.json`` says of the finished training.

        Without `with_weights` they may be gone since.

        Raises:
            BenchError: training is not finished, or was of other settings or another seed.
        """
        if not (self.is_trained if with_weights else self.training.exists()):
            raise BenchError(f"{self.folder} is not trained to its end: run `stt-bench train`")
        facts = read_model(
            self.training, TrainingFacts, "the facts of a training", "train again with --force"
        )
        facts.check(self.origin(facts.data_hash, facts.initial_weights), self.folder)
        return facts

    def origin(self, data_hash: str, initial_weights: str) -> Origin:
        """Return what the run is trained from, with the data and starting weights of now."""
        return Origin(
            training_digest=self.experiment.training_digest(),
            seed=self.seed,
            data_hash=data_hash,
            initial_weights=initial_weights,
        )

    def check_settings(self) -> None:
        """Check that what the folder holds, if anything, is of the present settings.

        Raises:
            OtherSettingsError: it holds work done with other settings; one is named.
            BenchError: it holds work done by a newer version.
        """
        check_not_newer(lambda: open_run(self.folder))
        check_not_newer(lambda: self.facts(with_weights=False))
        if (self.training.exists() or self.checkpoint.exists()) and not self.is_idle:
            before = _as_it_was(self.folder / "run.json")
            if before and before.get("training_digest") != self.experiment.training_digest():
                ours = self.experiment.model_dump(mode="json", exclude={"label", "evaluation"})
                changed = _first_difference(before.get("experiment"), ours) or "evaluation.distance"
                raise OtherSettingsError(
                    f"{self.folder} holds a run with another '{changed}'; train it "
                    "again with --force, or name another folder with --runs"
                )

    def save(self) -> None:
        """Write ``run.json``, the resolved config.

        Raises:
            BenchError: as `check_settings`.
        """
        self.check_settings()
        content = {
            "schema": RUN_SCHEMA,
            "table": self.table,
            "row": self.row,
            "seed": self.seed,
            "training_digest": self.experiment.training_digest(),
            "display": self.display.model_dump(mode="json"),
            "experiment": self.experiment.model_dump(mode="json"),
        }
        if self.tuning is not None:
            content["tuning"] = self.tuning.model_dump(mode="json")
        write_json(self.folder / "run.json", content)


def run_of(table: Table, row: str, seed: int, runs: Path) -> Run:
    """Return the run of one row and seed of a table, below the folder ``runs``."""
    folder = runs / table.name / row / f"seed-{seed}"
    return Run(table.name, row, seed, table.rows[row], folder, display_of(table, row))


def open_run(folder: Path) -> Run:
    """Return the run whose folder is given.

    Raises:
        BenchError: the folder holds no run, or one this version cannot read.
    """
    file = folder / "run.json"
    if not file.exists():
        raise BenchError(f"{folder} is not a run: {_why_no_run(folder)}")
    raw = read_mapping(file, "train again")
    if raw.get("schema") == 1:
        raise BenchError(
            f"{file}: was written by an earlier version; `stt-bench run` or `stt-bench train` of "
            "its row brings it up to date, without training again"
        )
    content = read_model(file, _RunFile, "a run of this version", "train again", content=raw)
    return Run(
        content.table,
        content.row,
        content.seed,
        content.experiment,
        folder,
        content.display,
        content.tuning,
    )


class _RunFile(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    schema_version: Literal[2] = Field(alias="schema")
    table: TableName
    row: RowName
    seed: Seed
    experiment: Experiment
    display: Display
    tuning: TuningRecord | None = None
    training_digest: str | None = None  # it follows from `experiment`


def _why_no_run(folder: Path) -> str:
    if not folder.exists():
        return "there is no such folder"
    below = sorted(file.parent for file in folder.glob("*/run.json"))
    return "there is no run.json in it" + (f"; did you mean '{below[0]}'?" if below else "")


def _as_it_was(file: Path) -> dict[str, Any]:
    """Return the content of a ``run.json``; nothing if it is broken.

    What it says of the settings stands in ``training.json`` and in the checkpoint too.
    """
    try:
        return read_mapping(file)
    except BenchError:
        return {}


def _first_difference(before: Any, now: Any) -> str:
    """Return the field that differs; one that `before` lacks, being younger, only if no other."""
    known, young = [], []
    todo = [("", before, now)]
    while todo:
        path, then, value = todo.pop(0)
        if isinstance(then, dict) and isinstance(value, dict):
            for key in value:
                at = f"{path}.{key}".lstrip(".")
                if key in then:
                    todo.append((at, then[key], value[key]))
                elif value[key] is not None:
                    young.append(at)
        elif then != value:
            known.append(path)
    return [*known, *young, ""][0]
