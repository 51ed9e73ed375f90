"""Trials of a row: one JSON object a line, in ``results/tuning/TABLE/ROW.jsonl``.

A shard of the work writes ``ROW.i-of-n.jsonl`` beside it; what is read is the union of them all,
so that merging the work of several machines is copying files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from stt_bench.benchmark.system.atomic import append_lines
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import first_fault, newer

DEFAULT = -1  # index of the row's own settings, in study 0
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]


class Trial(BaseModel):
    """One point that was tried on all folds.

    Attributes:
        study: The search that the point belongs to.
        index: Its place in that search; `DEFAULT` for the row's own settings, which never win.
        point: Dotted field of the experiment, and its value.
        base_digest: Digest of the row before tuning.
        start: Steps before the first of them, those of the phases.
        every: Steps between two validations.
        patience: Validations without a better mean that ended the trial.
        curves: Of each fold, the objective at each validation; all of one length.
        objective: The highest mean over the folds, at one validation; 0 of a trial that failed.
        steps: The length at which it is highest.
        seconds: What the trial took.
        commit: Of the source tree.
        data_hash: Of the training items; None in journals of before it was written.
        error: Why the trial failed; None if it did not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: Count
    index: Annotated[int, Field(ge=DEFAULT)]
    point: dict[str, Annotated[int | float, Field(allow_inf_nan=False)]]
    base_digest: Digest
    start: Count = 0
    every: Annotated[int, Field(ge=1)]
    patience: Annotated[int, Field(ge=1)]
    curves: Annotated[list[list[FiniteFloat]], Field(min_length=2)]
    objective: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    steps: Count
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    commit: str | None = None
    data_hash: Digest | None = None
    error: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Trial:
        if self.index == DEFAULT and self.study != 0:
            raise ValueError(f"index {DEFAULT}, the row's own settings, belongs to study 0")
        if len({len(curve) for curve in self.curves}) > 1:
            raise ValueError("the curves of the folds are of different lengths")
        if self.error is not None:
            if self.objective or self.steps:
                raise ValueError("a trial that failed has objective 0 and 0 steps")
            return self
        mean = mean_curve(self.curves)
        if not mean:
            raise ValueError("a trial without a validation must say its error")
        best = max(mean)
        if abs(self.objective - best) > 1e-9:
            raise ValueError(f"objective {self.objective} is not the highest mean, {best}")
        place = mean.index(best)
        if not place * self.every < self.steps - self.start <= (place + 1) * self.every:
            raise ValueError(
                f"the highest mean is at validation {place + 1}, not step {self.steps}"
            )
        return self

    @property
    def search(self) -> tuple[str, int, int, int]:
        """Return what the trials of one search share: the row, folds, and stopping rule."""
        return self.base_digest, len(self.curves), self.every, self.patience

    @property
    def key(self) -> tuple[Any, ...]:
        """Return what tells the trials of a row on the same data apart.

        The point is part of it, since ranges may have changed.
        """
        return *self.search, self.study, self.index, *sorted(self.point.items())

    @property
    def is_default(self) -> bool:
        """Tell whether the trial is of the row's own settings."""
        return self.index == DEFAULT

    def is_within(self, studies: int, trials: int) -> bool:
        """Tell whether the trial is one of so many studies of so many trials."""
        return self.study < studies and self.index < trials

    def agrees(self, other: Trial) -> bool:
        """Tell whether another trial found the same; when, how fast and by which commit apart."""
        beside = {"seconds", "commit"}
        return self.model_dump(exclude=beside) == other.model_dump(exclude=beside)


