"""One experiment of a table, (table, row, seed), through all stages: train → embed → evaluate."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.datasets import ItemTable, check_dataset, load_items
from stt_bench.benchmark.datasets.items import find_root
from stt_bench.benchmark.embedding.embed import embed_split
from stt_bench.benchmark.models import weights_id
from stt_bench.benchmark.scoring.evaluate import write_record
from stt_bench.benchmark.scoring.rules import has_other_metadata
from stt_bench.benchmark.store.ledger import note, read_ledger
from stt_bench.benchmark.store.ledger import note_failure as note_in_ledger
from stt_bench.benchmark.store.locks import InUseError, held
from stt_bench.benchmark.store.records import Record, read_record, record_path
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.system.atomic import check_way
from stt_bench.benchmark.system.errors import (
    BenchError,
    NewerError,
    NotHereError,
    OtherSettingsError,
    RefusedError,
    TrainingStopped,
)
from stt_bench.benchmark.system.files import write_text
from stt_bench.benchmark.system.freed_memory import give_back_freed_memory
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.train import train

_OF_ANOTHER = (OtherSettingsError, NewerError)
"""This command is refused; the run in the folder has not failed, and its own command goes on."""


@dataclass(frozen=True)
class Ending:
    """What became of an experiment.

    Attributes:
        kind: ``busy`` where another process works on it; ``skipped`` where its record is there.
        told: Its main metrics, who works on it, or why it failed.
        refused: Whether it can only fail again, as `RefusedError` says.
        seconds: What it took, where it is done.
    """

    kind: Literal["done", "skipped", "busy", "failed"]
    told: str = ""
    seconds: float = 0.0
    refused: bool = False


@dataclass(frozen=True)
class ToRun:
    """An experiment to run; with `wait`, after whoever else works on it."""

    run: Run
    wait: bool = False


class Worker:
    """Runs experiments one after the other; neighbours share their data."""

    def __init__(self, results: Path, reporter: Reporter, data: Data | None = None) -> None:
        """Write records below `results`; `data` are those that others have read already."""
        self.results, self.data, self.reporter = results, data or Data(reporter), reporter

    def do(self, content: ToRun) -> Ending:
        """Run one experiment if it has no record yet.

        Raises:
            TrainingStopped: the user stopped the training.
        """
        try:
            return self._ended(content)
        finally:
            give_back_freed_memory()  # to others, for as long as this waits

    def _ended(self, content: ToRun) -> Ending:
        run = content.run
        start = time.perf_counter()
        try:
            record = self._record(run, wait=content.wait)
        except InUseError as error:
            return Ending("busy", error.who)
        except TrainingStopped:
            raise
        except _OF_ANOTHER as error:
            return Ending("failed", str(error), refused=True)
        except (Exception, SystemExit) as error:  # whatever befalls one, the others go on
            told = note_failure(_sentence(error, run), run, self.results)
            return Ending("failed", told, refused=isinstance(error, RefusedError))
        run.note_failure(None)
        if record is None:
            return Ending("skipped")
        return Ending("done", _summary(record), time.perf_counter() - start)

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
            give_back_freed_memory()  # evaluation asks for other blocks
            return write_record(run, facts, embedded, self.results, self.reporter)[0]


@contextmanager
def failure_noted(run: Run, results: Path) -> Iterator[None]:
    """Leave the sentence of what fails in the block, as `note_failure`; or none, if nothing does.

    Work that another process does, that the user stopped, or that is another's, has not failed.
    """
    try:
        yield
    except (InUseError, TrainingStopped, *_OF_ANOTHER):
        raise
    except (Exception, SystemExit) as error:
        note_failure(_sentence(error, run), run, results)
        raise
    run.note_failure(None)


def note_failure(told: str, run: Run, results: Path) -> str:
    """Leave why a run failed in its folder and, what and where, in the ledger; return it."""
    run.note_failure(told)
    what = told.replace(str(run.folder), run.name).removeprefix(f"{run.name}: ")
    digest, base = run.experiment.digest(), run.base_digest
    with suppress(BenchError):  # a full disk may be why
        what = what.partition("; ")[0]
        note_in_ledger(results, run.table, run.row, run.seed, digest, base, what)
    return told


def note_start(run: Run, results: Path) -> None:
    """Note in the ledger that a training begins; not where it is finished or goes on.

    Raises:
        BenchError: as `check_places`.
    """
    check_places(run, results)
    if not run.is_trained and not run.checkpoint.exists():
        digest, base = run.experiment.digest(), run.base_digest
        note(results, run.table, "start", run.row, run.seed, digest, base)


def check_places(run: Run, results: Path) -> None:
    """Check what would else be told after the training: where its files go, and the ledger.

    Raises:
        BenchError: a file is in the way of a folder, or the ledger cannot be read.
    """
    check_way(run.folder)
    read_ledger(results, run.table)
    check_way(record_path(results, run.table, run.row, run.seed).parent)


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


def _sentence(error: BaseException, run: Run) -> str:
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
        self._failed: BenchError | None = None
        self._key: str | None = None
        self._items: ItemTable | None = None

    def of(self, experiment: Experiment) -> ItemTable:
        """Return the items of an experiment; a `BenchError` where they cannot be had."""
        key = experiment.data.model_dump_json()
        if key == self._key and self._failed is not None and not self._download:
            raise self._failed  # what only looks need not look again
        if self._items is None or key != self._key:
            self._key, self._items, self._failed = key, None, None
            try:
                if not self._download:
                    find_root(check_dataset(experiment.data), experiment.data.root, download=False)
                self._items = load_items(experiment.data, self._reporter)
            except BenchError as error:
                self._failed = error
                raise
        return self._items
