"""What a table would run: which rows and seeds, from which data, and for about how long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.datasets.catalog import find_dataset
from stt_bench.benchmark.datasets.items import find_root
from stt_bench.benchmark.datasets.training_items import Fold, folds_of, training_items
from stt_bench.benchmark.jobs.work import shard_of
from stt_bench.benchmark.leaderboards.report import why_no_board
from stt_bench.benchmark.store.records import expected_seconds, record_path
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import Data, is_done
from stt_bench.benchmark.suite.refusals import Refusals, is_downloaded
from stt_bench.benchmark.system.errors import BenchError, NotHereError
from stt_bench.benchmark.system.progress import Reporter, duration
from stt_bench.benchmark.training.checks import idle_classifiers
from stt_bench.benchmark.tuning.trial import check_folds
from stt_bench.benchmark.tuning.winners import MissingTrialsError, Winners, tuned_run

State = Literal["finished", "trained", "stopped", "refused", "untuned", "new"]
_WORDS: dict[State, str] = {
    "finished": "has a record",
    "trained": "is trained: will be embedded and evaluated",
    "stopped": "continues from its checkpoint",
    "refused": "would be refused",
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
    why: str = ""  # of a refused run, the sentence; an untuned one does not fit its folds, or …
    tune: str = ""  # … it lacks trials: the command that makes them


@dataclass(frozen=True)
class Plan:
    """What would be run of a table, and where its data are: a sentence for each dataset.

    `stops` says that a refusal ends the whole command before its first run.
    """

    table: str
    data: list[str]
    runs: list[Planned]
    idle: str | None = None  # what is said of classifiers that teach nothing
    stops: bool = False
    no_board: str = ""  # why its leaderboard would be refused, where that is told of no run

    @property
    def refused(self) -> list[Planned]:
        """Return what would be refused."""
        return [one for one in self.runs if one.why]

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
        if self.no_board:
            yield f"  the leaderboard would be refused: {self.no_board}"
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
    is_here: bool = True,
) -> Plan:
    """Return what `run_table` would do; nothing is written, trained or downloaded.

    What it refuses before a first step is found as it finds it: data are listed and compared,
    weights read, networks built; see `Refusals`. No image is decoded but where files are missing,
    and of weights that a library fetches only the name is checked.

    The times are those of the records in `results`, a step's time × the steps of now, on the
    machine that made them.

    Raises:
        BenchError: there is no such row.
    """
    data = Data(reporter, download=False)
    winners, places = Winners(table, results), dict[tuple[str, str], None]()
    refusals, folds = Refusals(results, data, is_here=is_here), _Folds(table)
    planned = []
    for row, experiment in table.select(rows).items():
        places[_place(experiment, data)] = None
        for seed in table.seeds if seeds is None else seeds:
            try:
                run = tuned_run(winners, row, seed, runs)
            except BenchError as error:
                why, tune = refusals.of_row(experiment) or folds.misfit(experiment), ""
                if not why and isinstance(error, MissingTrialsError):
                    why, tune = error.lacks, error.tune
                run = run_of(table, row, seed, runs)
                planned.append(Planned(run, "untuned", None, why or str(error), tune))
                continue
            seconds = expected_seconds(results, table.name, row, run.experiment)
            state, why = _state(run, results, data, force=force)
            if state != "finished":
                why = why or refusals.of_run(run, force=force)
            planned.append(Planned(run, "refused" if why else state, seconds, why))
    own = list(shard_of(planned, shard))
    untuned = [one for one in planned if one.state == "untuned"]
    own += [one for one in untuned if one not in own]  # of other parts, too, they end the command
    whys = {one.why for one in own}
    stops = bool(untuned) or (force and any(whys))
    no_board = ""
    if "" in whys and not stops:
        made = [one.run for one in own if not one.why and one.state != "finished"]
        new = {record_path(results, run.table, run.row, run.seed) for run in made}
        no_board = why_no_board(results, table.name, new)
    return Plan(
        table.name,
        [f"{start}: {'see below' if told in whys else told}" for start, told in places],
        own,
        idle_classifiers(table.select(rows)),
        stops=stops,
        no_board="" if no_board in whys else no_board,
    )


def _state(run: Run, results: Path, data: Data, *, force: bool) -> tuple[State, str]:
    """Return how far a run is; and why its record cannot be read, if so."""
    if force:
        return "new", ""
    try:
        if is_done(run, results, data):
            return "finished", ""
    except BenchError as error:
        return "refused", str(error)
    return "trained" if run.is_trained else "stopped" if run.checkpoint.exists() else "new", ""


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


def _place(experiment: Experiment, data: Data) -> tuple[str, str]:
    """Return what a dataset is called, and where it was found or how to get it."""
    dataset = find_dataset(experiment.data.name)
    start = f"{dataset.name} ({experiment.data.task})"
    try:
        root = find_root(dataset, experiment.data.root, download=False)
        items = data.of(experiment)
    except NotHereError as error:
        return start, f"{'is downloaded at first use; ' * is_downloaded(experiment)}{error}"
    except BenchError as error:
        return start, str(error)
    kind = "images" if items.vectors is None else "vectors"
    where = "with the packages" if root is None else root
    return start, f"{len(items.frame):,} {kind}, {where}"


def _in_words(seconds: float | None) -> str:
    return "an unknown time" if seconds is None else duration(seconds)