class TuningRecord(BaseModel):
    """What a record says of the search that chose its settings.

    Attributes:
        study: The search whose winner was trained.
        index: The winner's place in it.
        point: Its values, by the dotted fields of the experiment.
        steps: The length that was trained.
        studies: Searches of the row, each of so many `trials` on so many `folds`.
        objective: The winner's mean over the folds.
        base_digest: Digest of the row before tuning, the same for all its seeds.
        before: The row's own values of the tuned fields and `train.steps`; None: it gave none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: Count
    index: Count
    point: dict[str, Annotated[int | float, Field(allow_inf_nan=False)]]
    steps: Annotated[int, Field(ge=1)]
    studies: Annotated[int, Field(ge=1)]
    trials: Annotated[int, Field(ge=1)]
    folds: Annotated[int, Field(ge=2)]
    objective: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    base_digest: Digest
    before: dict[str, Annotated[int | float, Field(allow_inf_nan=False)] | None] = {}

    @property
    def tuned(self) -> frozenset[str]:
        """Return the dotted fields that the search has chosen."""
        return frozenset(self.before)


class Journal(BaseModel):
    """The trials of a row by study and index, and sentences on lines that are left out."""

    trials: list[Trial]
    notes: list[str] = []


def on_data(trials: Iterable[Trial], data_hash: str | None) -> tuple[list[Trial], int]:
    """Return the trials on training items of a hash, and how many are on others.

    A trial that does not tell its hash counts where no other of its key does. Where the hash of
    today's data is None, not known, none is on others.
    """
    there: dict[tuple[Any, ...], Trial] = {}
    others = 0
    for trial in trials:
        if trial.data_hash is None:
            there.setdefault(trial.key, trial)
        elif data_hash in (None, trial.data_hash):
            there[trial.key] = trial
        else:
            others += 1
    return list(there.values()), others


def mean_curve(curves: list[list[float]]) -> list[float]:
    """Return the mean over the folds at each validation."""
    return [sum(values) / len(values) for values in zip(*curves, strict=True)]


def journal_path(results: Path, table: str, row: str, shard: tuple[int, int] | None = None) -> Path:
    """Return the file that holds the trials of a row, or of shard i of n (from 1)."""
    part = "" if shard is None or shard == (1, 1) else f".{shard[0]}-of-{shard[1]}"
    return results / "tuning" / table / f"{row}{part}.jsonl"


def read_trials(results: Path, table: str, row: str) -> Journal:
    """Return all trials of a row, from all its files, sorted by study and index.

    A trial that stands twice counts once. A last line that a kill cut off is left out, which a
    note tells. Trials of other settings than the row's are among them: see `Trial.base_digest`.

    Raises:
        BenchError: a line is no trial, or two that should be the same differ.
    """
    folder, notes = results / "tuning" / table, []
    trials: dict[Any, tuple[Trial, str]] = {}
    name = re.compile(re.escape(row) + r"(\.[0-9]+-of-[0-9]+)?\.jsonl")
    for path in sorted(folder.glob("*.jsonl")):
        if not name.fullmatch(path.name):
            continue
        found, cut = _read(path)
        if cut:
            notes.append(f"{path}: its last line is cut off and left out; the trial is made again")
        for number, trial in found:
            before = trials.setdefault(
                (trial.key, trial.data_hash), (trial, f"{path}, line {number}")
            )
            if not before[0].agrees(trial):
                raise BenchError(
                    f"{path}, line {number}: trial {trial.index} of study {trial.study} differs "
                    f"from {before[1]}: delete one of the two lines"
                )
    ordered = sorted((trial for trial, _ in trials.values()), key=lambda t: (t.study, t.index))
    return Journal(trials=ordered, notes=notes)


def append_trials(path: Path, trials: Iterable[Trial]) -> None:
    """Add trials to a file; a line that was cut off is removed.

    Raises:
        BenchError: the file cannot be written.
    """
    append_lines(path, (trial.model_dump_json() for trial in trials))


def _read(path: Path) -> tuple[list[tuple[int, Trial]], bool]:
    """Return the trials of a file with their lines (from 1), and whether the last is cut off."""
    lines = path.read_bytes().split(b"\n")
    cut = bool(lines.pop())  # what follows the last end of a line
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append((number, Trial.model_validate(json.loads(line))))
        except ValidationError as error:
            told = newer(error) or f"is no trial: {first_fault(error)}; delete it"
            raise BenchError(f"{path}, line {number}: {told}") from None
        except (ValueError, RecursionError):
            raise BenchError(f"{path}, line {number}: is no trial; delete the line") from None
    return found, cut
