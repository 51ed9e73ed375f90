"""What is there of the searches of a table's rows, and what is to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.config.table_sections import TuningConfig
from stt_bench.benchmark.jobs.work import shard_of
from stt_bench.benchmark.store.trials import DEFAULT, Trial, on_data, read_trials
from stt_bench.benchmark.tuning.space import Point, only_rates, own_point, point_of, space_of
from stt_bench.benchmark.tuning.winners import (
    TrainingHashes,
    is_tuned,
    missing_trials,
    valid_trials,
)

Shard = tuple[int, int]
Place = tuple[int, int]  # study and index of a trial


@dataclass
class Search:
    """A row's search: what is there and what is to do."""

    row: str
    experiment: Experiment
    valid: list[Trial]
    missing: list[Place]
    data_hash: str | None  # of the training items; None where they are not here
    notes: list[str] = field(default_factory=list)


def searches(
    table: Table,
    config: TuningConfig,
    results: Path,
    *,
    rows: Sequence[str] | None,
    shard: Shard = (1, 1),
) -> list[Search]:
    """Return the searches of the chosen rows; a shard's are every n-th of all their trials.

    Raises:
        BenchError: a row cannot be tuned, or its journal is damaged.
    """
    hashes = TrainingHashes()
    found, number = [], 0
    for row, experiment in table.select(rows).items():
        if not is_tuned(table, experiment):
            continue
        journal = read_trials(results, table.name, row)
        data_hash = hashes.of(experiment)
        here, elsewhere = on_data(journal.trials, data_hash)
        valid, old = valid_trials(experiment, config, here)
        there = {(trial.study, trial.index) for trial in valid}
        missing = []
        for place in missing_trials(config, []):  # numbered alike whatever is there already
            number += 1
            if place not in there and (number - 1) % shard[1] == shard[0] - 1:
                missing.append(place)
        notes = list(journal.notes)
        if elsewhere:
            notes.append(
                f"{table.name}/{row}: {elsewhere} trial(s) are of other training data than lie "
                "here now and count no more"
            )
        if old:
            notes.append(
                f"{table.name}/{row}: {old} trial(s) are of earlier settings of the row or of the "
                "search and count no more"
            )
        if only_rates(experiment):
            notes.append(
                f"{table.name}/{row}: no ranges are known for the parameters of "
                f"{experiment.loss.name}: its learning rates alone are tuned"
            )
        found.append(Search(row, experiment, valid, missing, data_hash, notes))
    return found


def number_of_trials(
    table: Table, config: TuningConfig, *, rows: Sequence[str] | None, shard: Shard
) -> int:
    """Return how many trials a shard of the chosen rows' searches has, made or not."""
    tuned = [one for one in table.select(rows).values() if is_tuned(table, one)]
    return len(shard_of(range(len(tuned) * len(missing_trials(config, []))), shard))


def points(experiment: Experiment, places: Sequence[Place]) -> Iterator[tuple[Place, Point]]:
    """Yield the point of each place in a row's search."""
    space = space_of(experiment)
    for study, index in places:
        own = index == DEFAULT
        point = own_point(experiment, space) if own else point_of(space, study, index)
        yield (study, index), point
