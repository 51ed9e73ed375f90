"""All of a table: train → embed → evaluate for each row and seed, skipping what is done."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.config import Experiment
from benchmark.datasets import ItemTable, load_items
from benchmark.embed import embed
from benchmark.errors import BenchError
from benchmark.evaluate import evaluate
from benchmark.progress import Reporter
from benchmark.records import Record, read_record, record_path
from benchmark.runs import Run, run_of
from benchmark.tables import Table
from benchmark.train import train


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
        TrainingStopped: the user stopped a training; the same call continues it.
    """
    outcome = Outcome()
    data = _Data()
    chosen = table.select(rows)
    experiments = [
        run_of(table, row, seed, runs)
        for row in chosen
        for seed in (table.seeds if seeds is None else seeds)
    ]
    for number, run in enumerate(experiments, start=1):
        if not force and is_done(run, results):
            outcome.skipped.append(run.name)
            continue
        if force:
            shutil.rmtree(run.folder, ignore_errors=True)
        start = time.perf_counter()
        try:
            items = data.of(run.experiment)
            train(run, reporter, items=items)
            embed(run, reporter, items=items)
            record = evaluate(run, results, reporter)
        except BenchError as error:
            outcome.failed[run.name] = str(error)
            reporter.warn(f"{run.name} failed: {error}")
            continue
        outcome.done.append(run.name)
        seconds = time.perf_counter() - start
        reporter.say(f"[{number}/{len(experiments)}] {_summary(record)}  {seconds:.1f} s")
    return outcome


def is_done(run: Run, results: Path) -> bool:
    """Tell whether a record of this experiment, with these settings, exists."""
    path = record_path(results, run.table, run.row, run.seed)
    return path.exists() and read_record(path).config_digest == run.experiment.digest()


def _summary(record: Record) -> str:
    shown = {"recall@1": "R@1", "map@r": "MAP@R", "nmi": "NMI", "accuracy": "accuracy"}
    numbers = [
        f"{name} {100 * record.metrics[key]:.1f}"
        for key, name in shown.items()
        if key in record.metrics
    ]
    return f"{record.table}/{record.row}/seed-{record.seed}  " + "  ".join(numbers)


class _Data:
    """The item table of the last experiment, so that neighbours in a table share it."""

    def __init__(self) -> None:
        self._key: str | None = None
        self._items: ItemTable | None = None

    def of(self, experiment: Experiment) -> ItemTable:
        key = experiment.data.model_dump_json()
        if self._items is None or key != self._key:
            self._key, self._items = key, load_items(experiment.data)
        return self._items
