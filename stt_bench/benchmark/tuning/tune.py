"""All trials of a table's rows: those that no journal has yet, one after the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.config.table_sections import TuningConfig
from stt_bench.benchmark.datasets.training_items import training_items
from stt_bench.benchmark.store.locks import InUseError, locked
from stt_bench.benchmark.store.trials import (
    Trial,
    append_trials,
    journal_path,
    on_data,
    read_trials,
)
from stt_bench.benchmark.system.errors import BenchError, TrainingStopped
from stt_bench.benchmark.system.progress import Reporter, duration
from stt_bench.benchmark.training.checks import idle_classifiers
from stt_bench.benchmark.training.stop import stop_requested
from stt_bench.benchmark.tuning.searches import Place, Search, Shard, points, searches
from stt_bench.benchmark.tuning.trial import Material, check_folds, run_trial
from stt_bench.benchmark.tuning.winners import alarms, valid_trials, winner


def tune(
    table: Table,
    config: TuningConfig,
    results: Path,
    reporter: Reporter,
    *,
    rows: Sequence[str] | None = None,
    shard: Shard = (1, 1),
) -> None:
    """Run all trials of the chosen rows that no journal has yet, and write each as it ends.

    Rows that another process tunes come last. A row that fails is told, and the others go on. The
    test split is not looked at. Before the first trial each row's sampler is held against the
    folds.

    Raises:
        BenchError: a sampler does not fit the folds, and nothing was tuned; or rows could not be
            tuned.
        TrainingStopped: the user stopped it; the same call continues.
    """
    todo = searches(table, config, results, rows=rows, shard=shard)
    for note in (note for search in todo for note in search.notes):
        reporter.say(note)
    if idle := idle_classifiers(table.select(rows)):
        reporter.warn(f"{table.name}: {idle}")
    left = _tell_price(table, config, todo, reporter)
    later = []
    with stop_requested() as stop:
        work = _Work(table, config, results, shard, stop, reporter, left)
        work.check([search for search in todo if search.missing])
        for search in todo:
            try:
                if search.missing:
                    work.attempt(search)
            except InUseError:
                reporter.say(f"{table.name}/{search.row} is tuned by another stt-bench: comes last")
                later.append(search)
        for search in later:
            reporter.say(f"{table.name}/{search.row}: waits for the other stt-bench")
            work.attempt(search, wait=True)
    _tell_end(table, config, results, rows, reporter)
    if len(work.failed) == 1:
        raise next(iter(work.failed.values()))
    if work.failed:
        raise BenchError(
            f"{len(work.failed)} rows could not be tuned, see above: {', '.join(work.failed)}; the "
            "same command tries them again"
        )


@dataclass
class _Work:
    """What the rows of a table share while they are tuned one after the other."""

    table: Table
    config: TuningConfig
    results: Path
    shard: Shard
    stop: threading.Event
    reporter: Reporter
    left: int  # trials whose price is not told yet
    data: _Data = field(default_factory=lambda: _Data())
    failed: dict[str, Exception] = field(default_factory=dict)  # by row

    def check(self, todo: Sequence[Search]) -> None:
        """Hold every row's sampler against the folds; one sentence for all that do not fit.

        Raises:
            BenchError: one or more do not.
        """
        misfits: dict[str, list[str]] = {}
        for search in todo:
            try:
                material = self.data.of(search.experiment, self.config.folds)
            except BenchError:
                continue  # is told where the row is tuned
            try:
                check_folds(search.experiment, material.folds)
            except BenchError as error:
                misfits.setdefault(str(error), []).append(search.row)
        if misfits:
            told = "; ".join(f"{', '.join(rows)}: {why}" for why, rows in misfits.items())
            raise BenchError(f"{self.table.name}: nothing was tuned: {told}")

    def attempt(self, search: Search, *, wait: bool = False) -> None:
        """Run what is missing of a row; whatever befalls it, the others go on."""
        try:
            self.do(search, wait=wait)
        except (InUseError, TrainingStopped):
            raise
        except Exception as error:
            self.failed[search.row] = error
            named = str(error) if isinstance(error, BenchError) else f"{search.row}: {error!r}"
            self.reporter.warn(f"{named}; the next row follows")

    def do(self, search: Search, *, wait: bool = False) -> None:
        """Run what is missing of a row.

        Raises:
            InUseError: another process does so, and ``wait`` is false.
            TrainingStopped: the user stopped it.
        """
        name = f"{self.table.name}/{search.row}"
        path = journal_path(self.results, self.table.name, search.row, self.shard)
        with locked(path, wait=wait, stop=self.stop):
            places, best = self._now(search)
            with self.reporter.bar(f"{name}: tune", len(places), stage=True) as bar:
                try:
                    for done, trial in enumerate(self._trials(search, places), start=1):
                        append_trials(path, [trial])
                        best = max(best, trial.objective)
                        bar.to(done, f"best {100 * best:.1f}, {trial.seconds:.1f} s a trial")
                except TrainingStopped:
                    raise TrainingStopped(f"{name}: the search stopped") from None
                except BenchError as error:
                    raise BenchError(f"{name}: {error}") from None

    def _now(self, search: Search) -> tuple[list[Place], float]:
        """Return what is still missing, since another process may have gone on, and the best."""
        journal = read_trials(self.results, self.table.name, search.row)
        here, _ = on_data(journal.trials, search.data_hash)
        valid, _ = valid_trials(search.experiment, self.config, here)
        there = {(trial.study, trial.index) for trial in valid}
        best = max((trial.objective for trial in valid), default=0.0)
        return [place for place in search.missing if place not in there], best

    def _trials(self, search: Search, places: Sequence[Place]) -> Iterator[Trial]:
        experiment = search.experiment
        material = self.data.of(experiment, self.config.folds)
        for (study, index), point in points(experiment, places):
            if self.stop.is_set():
                raise TrainingStopped
            trial = run_trial(
                experiment,
                self.config,
                material,
                study=study,
                index=index,
                point=point,
                stop=self.stop,
            )
            if self.left:
                price, self.left = trial.seconds * self.left / 60, 0
                self.reporter.say(
                    f"{self.table.name}: about {price:,.1f} core-minutes by the first trial"
                )
            yield trial


class _Data:
    """The training items of the last row, with their folds, so that neighbours share them."""

    def __init__(self) -> None:
        self._key: str | None = None
        self._material: Material | None = None

    def of(self, experiment: Experiment, folds: int) -> Material:
        key = experiment.data.model_dump_json()
        if self._material is None or key != self._key:
            items = training_items(experiment.data)
            self._key, self._material = key, Material(items, experiment.data.task, folds)
        return self._material


def _tell_price(
    table: Table, config: TuningConfig, todo: Sequence[Search], reporter: Reporter
) -> int:
    """Say before it starts what it costs, by the trials that are there.

    Returns:
        How many trials there are whose price is not known, since there are none yet.
    """
    number = sum(len(search.missing) for search in todo)
    if not number:
        reporter.say(f"{table.name}: every trial is there")
        return 0
    known = [trial.seconds for search in todo for trial in search.valid]
    mean = sum(known) / len(known) if known else None
    text = f"{table.name}: {number} trial(s) of {config.folds} folds to run"
    if mean is None:
        reporter.say(f"{text}; the price is told after the first of them")
        return number
    price = 0.0
    for search in todo:
        own = [trial.seconds for trial in search.valid]
        price += len(search.missing) * (sum(own) / len(own) if own else mean)
    reporter.say(f"{text}, about {price / 60:,.1f} core-minutes by the trials that are there")
    return 0


def _tell_end(
    table: Table,
    config: TuningConfig,
    results: Path,
    rows: Sequence[str] | None,
    reporter: Reporter,
) -> None:
    """Say what it cost, and of each row its winners and what sits at a bound."""
    spent = 0.0
    for search in searches(table, config, results, rows=rows):
        spent += sum(trial.seconds for trial in search.valid)
        name = f"{table.name}/{search.row}"
        failed = sum(trial.error is not None for trial in search.valid)
        if search.missing:
            reporter.say(f"{name}: {len(search.missing)} trial(s) are still missing")
        if failed:
            reporter.say(f"{name}: {failed} trial(s) failed, which counts as an objective of 0")
        for study in range(config.studies):
            best = winner(search.valid, study)
            if best is None:
                continue
            shown = ", ".join(f"{key} {value:g}" for key, value in best.point.items())
            reporter.say(
                f"{name}, study {study}: {100 * best.objective:.2f} with {shown}, "
                f"{best.steps} steps (trial {best.index})"
            )
            for fault in alarms(search.experiment, best):
                reporter.warn(f"{name}, study {study}: the winner's {fault[0]} is at {fault[1]:g}")
    reporter.say(f"{table.name}: {spent / 60:,.1f} core-minutes ({duration(spent)}) of trials")
