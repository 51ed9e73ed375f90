"""All trials of a table's rows: those that no journal has yet."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.config.table_sections import TuningConfig
from stt_bench.benchmark.jobs.work import Executor, Here, Lost, Task
from stt_bench.benchmark.store.locks import InUseError, locked
from stt_bench.benchmark.store.trials import (
    DEFAULT,
    Trial,
    append_trials,
    journal_path,
    on_data,
    read_trials,
)
from stt_bench.benchmark.system.errors import BenchError, RefusedError, TrainingStopped
from stt_bench.benchmark.system.progress import Bar, Reporter
from stt_bench.benchmark.system.signals import heeded_at_once
from stt_bench.benchmark.system.text import one_line
from stt_bench.benchmark.training.checks import idle_classifiers
from stt_bench.benchmark.training.stop import stop_requested
from stt_bench.benchmark.tuning.costs import tell_end, tell_price
from stt_bench.benchmark.tuning.searches import Place, Search, Shard, points, searches
from stt_bench.benchmark.tuning.tasks import Data, Failure, ToTry, Worker
from stt_bench.benchmark.tuning.trial import check_folds
from stt_bench.benchmark.tuning.winners import valid_trials


def tune(
    table: Table,
    config: TuningConfig,
    results: Path,
    reporter: Reporter,
    *,
    rows: Sequence[str] | None = None,
    shard: Shard = (1, 1),
    executor: Executor | None = None,
) -> None:
    """Run all trials of the chosen rows that no journal has yet, and write each as it ends.

    The lines of a journal are in the order of the points, however many trials are made at once.
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
    left = tell_price(table, config, todo, reporter, shard)
    with stop_requested() as stop:
        executor = executor or Here()
        work = _Work(table, config, results, shard, stop, reporter, executor, left)
        todo = [search for search in todo if search.missing]
        work.rows_left = {search.row for search in todo}
        work.check(todo)
        # One row after the other leaves the next to another process; at once, all have work.
        groups = [[one] for one in todo] if isinstance(executor, Here) else [todo]
        later = [search for group in groups for search in work.attempt(group)]
        for search in later:
            reporter.say(f"{table.name}/{search.row}: waits for the other stt-bench")
        for search in later:
            work.attempt([search], wait=True)
    tell_end(table, config, results, rows, reporter)
    if len(work.failed) == 1:
        raise next(iter(work.failed.values()))
    if work.failed:
        refused = all(isinstance(error, RefusedError) for error in work.failed.values())
        again = "can only fail again: do first what is said there"
        raise BenchError(
            f"{len(work.failed)} rows could not be tuned, see above: {', '.join(work.failed)}; the "
            f"same command {again if refused else 'tries them again'}"
        )


