"""Where the runs of a table, or its trials, are done: here, or in processes of this machine."""

from __future__ import annotations

from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.jobs.pool import Pool
from stt_bench.benchmark.jobs.work import Executor, Here


def executor_of(table: Table, jobs: int) -> Executor:
    """Return what does the work of a table."""
    if jobs == 1:
        return Here()
    named = {experiment.train.device for experiment in table.rows.values()}
    return Pool(jobs, spread_gpus=named <= {"auto", "cuda"})
