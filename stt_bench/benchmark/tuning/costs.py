"""What a search costs, told before it starts; and what came of it, told at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.config.table_sections import TuningConfig
from stt_bench.benchmark.system.progress import Reporter, duration
from stt_bench.benchmark.tuning.searches import Search, searches
from stt_bench.benchmark.tuning.winners import alarms, winner


def tell_price(
    table: Table,
    config: TuningConfig,
    todo: Sequence[Search],
    reporter: Reporter,
    shard: tuple[int, int] = (1, 1),
) -> int:
    """Say before it starts what it costs, by the trials that are there.

    Returns:
        How many trials there are whose price is not known, since there are none yet.
    """
    number = sum(len(search.missing) for search in todo)
    if not number:
        part = f" of part {shard[0]} of {shard[1]} of the chosen rows" if shard[1] > 1 else ""
        reporter.say(f"{table.name}: every trial{part} is there")
        return 0
    known = [trial.seconds for search in todo for trial in search.valid]
    mean = sum(known) / len(known) if known else None
    text = f"{table.name}: {number} trial(s) of {config.folds} folds to run"
    if mean is None:
        reporter.say(f"{text}; the price is told after the first of them")
        return number
    price = 0.0
    for search in todo:
        own = [trial.seconds for trial in search.valid]
        price += len(search.missing) * (sum(own) / len(own) if own else mean)
    reporter.say(f"{text}, about {price / 60:,.1f} core-minutes by the trials that are there")
    return 0


def tell_end(
    table: Table,
    config: TuningConfig,
    results: Path,
    rows: Sequence[str] | None,
    reporter: Reporter,
) -> None:
    """Say what it cost, and of each row its winners and what sits at a bound."""
    spent = 0.0
    for search in searches(table, config, results, rows=rows):
        spent += sum(trial.seconds for trial in search.valid)
        name = f"{table.name}/{search.row}"
        failed = sum(trial.error is not None for trial in search.valid)
        if search.missing:
            reporter.say(f"{name}: {len(search.missing)} trial(s) are still missing")
        if failed:
            reporter.say(f"{name}: {failed} trial(s) failed, which counts as an objective of 0")
        for study in range(config.studies):
            best = winner(search.valid, study)
            if best is None:
                continue
            shown = ", ".join(f"{key} {value:g}" for key, value in best.point.items())
            reporter.say(
                f"{name}, study {study}: {100 * best.objective:.2f} with {shown}, "
                f"{best.steps} steps (trial {best.index})"
            )
            for field, bound in alarms(search.experiment, best):
                reporter.warn(
                    f"{name}, study {study}: the winner's {field} is near the bound {bound:g} of "
                    "its range, and the best may lie beyond it"
                )
    reporter.say(f"{table.name}: {spent / 60:,.1f} core-minutes ({duration(spent)}) of trials")
