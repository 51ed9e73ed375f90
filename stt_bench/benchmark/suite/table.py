"""All of a table: train → embed → evaluate for each row and seed, skipping what is done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.config.tables import read_table
from stt_bench.benchmark.jobs.work import Executor, Here, Later, Lost, Task, shard_of
from stt_bench.benchmark.store.ledger import ledger_path
from stt_bench.benchmark.store.locks import InUseError, held
from stt_bench.benchmark.store.pace import Pace, rest_text
from stt_bench.benchmark.store.records import record_path
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.suite.before import check_anew, discard, refresh_displays, tell_other_code
from stt_bench.benchmark.suite.one import Data, Ending, ToRun, Worker, is_done, note_failure
from stt_bench.benchmark.system.errors import BenchError, RefusedError
from stt_bench.benchmark.system.progress import Reporter, duration
from stt_bench.benchmark.system.text import counted
from stt_bench.benchmark.training.checks import check_experiment, idle_classifiers
from stt_bench.benchmark.tuning.winners import Winners, tuned_run


def load_table(
    name: str, overrides: Iterable[str] = (), *, only: Iterable[str] | None = None
) -> Table:
    """Read a table and check that all it names exists: see `read_table`.

    Raises:
        BenchError: one sentence with file, line and field.
    """
    return read_table(name, overrides, only=only, check=check_experiment)


@dataclass
class Outcome:
    """What a call of `run_table` did; of what failed, `refused` can only fail again."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)


def run_table(
    table: Table,
    *,
    rows: Sequence[str] | None,
    seeds: Sequence[int] | None,
    runs: Path,
    results: Path,
    force: bool,
    reporter: Reporter,
    shard: tuple[int, int] = (1, 1),
    executor: Executor | None = None,
) -> Outcome:
    """Run the rows and seeds of a table that have no record yet.

    An experiment that fails is reported and the others go on. Of shard (i, n) it is every n-th
    from the i-th on, whatever is done already.

    Raises:
        BenchError: a row of a table with `tuning` lacks trials.
        TrainingStopped: the user stopped a training; the same call continues it.
    """
    winners = Winners(table, results)
    experiments = [
        tuned_run(winners, row, seed, runs)
        for row in table.select(rows)
        for seed in (table.seeds if seeds is None else seeds)
    ]
    chosen = shard_of(experiments, shard)
    if not chosen:
        reporter.say(
            f"{table.name}: part {shard[0]} of {shard[1]} has none of its "
            f"{counted(len(experiments), 'run')}"
        )
    experiments = chosen
    data = Data(reporter)
    if force:  # all at once: the same command without --force then continues, if this is stopped
        check_anew(experiments, results, data, is_here=(executor or Here()).is_here)
        discard(experiments, results)
    refresh_displays(table, results, runs)
    tell_other_code(table, experiments, results, reporter)
    if idle := idle_classifiers(table.select(rows)):
        reporter.warn(f"{table.name}: {idle}")
    work = _Work(results, reporter, executor or Here(), len(experiments), data)
    work.expect(experiments)
    todo = [ToRun(run) for run in experiments]
    while busy := work.run(todo):
        for run in busy:
            reporter.say(f"{run.name}: waits for the other stt-bench")
        todo = [ToRun(run, wait=True) for run in busy]
    return work.outcome


@dataclass
class _Work:
    """What is known of a table's experiments while they run."""

    results: Path
    reporter: Reporter
    executor: Executor
    number: int
    data: Data
    outcome: Outcome = field(default_factory=Outcome)
    pace: Pace = field(default_factory=lambda: Pace({}))
    waiting: list[Run] = field(default_factory=list)
    under_way: list[Run] = field(default_factory=list)

    def expect(self, experiments: Sequence[Run]) -> None:
        """Note the runs that are neither trained nor recorded; say how long they will take."""
        for run in experiments:
            with suppress(BenchError):  # is told where it is run
                if not (run.is_trained or is_done(run, self.results, self.data)):
                    self.waiting.append(run)
        self.pace = Pace.of(self.waiting, self.results)
        if self.waiting:
            self.reporter.say(self.pace.plan())

    def run(self, experiments: Sequence[ToRun]) -> list[Run]:
        """Run experiments, and note what becomes of each; return those that others work on."""
        make, busy = partial(Worker, self.results), []
        if isinstance(self.executor, Here):
            make = partial(make, data=self.data)
        tasks = [Task(one.run.name, one, self._files(one.run)) for one in experiments]
        for task, ending in self.executor.run(
            make, tasks, self.reporter, self._begun, hold=self._hold
        ):
            run = task.content.run
            self.under_way = [other for other in self.under_way if other is not run]
            if isinstance(ending, Lost):
                note_failure(ending.told, run, self.results)
                ending = Ending("failed", ending.told)
            if ending.kind == "busy":
                self.reporter.say(
                    f"{run.name} is run by another stt-bench{ending.told}: left to that one"
                )
                busy.append(run)
            else:
                self._ended(run, ending)
        return busy

    def _hold(self, task: Task, until: ExitStack) -> Ending | Later | None:
        """Hold a run for another machine, which sees neither its lock nor its record."""
        run: Run = task.content.run
        try:
            until.enter_context(held(run))
            if is_done(run, self.results, self.data):
                return Ending("skipped")
        except InUseError as error:
            return Later() if task.content.wait else Ending("busy", error.who)
        except BenchError as error:
            told = note_failure(str(error), run, self.results)
            return Ending("failed", told, refused=isinstance(error, RefusedError))
        return None

    def _files(self, run: Run) -> tuple[Path, ...]:
        record = record_path(self.results, run.table, run.row, run.seed)
        return run.folder, record, ledger_path(self.results, run.table)

    def _begun(self, task: Task) -> None:
        """Let the reporter tell how long the runs take that wait after this one."""
        self.waiting = [run for run in self.waiting if run is not task.content.run]
        self.under_way.append(task.content.run)
        self.reporter.runs_after, self.reporter.at_once = len(self.waiting), self.executor.jobs
        self.reporter.seconds_after = self._seconds(self.waiting)

    def _seconds(self, runs: Sequence[Run]) -> float | None:
        left = self.pace.left(runs)
        return None if left is None else left / self.executor.jobs

    def _ended(self, run: Run, ending: Ending) -> None:
        """Note and say what became of a run, and what is left."""
        outcome = self.outcome
        if ending.kind == "failed":
            again = ending.told in outcome.failed.values()
            outcome.failed[run.name] = ending.told
            if ending.refused:
                outcome.refused.add(run.name)
            why = "for the same reason" if again else ending.told.removeprefix(f"{run.name}: ")
            self.reporter.warn(f"{run.name} failed: {why}")
            return
        if ending.kind == "skipped":
            outcome.skipped.append(run.name)
            return
        outcome.done.append(run.name)
        self.pace.done(run, ending.seconds)
        ended = len(outcome.done) + len(outcome.failed) + len(outcome.skipped)
        rest = [*self.waiting, *self.under_way]
        left = rest_text(len(rest), self._seconds(rest))
        self.reporter.say(
            f"[{ended}/{self.number}] {ending.told}  {duration(ending.seconds)}; {left}"
        )
