"""The searches behind the rows of a tuned table, from the journals of their trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.statistics.best_of_n import BestOf, best_of_n
from stt_bench.benchmark.store.records import Record
from stt_bench.benchmark.store.trials import Trial, TuningRecord, on_data, read_trials
from stt_bench.benchmark.tuning.space import NEAR, Dimension, at_bounds, point_of, space_of
from stt_bench.benchmark.tuning.winners import winner

BY_CHANCE = 2 * NEAR  # share of all points that lie at a bound of a dimension


@dataclass(frozen=True)
class RowSearch:
    """The trials that a row's settings come from.

    Attributes:
        row: The row of the leaderboard.
        size: What its records say of the searches.
        trials: Those of the search that the records name, the row's own settings among them.
        records: The row's, one a seed.
    """

    row: Row
    size: TuningRecord
    trials: list[Trial]
    records: list[Record]

    @property
    def tried(self) -> list[Trial]:
        """Return the trials of the studies, without that of the row's own settings."""
        return [t for t in self.trials if not t.is_default]

    @property
    def missing(self) -> int:
        """Return how many trials of the searches are not in the journal."""
        return self.size.studies * self.size.trials - len(self.tried)

    @property
    def failed(self) -> int:
        """Return how many trials of the studies failed."""
        return sum(trial.error is not None for trial in self.tried)

    @property
    def default(self) -> Trial | None:
        """Return the trial of the row's own settings; None where it is not there."""
        return next((trial for trial in self.trials if trial.is_default), None)

    @cached_property
    def winners(self) -> dict[int, Trial]:
        """Return the best trial of each study."""
        found = {study: winner(self.trials, study) for study in range(self.size.studies)}
        return {study: trial for study, trial in found.items() if trial is not None}

    @property
    def objective(self) -> BestOf | None:
        """Return the mean objective of the winners, the lowest and the highest."""
        values = [trial.objective for trial in self.winners.values()]
        return BestOf(float(np.mean(values)), min(values), max(values)) if values else None

    def best_of(self, n: int) -> BestOf | None:
        """Return the expected best of n trials over the studies; a failed one counts as 0."""
        studies: dict[int, list[float]] = {study: [] for study in range(self.size.studies)}
        for trial in self.tried:
            studies[trial.study].append(trial.objective)
        return best_of_n(list(studies.values()), n)

    @cached_property
    def space(self) -> list[Dimension]:
        """Return what was tuned; empty where the trials are of other fields than today's."""
        space = space_of(self.row.experiment)
        fields = {dimension.field for dimension in space}
        return space if all(fields == trial.point.keys() for trial in self.tried) else []

    def at_bounds(self, trial: Trial) -> list[tuple[str, float]]:
        """Return the fields of a winner that sit at a bound, each with that bound.

        That is within 2 % of it in the scaled unit cube.
        """
        return at_bounds(self.space, trial.point)

    def at_longest(self, trial: Trial) -> bool:
        """Tell whether the objective of a winner is highest at the last step there is."""
        return trial.steps >= self.row.experiment.train.steps

    @property
    def seconds(self) -> float:
        """Return what the trials took."""
        return sum(trial.seconds for trial in self.trials)

    @property
    def final_seconds(self) -> float:
        """Return what the training of the seeds took."""
        return sum(record.training.seconds for record in self.records)

    @property
    def strays(self) -> list[int]:
        """Return the seeds that were not trained with the winner of study seed mod studies."""
        strays = []
        for record in self.records:
            own, best = record.tuning, self.winners.get(record.seed % self.size.studies)
            if own is None or best is None:
                strays.append(record.seed)
                continue
            said = own.study, own.index, own.point, own.steps, own.objective
            if said != (best.study, best.index, best.point, best.steps, best.objective):
                strays.append(record.seed)
        return strays


def read_searches(results: Path, board: Leaderboard) -> list[RowSearch]:
    """Return the searches of a board's tuned rows, in the rows' order.

    Of several searches of a row (other data, ranges, folds, validations or patience) it is the one
    whose trials hold the most of the winners that the records name. Trials beyond the numbers of
    studies and trials in the records had no part in them.

    Raises:
        BenchError: a journal is damaged.
    """
    found = []
    for row in board.rows:
        records = [r for r in board.records if r.row == row.name and r.tuning is not None]
        if not records or records[0].tuning is None:
            continue
        size = records[0].tuning
        space = space_of(row.experiment)
        apart: dict[tuple[Any, ...], list[Trial]] = {}
        own: list[Trial] = []
        named = [record.tuning for record in records if record.tuning is not None]
        journal = read_trials(results, board.table, row.name)
        for trial in _on_one_data(journal.trials, named):
            if (trial.base_digest, len(trial.curves)) != (size.base_digest, size.folds):
                continue
            if trial.is_default:
                own.append(trial)
            elif trial.is_within(size.studies, size.trials):
                today = trial.point == point_of(space, trial.study, trial.index)
                apart.setdefault((*trial.search, today), []).append(trial)
        trials = max(apart.values(), key=lambda some: _held(some, named), default=[])
        own = [t for t in own if not trials or t.search == trials[0].search]
        found.append(RowSearch(row, size, [*own[:1], *trials], records))
    return found


def _on_one_data(trials: list[Trial], named: Sequence[TuningRecord]) -> list[Trial]:
    """Return the trials on the training items that hold the most of the winners."""
    hashes = sorted({trial.data_hash for trial in trials if trial.data_hash is not None})
    parts = [on_data(trials, data_hash)[0] for data_hash in hashes] or [trials]
    return max(parts, key=lambda some: _held(some, named))


def _held(trials: Sequence[Trial], named: Sequence[TuningRecord]) -> tuple[int, int]:
    """Return how many of the winners that records name are among trials, and how many those are."""
    there = {(t.study, t.index, t.objective, t.steps) for t in trials}
    return sum((n.study, n.index, n.objective, n.steps) in there for n in named), len(trials)
