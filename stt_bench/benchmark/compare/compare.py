"""A comparison from the first look at the data to the report; stopped, the same call goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from stt_bench.benchmark.compare.folder import Folder, State
from stt_bench.benchmark.compare.look import Found, look
from stt_bench.benchmark.compare.plan import Plan, Request, make_plan
from stt_bench.benchmark.compare.rows import chosen_rows
from stt_bench.benchmark.compare.shares import MOST_SEEDS, MOST_TRIALS, TRIALS
from stt_bench.benchmark.config.sections import DataConfig
from stt_bench.benchmark.datasets.copies import notes_on_copies
from stt_bench.benchmark.datasets.items import ItemTable, load_items
from stt_bench.benchmark.datasets.near_duplicates import NearDuplicates, near_duplicates
from stt_bench.benchmark.datasets.verify import failures
from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.report import report
from stt_bench.benchmark.pages.write import write_html
from stt_bench.benchmark.suite import run_table
from stt_bench.benchmark.system.atomic import folder_beside
from stt_bench.benchmark.system.devices import resolve_device, tell_device
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.progress import Bar, Reporter, duration
from stt_bench.benchmark.system.text import one_line
from stt_bench.benchmark.tuning.tune import tune

_RESERVE = 0.95  # of the time: what the report and the end take
_TO_RUN = 0.4  # of the time, at most, for the runs of the seeds that were planned


def plan_of(request: Request, folder: Folder, reporter: Reporter) -> tuple[State, bool]:
    """Return how far a comparison is with its plan, and whether it has begun; writes nothing.

    Raises:
        BenchError: see `compare`.
    """
    state = folder.state(request)
    if state is not None:
        return state, True
    plan, _ = make_plan(_look(request, reporter), request, 60 * request.minutes)
    return State(plan=plan, seeds=plan.shares.studies), False


def compare(
    request: Request, folder: Folder, reporter: Reporter, *, force: bool = False
) -> Leaderboard:
    """Look at the data, plan, tune, run and report; return the leaderboard.

    The plan and how far it is are kept in the folder: the same request goes on where it was
    stopped, and measures nothing again. With `force` it begins anew: what the folder holds is
    removed once there is another plan.

    Raises:
        BenchError: the data, the time or the folder do not do, or a row cannot be tuned or run.
        TrainingStopped: the user stopped it; the same call continues.
    """
    with folder.held():
        work = _Work(request, folder, reporter)
        work.begin(anew=force)
        try:
            work.measure_untrained()
            work.tune()
            work.run()
        finally:
            work.save()
        (board,) = report(folder.results, [folder.name])
        write_html(folder.results, [folder.name], folder.runs)
        return board


def _look(request: Request, reporter: Reporter) -> Found:
    """Look at the data; tell on which device what a plan needs will be measured."""
    chosen_rows(request.rows, "pca")  # a wrong name is told before anything is looked at
    labels = None if request.labels is None else Path(request.labels)
    found = look(Path(request.data), labels, request.array, request.layout)
    tell_device("auto", resolve_device("auto"), reporter)
    return found


class _Work:
    """A comparison while it is made."""

    state: State

    def __init__(self, request: Request, folder: Folder, reporter: Reporter) -> None:
        self.request, self.folder, self.reporter = request, folder, reporter
        self.start = time.monotonic()
        self.total = _RESERVE * 60 * request.minutes
        self.before = 0.0

    @property
    def plan(self) -> Plan:
        return self.state.plan

    @property
    def spent(self) -> float:
        """Return the seconds that the comparison has taken, those of earlier calls with it."""
        return self.before + time.monotonic() - self.start

    def save(self, **changes: object) -> None:
        self.state = self.state.model_copy(update={**changes, "spent": self.spent})
        self.folder.save(self.state)

    def begin(self, *, anew: bool) -> None:
        """Find the plan in the folder, or make it from the data; always, if `anew`."""
        if anew:
            self.folder.check_ours()
        there = None if anew else self.folder.state(self.request)
        if there is not None:
            self.state, self.before = there, there.spent
            self.reporter.say(
                f"{self.folder.path}: goes on; {duration(there.spent)} of "
                f"{self.request.minutes:g} min are spent"
            )
            return
        found = _look(self.request, self.reporter)
        for line in found.lines:
            self.reporter.say(line)
        while True:
            left = 60 * self.request.minutes - self.spent
            plan, frame = make_plan(found, self.request, left)
            if found.width is not None:
                break
            alike, broken = self._compared(plan, found, frame)
            if not broken:
                plan = plan.model_copy(update={"found": [*plan.found, *alike]})
                break
            found = found.without(broken)
        for line in list(plan.lines())[len(found.lines) :]:
            self.reporter.say(line)
        if anew:
            self.folder.discard()
        self.folder.write_items(frame, found.vectors)
        self.state = State(plan=plan, seeds=plan.shares.studies)
        self.save()

    def _compared(
        self, plan: Plan, found: Found, frame: pd.DataFrame
    ) -> tuple[list[str], dict[str, str]]:
        """Read every image once, to find those that are alike.

        Returns:
            What is told of them, and the images that cannot be read, each with the reason.
        """
        try:
            with (
                folder_beside(self.folder.path) as beside,
                self.reporter.bar("compare images", 1, stage=True) as bar,
            ):
                there = Folder(beside)
                there.write_items(frame, None)
                items = load_items(DataConfig.model_validate(there.data(plan)))
                return _alike(items, near_duplicates(items, bar.of)), {}
        except BenchError:
            broken = _unreadable(found, frame["path"].tolist())
            if not broken:
                raise
            return [], broken

    def measure_untrained(self) -> None:
        """Run the rows that are not trained; the images pass the network once in it."""
        self._run(self.plan.untrained, range(1))
        start = time.monotonic()
        done = self._run(self.plan.untrained, range(1, self.state.seeds))
        if done:
            self.save(measuring=(time.monotonic() - start) / done)

    def tune(self) -> None:
        """Tune all rows alike, a trial of each study and row at a time, while there is time."""
        plan, studies = self.plan, self.plan.shares.studies
        if self.state.tuned:
            return
        table = self.folder.table()
        assert table.tuning is not None
        rounds = len(plan.trained) * studies
        total = len(plan.trained) + rounds * plan.shares.trials
        took = 0.0
        with self.reporter.bar(f"{table.name}: tune", total, stage=True) as bar:
            counter = _Counter(bar, total)
            for trials in range(MOST_TRIALS + 1):
                if trials > TRIALS and self.spent + took > self._end_of_tuning(took, rounds):
                    break
                start = time.monotonic()
                counter.expect(len(plan.trained) + rounds * trials)
                config = table.tuning.model_copy(update={"trials": trials})
                tune(table, config, self.folder.results, counter, rows=plan.trained)
                if trials > self.state.rounds:
                    self.save(rounds=trials)
                    took = time.monotonic() - start
        self.save(tuned=True)
        table = self.folder.table()
        assert table.tuning is not None
        tune(table, table.tuning, self.folder.results, self.reporter, rows=plan.trained)

    def _end_of_tuning(self, took: float, rounds: int) -> float:
        """Return when, in seconds spent, the runs have to begin that are to follow."""
        trained = took / rounds / self.plan.folds  # a run's training is that of a fold
        seed = len(self.plan.trained) * (self.state.measuring + trained)
        share = self.plan.shares
        seeds = max(share.studies, min(share.seeds, int(_TO_RUN * self.total / max(seed, 1e-9))))
        return self.total - seeds * seed

    def run(self) -> None:
        """Run all rows with a seed of each study, and again with others while there is time."""
        studies, took = self.plan.shares.studies, 0.0
        first = 0
        while first + studies <= MOST_SEEDS:
            seeds = range(first, first + studies)
            if first >= self.state.seeds:
                if self.state.done or self.spent + took > self.total:
                    break
                self.save(seeds=first + studies)
            start = time.monotonic()
            if self._run(self.plan.rows, seeds):
                took = time.monotonic() - start
                self.save()
            first += studies
        self.save()
        self.state = self.state.model_copy(update={"done": True})

    def _run(self, rows: Sequence[str], seeds: Sequence[int]) -> int:
        """Run rows with seeds; return how many had no record."""
        outcome = run_table(
            self.folder.table(),
            rows=rows,
            seeds=seeds,
            runs=self.folder.runs,
            results=self.folder.results,
            force=False,
            reporter=self.reporter,
        )
        if outcome.failed:
            name, told = next(iter(outcome.failed.items()))
            more = f" ({len(outcome.failed)} such)" if len(outcome.failed) > 1 else ""
            again = "" if name in outcome.refused else "; the same command tries it again"
            raise BenchError(f"{name} failed{more}: {told}{again}")
        return len(outcome.done)


class _Counter(Reporter):
    """Shows the trials of all rows in one bar, and nothing else."""

    def __init__(self, bar: Bar, total: int) -> None:
        super().__init__(quiet=True)
        self._bar, self._done, self._total = bar, 0, total

    def expect(self, total: int) -> None:
        """Count up to at least so many: there is time for more trials than were planned."""
        self._total = max(self._total, total)

    def warn(self, text: str) -> None:
        """Keep silent: what is at a bound is told once all trials are there."""

    @contextmanager
    def bar(
        self,
        description: str,
        total: int,
        done: int = 0,
        *,
        stage: bool = False,
        runs: bool = False,
    ) -> Iterator[Bar]:
        """Count on in the one bar."""
        before = self._done

        def update(done: int, note: str | None, total: int | None) -> None:
            self._done = before + done
            self._bar.to(self._done, note, self._total)

        yield Bar(update)


def _unreadable(found: Found, paths: list[str]) -> dict[str, str]:
    told: dict[str, str] = {}

    def read(path: str) -> None:
        try:
            found.store.read(path)
        except BenchError as error:
            told[path] = str(error)

    failures(read, paths)
    return {path: told[path] for path in paths if path in told}


def _alike(items: ItemTable, alike: NearDuplicates | None) -> list[str]:
    """Return what is told of images that are alike."""
    tested = int((items.frame["split"] == "test").sum())
    told = []
    copies = [*items.notes, *notes_on_copies(items)]
    for matches, where in (
        (alike.matches if alike else [], "among those to learn from, of another class"),
        (alike.across_classes if alike else [], "of another class among themselves"),
    ):
        if matches:
            first = matches[0]
            told.append(
                f"{len(matches):,} of {tested:,} items to retrieve among have a near-duplicate "
                f"{where}, such as {one_line(first.image, 80)} and {one_line(first.other, 80)}"
            )
    return [*told, *copies]
