"""What a table would run: which rows and seeds, from which data, and for about how long."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Literal

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.sections import InputConfig, ModelConfig
from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.datasets.catalog import find_dataset
from stt_bench.benchmark.datasets.items import find_root
from stt_bench.benchmark.datasets.training_items import Fold, folds_of, training_items
from stt_bench.benchmark.jobs.work import shard_of
from stt_bench.benchmark.models import EmbeddingNetwork, build_network
from stt_bench.benchmark.store.records import expected_seconds
from stt_bench.benchmark.store.runs import Run, open_run, run_of
from stt_bench.benchmark.suite import Data, is_done
from stt_bench.benchmark.suite.before import check_fits
from stt_bench.benchmark.system.errors import BenchError, NotHereError
from stt_bench.benchmark.system.progress import Reporter, duration
from stt_bench.benchmark.training.checks import check_chunks, idle_classifiers
from stt_bench.benchmark.tuning.trial import check_folds
from stt_bench.benchmark.tuning.winners import MissingTrialsError, Winners, tuned_run

State = Literal["finished", "trained", "stopped", "refused", "unfit", "untuned", "new"]
_WORDS: dict[State, str] = {
    "finished": "has a record",
    "trained": "is trained: will be embedded and evaluated",
    "stopped": "continues from its checkpoint",
    "refused": "would be refused: its folder holds a run with other settings",
    "unfit": "would be refused",
    "untuned": "would be refused",
    "new": "starts",
}
_TRAINS = ("stopped", "new")


@dataclass(frozen=True)
class Planned:
    """One row and seed of a table: how far it is, and how long its training would take."""

    run: Run
    state: State
    seconds: float | None  # by the last records of its row; None: there are none
    why: str = ""  # an unfit run does not fit its data; an untuned one not its folds, or …
    tune: str = ""  # … it lacks trials: the command that makes them


@dataclass(frozen=True)
class Plan:
    """What would be run of a table, and where its data are: a sentence for each dataset."""

    table: str
    data: list[str]
    runs: list[Planned]
    idle: str | None = None  # what is said of classifiers that teach nothing

    def lines(self) -> Iterator[str]:
        """Yield the plan as it is printed."""
        yield f"{self.table}: {len(self.runs)} run(s)"
        yield from (f"  data {told}" for told in self.data)
        refused = self._refused()
        for (row, state, seconds, why), group in groupby(self.runs, key=_kind):
            own = list(group)
            numbers, names = [one.run.seed for one in own], [row]
            if why:
                numbers, names = next(one for one in refused[why] if row in one[1])
                if (row, own[0].run.seed) != (names[0], numbers[0]):
                    continue  # is told
            rows, seeds = ", ".join(names), ", ".join(map(str, numbers))
            length = f"; {_in_words(seconds)} of training each" if state in _TRAINS else ""
            reason = f": {why}" if why else ""
            if own[0].tune:
                reason += f": run `{own[0].tune} --rows {rows.replace(', ', ',')}` first"
            yield f"  {rows}, seed {seeds}: {_WORDS[state]}{length}{reason}"
        if self.idle:
            yield f"  {self.idle}"
        training = [one for one in self.runs if one.state in _TRAINS]
        known = [one.seconds for one in training if one.seconds is not None]
        unknown = len(training) - len(known)
        of_them = f"for {len(known)} of them" if unknown else "in all"
        total = f", about {duration(sum(known))} {of_them}" if known else ""
        more = f"; the time of {unknown} is not known: their rows have no record" if unknown else ""
        yield f"  {len(training)} to train{total}{more}"

    def _refused(self) -> dict[str, list[tuple[list[int], list[str]]]]:
        """Return for each refusal the rows of which the same seeds are refused."""
        seeds: dict[tuple[str, str], list[int]] = {}
        for one in self.runs:
            if one.why:
                seeds.setdefault((one.why, one.run.row), []).append(one.run.seed)
        found: dict[str, list[tuple[list[int], list[str]]]] = {}
        for (why, row), own in seeds.items():
            alike = [rows for numbers, rows in found.setdefault(why, []) if numbers == own]
            if alike:
                alike[0].append(row)
            else:
                found[why].append((own, [row]))
        return found


def _kind(one: Planned) -> tuple[str, State, float | None, str]:
    return one.run.row, one.state, one.seconds if one.state in _TRAINS else None, one.why


def plan(
    table: Table,
    *,
    rows: Sequence[str] | None,
    seeds: Sequence[int] | None,
    runs: Path,
    results: Path,
    force: bool,
    reporter: Reporter,
    shard: tuple[int, int] = (1, 1),
) -> Plan:
    """Return what `run_table` would do; nothing is written, trained or downloaded.

    The times are those of the records in `results`, a step's time × the steps of now, on the
    machine that made them.

    Raises:
        BenchError: there is no such row.
    """
    data = Data(reporter, download=False)
    winners, places = Winners(table, results), dict[str, None]()
    folds = _Folds(table)
    planned = []
    for row, experiment in table.select(rows).items():
        places[_place(experiment, data)] = None
        misfit = _misfit(experiment, data)
        for seed in table.seeds if seeds is None else seeds:
            try:
                run = tuned_run(winners, row, seed, runs)
            except BenchError as error:
                why, tune = misfit or folds.misfit(experiment), ""
                if not why and isinstance(error, MissingTrialsError):
                    why, tune = error.lacks, error.tune
                run = run_of(table, row, seed, runs)
                planned.append(Planned(run, "untuned", None, why or str(error), tune))
                continue
            seconds = expected_seconds(results, table.name, row, run.experiment)
            state = "new" if force else _state(run, results, data)
            if misfit and state in _TRAINS:
                planned.append(Planned(run, "unfit", seconds, misfit))
            else:
                planned.append(Planned(run, state, seconds))
    own = shard_of(planned, shard)
    return Plan(table.name, list(places), own, idle_classifiers(table.select(rows)))


def _state(run: Run, results: Path, data: Data) -> State:
    if is_done(run, results, data):
        return "finished"
    if not (run.is_trained or run.checkpoint.exists()):
        return "new"
    try:
        before = open_run(run.folder).experiment.training_digest()
    except BenchError:
        return "refused"
    if before != run.experiment.training_digest():
        return "refused"
    return "trained" if run.is_trained else "stopped"


def _misfit(experiment: Experiment, data: Data) -> str:
    """Return why the data cannot be trained on, if they are here; else nothing."""
    try:
        items = data.of(experiment)
    except BenchError:
        return ""  # is told of the data
    try:
        check_fits(experiment, items)
        if (experiment.train.chunk or math.inf) < experiment.sampler.images_per_batch:
            settings = experiment.model.model_dump_json(), experiment.input.model_dump_json()
            check_chunks(experiment, _network(*settings, items.width))
    except BenchError as error:
        return str(error)
    return ""


@lru_cache(maxsize=1)  # neighbours in a table share it
def _network(model: str, input: str, width: int | None) -> EmbeddingNetwork:
    """Return the network of such settings with random weights: its own may be far away."""
    config = ModelConfig.model_validate_json(model).model_copy(update={"weights": None})
    return build_network(config, InputConfig.model_validate_json(input), width)


class _Folds:
    """Says why a row that is not tuned yet does not fit the folds; neighbours share them."""

    def __init__(self, table: Table) -> None:
        self._count = None if table.tuning is None else table.tuning.folds
        self._key: str | None = None
        self._folds: list[Fold] = []
        self._found: dict[str, str] = {}

    def misfit(self, experiment: Experiment) -> str:
        """Return why its sampler does not fit, if the data are here; else nothing."""
        if self._count is None:
            return ""
        digest = experiment.digest()
        if digest not in self._found:
            self._found[digest] = self._misfit(experiment, self._count)
        return self._found[digest]

    def _misfit(self, experiment: Experiment, count: int) -> str:
        key = experiment.data.model_dump_json()
        try:
            if key != self._key:
                items = training_items(experiment.data, download=False)
                self._key, self._folds = key, folds_of(items, experiment.data.task, count)
            check_folds(experiment, self._folds)
        except NotHereError:
            return ""  # is told of the data
        except BenchError as error:
            return str(error)
        return ""


def _place(experiment: Experiment, data: Data) -> str:
    """Return where a dataset was found, or how to get it."""
    dataset = find_dataset(experiment.data.name)
    start = f"{dataset.name} ({experiment.data.task})"
    try:
        root = find_root(dataset, experiment.data.root, download=False)
        items = data.of(experiment)
    except BenchError as error:
        automatic = dataset.download is not None and experiment.data.root is None
        return f"{start}: {'is downloaded at first use; ' if automatic else ''}{error}"
    kind = "images" if items.vectors is None else "vectors"
    where = "with the packages" if root is None else root
    return f"{start}: {len(items.frame):,} {kind}, {where}"


def _in_words(seconds: float | None) -> str:
    return "an unknown time" if seconds is None else duration(seconds)