@dataclass
class _Work:
    """What the rows of a table share while they are tuned."""

    table: Table
    config: TuningConfig
    results: Path
    shard: Shard
    stop: threading.Event
    reporter: Reporter
    executor: Executor
    left: int  # trials whose price is not told yet
    data: Data = field(default_factory=Data)
    failed: dict[str, BenchError] = field(default_factory=dict)  # by row
    rows_left: set[str] = field(default_factory=set)  # neither tuned nor failed

    def check(self, todo: Sequence[Search]) -> None:
        """Hold every row's sampler against the folds; one sentence for all that do not fit.

        Raises:
            BenchError: one or more do not.
        """
        misfits: dict[str, list[str]] = {}
        for search in todo:
            try:
                with heeded_at_once():
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

    def attempt(self, group: Sequence[Search], *, wait: bool = False) -> list[Search]:
        """Run what is missing of rows; whatever befalls one, the others go on.

        Returns:
            Those that another process tunes, where this one does not wait for it.

        Raises:
            TrainingStopped: the user stopped it.
        """
        busy, rows = [], dict[str, _Row]()
        with ExitStack() as stack:
            for search in group:
                name = f"{self.table.name}/{search.row}"
                path = journal_path(self.results, self.table.name, search.row, self.shard)
                try:
                    stack.enter_context(locked(path, wait=wait, stop=self.stop))
                    rows[search.row] = stack.enter_context(self._row(search, name, path))
                except InUseError as error:
                    self.reporter.say(
                        f"{name} is tuned by another stt-bench{error.who}: comes last"
                    )
                    busy.append(search)
                except TrainingStopped:
                    raise
                except Exception as error:
                    self._fail(search.row, error)
            self._try(rows)
        self.rows_left.difference_update({search.row for search in group if search not in busy})
        return busy

    @contextmanager
    def _row(self, search: Search, name: str, path: Path) -> Iterator[_Row]:
        """Return a row that is tuned, with its bar; what is left of it is written in the end."""
        places, best = self._now(search)
        tasks = [
            ToTry(search.row, search.experiment, study, index, point)
            for (study, index), point in points(search.experiment, places)
        ]
        with self.reporter.bar(f"{name}: tune", len(tasks), stage=True) as bar:
            row = _Row(name, path, tasks, bar, best)
            try:
                yield row
            finally:
                row.write(all_of_them=True)

    def _try(self, rows: Mapping[str, _Row]) -> None:
        """Make the trials of rows, and keep each."""
        make = partial(Worker, self.config)
        if isinstance(self.executor, Here):
            make = partial(make, data=self.data, stop=self.stop)
        tasks = [
            Task(f"{row.name}: trial {one.index} of study {one.study}", one)
            for row in rows.values()
            for one in row.tasks
        ]
        name = next((row.name for row in rows.values()), "")
        try:
            for task, found in self.executor.run(make, tasks, self.reporter, wanted=self._wanted):
                one, row = task.content, rows[task.content.row]
                name = row.name
                if isinstance(found, Lost):
                    found = Failure(BenchError(found.told))
                if isinstance(found, Trial):
                    row.keep(found)
                    if row.done == len(row.tasks):
                        self.rows_left.discard(one.row)
                    self._tell_price_by(found)
                elif one.row not in self.failed:
                    self._fail(one.row, found.error, row.name)
                if self.stop.is_set():
                    raise TrainingStopped
        except TrainingStopped:
            raise TrainingStopped(f"{name}: the search stopped") from None

    def _wanted(self, task: Task) -> bool:
        """Tell whether a trial is still to be made: not of a row that has failed."""
        return task.content.row not in self.failed

    def _fail(self, row: str, error: Exception, name: str = "") -> None:
        if not isinstance(error, BenchError):
            error = _told(f"{self.table.name}/{row}", error)
        elif name:
            error = BenchError(f"{name}: {error}")
        self.failed[row] = error
        self.rows_left.discard(row)
        if self.rows_left:
            self.reporter.warn(f"{error}; the others go on")
        elif len(self.failed) > 1:  # a single one is raised in the end
            self.reporter.warn(str(error))

    def _tell_price_by(self, first: Trial) -> None:
        if self.left:
            price, self.left = first.seconds * self.left / 60, 0
            self.reporter.say(
                f"{self.table.name}: about {price:,.1f} core-minutes by the first trial"
            )

    def _now(self, search: Search) -> tuple[list[Place], float | None]:
        """Return what is still missing, since another process may have gone on, and the best."""
        journal = read_trials(self.results, self.table.name, search.row)
        here, _ = on_data(journal.trials, search.data_hash)
        valid, _ = valid_trials(search.experiment, self.config, here)
        there = {(trial.study, trial.index) for trial in valid}
        best = max((trial.objective for trial in valid if trial.index != DEFAULT), default=None)
        return [place for place in search.missing if place not in there], best


def _told(name: str, error: Exception) -> BenchError:
    """Return an error that nobody has put in words as a sentence about a row."""
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return BenchError(f"{name}: {where}{error.strerror or error}")
    what = one_line(f"{type(error).__name__}: {error}", 500)
    told = BenchError(
        f"{name}: {what}; the same command tries it again, and with STT_BENCH_DEBUG=1 before it "
        "shows where"
    )
    told.__cause__ = error
    return told


@dataclass
class _Row:
    """A row while it is tuned: its trials are written in the order of their points."""

    name: str
    path: Path
    tasks: list[ToTry]
    bar: Bar
    best: float | None  # of those that may win, which the row's own settings may not
    found: dict[Place, Trial] = field(default_factory=dict)  # and not written yet
    done: int = 0

    def __post_init__(self) -> None:
        self._order = deque((one.study, one.index) for one in self.tasks)

    def keep(self, trial: Trial) -> None:
        """Write a trial as soon as those before it are written."""
        self.found[trial.study, trial.index] = trial
        self.done += 1
        if trial.index != DEFAULT:
            self.best = max(self.best or 0.0, trial.objective)
        self.write()
        best = "" if self.best is None else f"best {100 * self.best:.1f}, "
        self.bar.to(self.done, f"{best}{trial.seconds:.1f} s a trial")

    def write(self, *, all_of_them: bool = False) -> None:
        """Write the trials that are next, or all that there are."""
        while self._order and (all_of_them or self._order[0] in self.found):
            trial = self.found.pop(self._order.popleft(), None)
            if trial is not None:
                append_trials(self.path, [trial])
