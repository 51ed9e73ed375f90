"""From the trials of a row to what its seeds are trained with."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.config.table_sections import TuningConfig
from stt_bench.benchmark.datasets.training_items import training_items
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.store.trials import (
    DEFAULT,
    Journal,
    Trial,
    TuningRecord,
    on_data,
    read_trials,
)
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.tuning.space import at_bounds, own_point, point_of, space_of, value_of

STEPS = "train.steps"


class MissingTrialsError(BenchError):
    """A row lacks trials; says how many, and what to run."""

    def __init__(self, table: Table, row: str, lacks: str) -> None:
        """Make the sentence; `lacks` is what of it may be the same for other rows."""
        self.lacks, self.tune = lacks, table.command_to("tune")
        super().__init__(f"{table.name}/{row} {lacks}: run `{self.tune} --rows {row}` first")


def is_tuned(table: Table, experiment: Experiment) -> bool:
    """Tell whether a row of a table is tuned: all are that train, in a table that says `tuning`."""
    return table.tuning is not None and experiment.train.steps > 0


def valid_trials(
    experiment: Experiment, config: TuningConfig, trials: Sequence[Trial]
) -> tuple[list[Trial], int]:
    """Return the trials of a row's present settings, and how many are of earlier ones.

    A trial is of the present settings where row, folds, stopping rule and, by its study and index,
    the point agree: those of other search ranges are of earlier ones too. Trials beyond the table's
    numbers of studies and trials are neither: no row gets more than the others.
    """
    space, digest = space_of(experiment), experiment.digest()
    search = (digest, config.folds, config.every, config.patience)
    valid, old = [], 0
    for trial in trials:
        if not trial.is_within(config.studies, config.trials):
            continue
        if trial.search != search:
            old += 1
            continue
        point = (
            own_point(experiment, space)
            if trial.index == DEFAULT
            else point_of(space, trial.study, trial.index)
        )
        if trial.point == point:
            valid.append(trial)
        else:
            old += 1
    return valid, old


def winner(trials: Sequence[Trial], study: int) -> Trial | None:
    """Return the best trial of a study, of equal ones the first; None where none succeeded."""
    own = [t for t in trials if t.study == study and not t.is_default and t.error is None]
    return max(own, key=lambda trial: (trial.objective, -trial.index), default=None)


def alarms(experiment: Experiment, trial: Trial) -> list[tuple[str, float]]:
    """Return the fields of a winner that sit at a bound of their range, each with that bound."""
    return at_bounds(space_of(experiment), trial.point)


def tuned_experiment(
    experiment: Experiment, config: TuningConfig, trials: Sequence[Trial], study: int
) -> tuple[Experiment, TuningRecord]:
    """Return a row with the settings and length of a study's winner, and what the record says.

    Raises:
        BenchError: no trial of the study succeeded.
    """
    best = winner(trials, study)
    if best is None:
        raise BenchError(f"every trial of study {study} failed: see `error` in its lines")
    values = {**best.point, STEPS: best.steps}
    record = TuningRecord(
        study=study,
        index=best.index,
        point=best.point,
        steps=best.steps,
        studies=config.studies,
        trials=config.trials,
        folds=config.folds,
        objective=best.objective,
        base_digest=best.base_digest,
        before={field: value_of(experiment, field) for field in values},
    )
    return experiment.with_values(values), record


def missing_trials(config: TuningConfig, trials: Sequence[Trial]) -> list[tuple[int, int]]:
    """Return (study, index) of each trial that is not there yet, the row's own settings first."""
    there = {(trial.study, trial.index) for trial in trials}
    wanted = [(0, DEFAULT)]
    wanted += [(study, i) for study in range(config.studies) for i in range(config.trials)]
    return [one for one in wanted if one not in there]


def tuned_run(winners: Winners, row: str, seed: int, runs: Path) -> Run:
    """Return the run of a row's seed, with the settings that its tuning chose.

    Raises:
        BenchError: trials are missing; the sentence says what to run.
    """
    experiment, record = winners.of(row, seed)
    return replace(run_of(winners.table, row, seed, runs), experiment=experiment, tuning=record)


class TrainingHashes:
    """The hashes of the training items of rows."""

    def __init__(self) -> None:
        """Know none yet."""
        self._known: dict[str, str | None] = {}

    def of(self, experiment: Experiment) -> str | None:
        """Return the hash of what a row trains on; None where that is not here, or broken."""
        key = experiment.data.model_dump_json()
        if key not in self._known:
            self._known[key] = None
            with suppress(BenchError):  # is told where they are used
                self._known[key] = training_items(experiment.data, download=False).data_hash
        return self._known[key]


class Winners:
    """What the seeds of a table's rows are trained with, by the journals below `results`."""

    def __init__(self, table: Table, results: Path) -> None:
        """Read nothing yet."""
        self.table, self.results = table, results
        self._hashes = TrainingHashes()
        self._read: dict[str, list[Trial]] = {}

    def of(self, row: str, seed: int) -> tuple[Experiment, TuningRecord | None]:
        """Return the settings of a row's seed; of a row that is not tuned, its own.

        Raises:
            BenchError: trials are missing; the sentence says what to run.
        """
        experiment, config = self.table.rows[row], self.table.tuning
        if config is None or not is_tuned(self.table, experiment):
            return experiment, None
        if row not in self._read:
            self._read[row] = self._complete(row, experiment, config)
        try:
            return tuned_experiment(experiment, config, self._read[row], seed % config.studies)
        except BenchError as error:
            raise BenchError(f"{self.table.name}/{row}: {error}") from None

    def _complete(self, row: str, experiment: Experiment, config: TuningConfig) -> list[Trial]:
        journal: Journal = read_trials(self.results, self.table.name, row)
        here, elsewhere = on_data(journal.trials, self._hashes.of(experiment))
        valid, old = valid_trials(experiment, config, here)
        if missing := missing_trials(config, valid):
            total = config.studies * config.trials + 1
            earlier = f"; {old} are of other settings than the row's present ones" if old else ""
            if elsewhere:
                earlier += f"; {elsewhere} are of other training data than lie here now"
            lacks = f"lacks {len(missing)} of its {total} trials{earlier}"
            raise MissingTrialsError(self.table, row, lacks)
        return valid
