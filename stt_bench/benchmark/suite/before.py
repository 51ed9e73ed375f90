"""Before the first experiment of a table: what is discarded, renamed, or told of its records."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.datasets import ItemTable
from stt_bench.benchmark.datasets.sampler import build_sampler
from stt_bench.benchmark.models import build_network, weights_id
from stt_bench.benchmark.scoring.probe import made_by_other_code
from stt_bench.benchmark.store.display import Display, display_of
from stt_bench.benchmark.store.locks import all_locked, held
from stt_bench.benchmark.store.records import Record, read_record, record_path
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite.one import Data, check_places
from stt_bench.benchmark.system.devices import resolve_device
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.checks import check_items
from stt_bench.benchmark.training.learner import Build, model_for
from stt_bench.benchmark.training.objective import row_needs
from stt_bench.benchmark.training.validation import check_validation


def check_fits(experiment: Experiment, items: ItemTable) -> None:
    """Raise BenchError where an experiment cannot be trained on these items."""
    check_items(experiment, items)
    check_validation(experiment, items)
    if experiment.train.steps:
        labels = items.split("train")["label"].to_numpy()
        build_sampler(experiment.sampler, labels, seed=0, needs=row_needs(experiment))


def check_begins(experiment: Experiment, items: ItemTable, build: Build = build_network) -> None:
    """Raise BenchError where a training would be refused before its first step."""
    check_fits(experiment, items)
    weights_id(experiment.model)
    model_for(experiment, items, build)


def check_anew(
    experiments: Sequence[Run], results: Path, data: Data, *, is_here: bool = True
) -> None:
    """Check that runs could begin anew, before what they left is removed.

    Args:
        experiments: the runs.
        results: the folder of the ledger.
        data: is read for them.
        is_here: they will run on this machine, whose devices are known.

    Raises:
        BenchError: data, weights or the device are not here, batches cannot be drawn, network and
            data do not fit, a folder holds what is no run, or as `check_places`.
    """
    for experiment in {run.experiment.digest(): run.experiment for run in experiments}.values():
        if is_here:
            resolve_device(experiment.train.device)
        check_begins(experiment, data.of(experiment))
    for run in experiments:  # else it is told once some of them are gone
        check_places(run, results)
        run.check_ours()


def discard(experiments: Sequence[Run], results: Path) -> None:
    """Remove runs and their records; none of them while another process works on one.

    Raises:
        BenchError: another works on one, or they are too many: nothing is removed.
    """
    with all_locked(run.folder for run in experiments):
        for run in experiments:
            record_path(results, run.table, run.row, run.seed).unlink(missing_ok=True)
            run.discard()


def tell_other_code(
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


def refresh_displays(table: Table, results: Path, runs: Path) -> None:
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
