"""The points of a table's rows as lines, with what became of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.config.table_sections import TuningConfig
from stt_bench.benchmark.store.trials import DEFAULT, Trial
from stt_bench.benchmark.tuning.searches import points, searches
from stt_bench.benchmark.tuning.space import space_of
from stt_bench.benchmark.tuning.winners import missing_trials, winner


def shown(
    table: Table, config: TuningConfig, results: Path, *, rows: Sequence[str] | None
) -> Iterator[str]:
    """Yield the search space of each row, and a line for each of its points."""
    for search in searches(table, config, results, rows=rows):
        yield f"{table.name}/{search.row}"
        for dimension in space_of(search.experiment):
            bounds = dimension.bounds
            of = f" × {dimension.factor_of}" if dimension.factor_of else ""
            yield f"  {dimension.field}{of}: {bounds.low:g} to {bounds.high:g}, {bounds.scale}"
        there = {(trial.study, trial.index): trial for trial in search.valid}
        best = [winner(search.valid, study) for study in range(config.studies)]
        for place, point in points(search.experiment, missing_trials(config, [])):
            trial = there.get(place)
            values = ", ".join(f"{name} {value:g}" for name, value in point.items())
            star = " *" if trial is not None and trial in best else ""
            yield f"  {_name(*place)}: {values}: {_outcome(trial)}{star}"


def _name(study: int, index: int) -> str:
    return "the row's own" if index == DEFAULT else f"study {study}, trial {index}"


def _outcome(trial: Trial | None) -> str:
    if trial is None:
        return "not run"
    if trial.error is not None:
        return f"failed: {trial.error}"
    return f"{100 * trial.objective:.2f} at step {trial.steps}"
