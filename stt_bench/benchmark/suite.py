"""All of a table: train → embed → evaluate for each row and seed, skipping what is done."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.config.tables import read_table
from stt_bench.benchmark.datasets import ItemTable, check_dataset, load_items
from stt_bench.benchmark.datasets.items import find_root
from stt_bench.benchmark.embedding.embed import embed_split
from stt_bench.benchmark.models import weights_id
from stt_bench.benchmark.scoring.evaluate import write_record
from stt_bench.benchmark.scoring.probe import made_by_other_code
from stt_bench.benchmark.scoring.rules import has_other_metadata
from stt_bench.benchmark.store.display import Display, display_of
from stt_bench.benchmark.store.ledger import note
from stt_bench.benchmark.store.locks import InUseError, held
from stt_bench.benchmark.store.pace import Pace, rest_text
from stt_bench.benchmark.store.records import Record, read_record, record_path
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.system.errors import BenchError, NotHereError, TrainingStopped
from stt_bench.benchmark.system.files import write_text
from stt_bench.benchmark.system.progress import Reporter, duration
from stt_bench.benchmark.training.checks import check_experiment, idle_classifiers
from stt_bench.benchmark.training.train import train
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
        _discard(experiments, results)
    _refresh_displays(table, results, runs)
    _tell_other_code(table, experiments, results, reporter)
    if idle := idle_classifiers(table.select(rows)):
        reporter.warn(f"{table.name}: {idle}")
    work = _Work(results, Data(reporter), reporter)
    waiting = work.to_train(experiments)
    later: list[Run] = []
    for number, run in enumerate(experiments, start=1):
        waiting = [other for other in waiting if other is not run]
        try:
            work.do(run, f"[{number}/{len(experiments)}]", waiting)
        except InUseError:
            reporter.say(f"{run.name} is run by another stt-bench: goes on with the next one")
            later.append(run)
    for run in later:
        reporter.say(f"{run.name}: waits for the other stt-bench")
        work.do(run, "[again]", [], wait=True)
    return work.outcome


@dataclass
class _Work:
    """What the experiments of a table share while they run one after the other."""

    results: Path
    data: Data
    reporter: Reporter
    outcome: Outcome = field(default_factory=Outcome)
    pace: Pace = field(default_factory=lambda: Pace({}))

    def to_train(self, experiments: Sequence[Run]) -> list[Run]:
        """Return the runs that are neither trained nor recorded; say how long they will take."""
        found = []
        for run in experiments:
            with suppress(BenchError):  # is told where it is run
                if not (run.is_trained or is_done(run, self.results, self.data)):
                    found.append(run)
        self.pace = Pace.of(found, self.results)
        if found:
            self.reporter.say(self.pace.plan())
        return found

    def do(self, run: Run, place: str, waiting: Sequence[Run], *, wait: bool = False) -> None:
        """Run one experiment if it has no record yet; note what became of it, and what is left.

        Raises:
            InUseError: another process runs it, and ``wait`` is false.
            TrainingStopped: the user stopped the training.
        """
        self.reporter.runs_after = len(waiting)
        self.reporter.seconds_after = self.pace.left(waiting)
        start = time.perf_counter()
        try:
            record = self._record(run, wait=wait)
        except (InUseError, TrainingStopped):
            raise
        except (Exception, SystemExit) as error:  # whatever befalls one, the others go on
            told = _told(error, run)
            again = told in self.outcome.failed.values()
            self.outcome.failed[run.name] = told
            self.reporter.warn(f"{run.name} failed: {'for the same reason' if again else told}")
            return
        if record is None:
            self.outcome.skipped.append(run.name)
            return
        self.outcome.done.append(run.name)
        seconds = time.perf_counter() - start
        self.pace.done(run, seconds)
        left = rest_text(len(waiting), self.pace.left(waiting))
        self.reporter.say(f"{place} {_summary(record)}  {duration(seconds)}; {left}")

    def _record(self, run: Run, *, wait: bool) -> Record | None:
        """Take an experiment through all stages; None if it has its record already."""
        if is_done(run, self.results, self.data):
            return None
        with held(run, wait=wait):
            if is_done(run, self.results, self.data):  # since, by another process
                return None
            items = self.data.of(run.experiment)
            note_start(run, self.results)
            facts = train(run, self.reporter, items=items)
            embedded = embed_split(run, facts, items, self.reporter)
            return write_record(run, facts, embedded, self.results, self.reporter)[0]


def note_start(run: Run, results: Path) -> None:
    """Note in the ledger that a training begins; not where it is finished or goes on."""
    if not run.is_trained and not run.checkpoint.exists():
        digest, base = run.experiment.digest(), run.base_digest
        note(results, run.table, "start", run.row, run.seed, digest, base)


def _discard(experiments: Sequence[Run], results: Path) -> None:
    """Remove runs and their records; none of them while another process works on one."""
    with ExitStack() as locks:
        for run in experiments:
            locks.enter_context(held(run))
        for run in experiments:
            record_path(results, run.table, run.row, run.seed).unlink(missing_ok=True)
            run.discard()


def is_done(run: Run, results: Path, data: Data) -> bool:
    """Tell whether a record of this experiment exists, made with these settings, data and weights.

    Where the data or the weights file are not on this machine, the record is taken as it is; so are
    the columns that its rules read where its embeddings are gone.

    Raises:
        BenchError: the data are here and cannot be read.
    """
    path = record_path(results, run.table, run.row, run.seed)
    if not path.exists():
        return False
    record = read_record(path)
    if record.config_digest != run.experiment.digest() or record.tuning != run.tuning:
        return False
    try:
        items = data.of(run.experiment)
        return (
            record.data_hash == items.data_hash
            and record.protocol["weights"] == weights_id(run.experiment.model)
            and not (run.experiment.evaluation.columns and has_other_metadata(run, items))
        )
    except NotHereError:
        return True


def _tell_other_code(
    table: Table, experiments: Sequence[Run], results: Path, reporter: Reporter
) -> None:
    """Warn of records that stay though today's code would make others, and say how to renew them.

    They are not run again unasked: that may take days, and the numbers of a paper may be theirs.
    """
    records = []
    for run in experiments:
        with suppress(BenchError):  # is told where it is run
            record = read_record(record_path(results, run.table, run.row, run.seed))
            if record.config_digest == run.experiment.digest():
                records.append(record)
    found = made_by_other_code(records)
    if found:
        rows = [f"{row} ({', '.join(names[:3])})" for row, names in found.items()]
        reporter.warn(
            f"{table.name}: made by earlier code, which computes otherwise than today's: "
            f"{', '.join(rows)}; `{table.command} --rows {','.join(found)} --force` runs them again"
        )


def _refresh_displays(table: Table, results: Path, runs: Path) -> None:
    """Bring titles, labels and order up to date in all records of the table's rows.

    The command stays the one that made the numbers. A record that cannot be read, or that another
    process is about to write, is left to those who need it.
    """
    for row in table.rows:
        display = display_of(table, row)
        for path in sorted((results / "records" / table.name / row).glob("seed-*.json")):
            with suppress(BenchError):
                record = read_record(path)
                if record.display == _fresh(display, record):
                    continue
                with held(run_of(table, row, record.seed, runs)):
                    record = read_record(path)
                    fresh = _fresh(display, record)
                    record.model_copy(update={"display": fresh}).save(path)


def _fresh(display: Display, record: Record) -> Display:
    return display.model_copy(update={"command": record.display.command})


def _told(error: BaseException, run: Run) -> str:
    """Return the sentence for a failed experiment; keep the traceback of an unforeseen one."""
    if isinstance(error, BenchError):
        return str(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    first = str(error).strip().splitlines() or [""]
    told, file = f"{type(error).__name__}: {first[0]}", run.folder / "error.txt"
    try:
        write_text(file, "".join(traceback.format_exception(error)))
    except BenchError:
        return told
    return f"{told} (all of it in {file})"


def _summary(record: Record) -> str:
    shown = {"recall@1": "R@1", "map@r": "MAP@R", "nmi": "NMI", "accuracy": "accuracy"}
    numbers = [
        f"{name} {100 * record.metrics[key]:.1f}"
        for key, name in shown.items()
        if key in record.metrics
    ]
    return f"{record.table}/{record.row}/seed-{record.seed}  " + "  ".join(numbers)


class Data:
    """The item table of the last experiment, so that neighbours in a table share it."""

    def __init__(self, reporter: Reporter, *, download: bool = True) -> None:
        """Start with none; `download` lets a dataset be fetched that is not here."""
        self._reporter, self._download = reporter, download
        self._key: str | None = None
        self._items: ItemTable | None = None

    def of(self, experiment: Experiment) -> ItemTable:
        """Return the items of an experiment; a `BenchError` where they cannot be had."""
        key = experiment.data.model_dump_json()
        if self._items is None or key != self._key:
            if not self._download:
                find_root(check_dataset(experiment.data), experiment.data.root, download=False)
            self._key, self._items = key, load_items(experiment.data, self._reporter)
        return self._items
