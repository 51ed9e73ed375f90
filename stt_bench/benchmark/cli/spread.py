"""Where the runs of a table, or its trials, are done: here, in processes, or on a Ray cluster."""

from __future__ import annotations

from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.jobs.work import Executor, Here
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.launch import launched


def executor_of(
    table: Table,
    tasks: int,
    jobs: int,
    on: str | None,
    cpus: float | None,
    gpus: float | None,
    *,
    team: int = 1,
) -> Executor:
    """Return what does the work of a table.

    No more jobs share the machine than the command has tasks. Those that are done already count, so
    that the same command, where it goes on, gives each of the others as many threads as before.

    Args:
        table: whose rows say which devices they use.
        tasks: runs or trials that the command asks for.
        jobs: how many of them go on at once in processes of this machine.
        on: `ray`, or None.
        cpus: of each, on Ray.
        gpus: of each, on Ray.
        team: processes that share each of several jobs.

    Raises:
        BenchError: as `check_spread`; or the cluster cannot hold one of them.
    """
    check_spread(jobs, on, cpus, gpus)
    if on is not None:
        from stt_bench.benchmark.jobs.ray_cluster import Ray

        return Ray(cpus=cpus, gpus=gpus)
    if jobs == 1:
        return Here()
    from stt_bench.benchmark.cli.several import work_along
    from stt_bench.benchmark.jobs.pool import Pool

    named = {experiment.train.device for experiment in table.rows.values()}
    spread = named <= {"auto", "cuda"}
    return Pool(max(1, min(jobs, tasks)), spread_gpus=spread, team=team, along=work_along)


def check_spread(jobs: int, on: str | None, cpus: float | None, gpus: float | None) -> None:
    """Check how work is to be spread.

    Raises:
        BenchError: options that do not go together; or there is no Ray.
    """
    if (jobs > 1 or on) and launched():
        raise BenchError(
            "torchrun starts the processes of one training at a time, --jobs and --on ray their "
            "own: leave torchrun out, and for several GPUs each give --jobs and --gpus"
        )
    if on is None:
        for option, value in (("--cpus-per-run", cpus), ("--gpus-per-run", gpus)):
            if value is not None:
                raise BenchError(f"{option} goes with --on ray; without it, give --jobs")
        return
    if jobs > 1:
        raise BenchError(
            "give --jobs or --on ray: the cluster's CPUs and GPUs decide how many run at once "
            "(--cpus-per-run, --gpus-per-run)"
        )
    from stt_bench.benchmark.jobs.ray_cluster import import_ray

    import_ray()
