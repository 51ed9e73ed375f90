"""All of a table: train → embed → evaluate for each row and seed, skipping what is done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.config.tables import read_table
from stt_bench.benchmark.store.pace import Pace, rest_text
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.suite.before import discard, refresh_displays, tell_other_code
from stt_bench.benchmark.suite.one import Ending, Worker, is_done
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.progress import Reporter, duration
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
    """What a call of `run_table` did."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def run_table(
    table: Table,
    *,
    rows: Sequence[str] | None,
    seeds: Sequence[int] | None,
    runs: Path,
    results: Path,
    force: bool,
    reporter: Reporter,
) -> Outcome:
    """Run the rows and seeds of a table that have no record yet.

    An experiment that fails is reported and the others go on.

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
    if force:  # all at once: the same command without --force then continues, if this is stopped
        discard(experiments, results)
    refresh_displays(table, results, runs)
    tell_other_code(table, experiments, results, reporter)
    if idle := idle_classifiers(table.select(rows)):
        reporter.warn(f"{table.name}: {idle}")
    work = _Work(Worker(results, reporter), reporter)
    waiting = work.to_train(experiments)
    later: list[Run] = []
    for number, run in enumerate(experiments, start=1):
        waiting = [other for other in waiting if other is not run]
        work.expect(waiting)
        ending = work.worker.do(run)
        if ending.kind == "busy":
            reporter.say(
                f"{run.name} is run by another stt-bench{ending.told}: goes on with the next one"
            )
            later.append(run)
        else:
            work.note(run, ending, f"[{number}/{len(experiments)}]", waiting)
    work.expect([])
    for run in later:
        reporter.say(f"{run.name}: waits for the other stt-bench")
        work.note(run, work.worker.do(run, wait=True), "[again]", [])
    return work.outcome


@dataclass
class _Work:
    """What is known of a table's experiments while they run."""

    worker: Worker
    reporter: Reporter
    outcome: Outcome = field(default_factory=Outcome)
    pace: Pace = field(default_factory=lambda: Pace({}))

    def to_train(self, experiments: Sequence[Run]) -> list[Run]:
        """Return the runs that are neither trained nor recorded; say how long they will take."""
        found = []
        for run in experiments:
            with suppress(BenchError):  # is told where it is run
                if not (run.is_trained or is_done(run, self.worker.results, self.worker.data)):
                    found.append(run)
        self.pace = Pace.of(found, self.worker.results)
        if found:
            self.reporter.say(self.pace.plan())
        return found

    def expect(self, waiting: Sequence[Run]) -> None:
        """Let the reporter tell how long the runs take that wait."""
        self.reporter.runs_after = len(waiting)
        self.reporter.seconds_after = self.pace.left(waiting)

    def note(self, run: Run, ending: Ending, place: str, waiting: Sequence[Run]) -> None:
        """Note and say what became of a run, and what is left."""
        if ending.kind == "failed":
            again = ending.told in self.outcome.failed.values()
            self.outcome.failed[run.name] = ending.told
            why = "for the same reason" if again else ending.told
            self.reporter.warn(f"{run.name} failed: {why}")
        elif ending.kind == "skipped":
            self.outcome.skipped.append(run.name)
        else:
            self.outcome.done.append(run.name)
            self.pace.done(run, ending.seconds)
            left = rest_text(len(waiting), self.pace.left(waiting))
            self.reporter.say(f"{place} {ending.told}  {duration(ending.seconds)}; {left}")
