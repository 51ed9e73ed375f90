"""The records of one row, its seeds, become a row of the leaderboard."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.table_sections import Varied
from stt_bench.benchmark.leaderboards.conditions import conditions
from stt_bench.benchmark.leaderboards.scores import Score
from stt_bench.benchmark.store.ledger import Effort
from stt_bench.benchmark.store.protocol import RULES, fingerprint
from stt_bench.benchmark.store.records import Record
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.text import one_line

_LONGEST_LABEL = 100
_FROM_PROTOCOL = ("data", "weights")  # what the settings do not tell: contents


@dataclass(frozen=True)
class Row:
    """One row of a leaderboard."""

    name: str
    label: str
    experiment: Experiment
    scores: dict[str, Score]
    seeds: list[int]
    protocol: dict[str, Any]
    fingerprint: str
    train_seconds: float
    collapsed: int  # how many of the seeds ended or passed through a collapsed embedding
    inactive: int = 0  # in how many of the seeds the loss never had a term
    tuned: tuple[str, ...] = ()  # dotted fields whose values a search has chosen, seed by seed
    search: str = ""  # how large that search was
    named_seeds: tuple[int, ...] | None = None  # by the table; None: not known
    effort: Effort | None = None  # the most that one of the records tells
    copies: tuple[int, ...] = ()  # seeds whose trained weights are those of another seed
    varied: Varied | None = None  # of which row `vary` made it

    @property
    def across(self) -> tuple[str, str] | None:
        """Return the name and label by which other tables know the row.

        Of the rows that `vary` made of one, that is the one as it would be without; the others are
        known to their own table alone.
        """
        if self.varied is None:
            return self.name, self.label
        return (self.varied.row, self.varied.label) if self.varied.usual else None

    @property
    def is_baseline(self) -> bool:
        """Tell whether the row is Softmax alone or the untrained network."""
        return self.experiment.is_softmax_baseline

    @property
    def is_trained(self) -> bool:
        """Tell whether the row is no untrained network."""
        return self.experiment.train.steps > 0

    @property
    def group(self) -> int:
        """Return where the row stands: 0 baseline, 1 one loss, 2 a loss beside Softmax."""
        return 0 if self.is_baseline else 2 if self.experiment.softmax_head else 1

    @property
    def has_all_seeds(self) -> bool:
        """Tell whether the seeds are 0 to S − 1: none is left out, none was picked."""
        return sorted(self.seeds) == list(range(len(self.seeds)))

    @property
    def has_the_tables_seeds(self) -> bool:
        """Tell whether the seeds are those that the table names, as far as that is known."""
        return self.named_seeds in (None, tuple(sorted(self.seeds)))

    @cached_property
    def conditions(self) -> Mapping[str, Any]:
        """Return all that is not the loss and can change a result, by name."""
        contents = {name: self.protocol.get(name) for name in _FROM_PROTOCOL}
        return conditions(self.experiment) | contents

    def protocol_for(self, metric: str) -> str:
        """Return the fingerprint of what must agree for a metric to be compared.

        That is the whole protocol; for accuracy, which the classifier alone decides, it is all but
        the size of the embedding and the rules of retrieval.
        """
        return self._of_classifier if metric.endswith("accuracy") else self.fingerprint

    @cached_property
    def _of_classifier(self) -> str:
        left = {"embedding_dim", *RULES}
        kept = {name: value for name, value in self.protocol.items() if name not in left}
        return fingerprint(kept)


def classifies(rows: Sequence[Row]) -> bool:
    """Tell whether rows are about classification: most of the trained ones have an accuracy."""
    has = ["accuracy" in row.scores for row in rows if row.is_trained]
    return sum(has) > len(has) / 2


def build_row(table: str, name: str, records: Sequence[Record]) -> Row:
    """Return the row of a table whose seeds have these records; a score is there if all have it.

    Seeds of a tuned row differ in what its searches chose. Its experiment is the one before tuning,
    and its protocol holds the size of the searches beside the longest length.

    Raises:
        BenchError: the records were made with different settings.
    """
    if len({(settings_digest(record), fingerprint(_protocol(record))) for record in records}) > 1:
        raise BenchError(
            f"the records of {table}/{name} were made with different settings or data; "
            f"run `stt-bench run {table} --rows {name}`, or delete those that are out of date"
        )
    first = records[0]
    tuned = tuple(sorted(first.tuning.tuned - {"train.steps"})) if first.tuning else ()
    protocol = _protocol(first)
    common = set.intersection(*(set(record.metrics) for record in records))
    return Row(
        name=name,
        label=one_line(first.display.label, _LONGEST_LABEL),
        experiment=_before(first),
        scores={
            metric: Score.of([record.metrics[metric] for record in records])
            for metric in sorted(common)
        },
        seeds=[record.seed for record in records],
        protocol=protocol,
        fingerprint=fingerprint(protocol),
        train_seconds=statistics.fmean(record.training.seconds for record in records),
        collapsed=sum(record.training.collapsed_at is not None for record in records),
        inactive=sum(record.training.inactive for record in records),
        tuned=tuned,
        search=_search(first),
        named_seeds=None if first.display.seeds is None else tuple(first.display.seeds),
        effort=_effort(records),
        copies=_copies(records),
        varied=first.display.varied,
    )


def _copies(records: Sequence[Record]) -> tuple[int, ...]:
    """Return the seeds of one and the same training: other seeds never give the same weights."""
    of: dict[str, list[int]] = {}
    for record in records:
        if record.experiment.train.steps and not record.training.inactive:
            of.setdefault(record.checkpoint_sha256, []).append(record.seed)
    return tuple(sorted(seed for seeds in of.values() if len(seeds) > 1 for seed in seeds))


def _effort(records: Sequence[Record]) -> Effort | None:
    """Return the highest counts: each record holds those of the time when it was written."""
    found = [record.effort.model_dump() for record in records if record.effort is not None]
    if not found:
        return None
    return Effort(**{name: max(one[name] for one in found) for name in found[0]})


def settings_digest(record: Record) -> str:
    """Return the digest of a row's settings, before tuning where it was tuned."""
    return record.config_digest if record.tuning is None else record.tuning.base_digest


def _search(record: Record) -> str:
    """Return the size of the searches that a record's settings come from; empty if none."""
    found = record.tuning
    return f"{found.studies} × {found.trials} trials on {found.folds} folds" if found else ""


def _protocol(record: Record) -> dict[str, Any]:
    search = _search(record)
    if not search:
        return record.protocol
    return {**record.protocol, "steps": f"up to {_before(record).train.steps}, tuned: {search}"}


def _before(record: Record) -> Experiment:
    """Return the experiment as it stands in the table, before tuning.

    So that Softmax with a label smoothing that was tuned for it is the Softmax row all the same.
    """
    found = record.tuning
    return record.experiment.with_values(found.before) if found else record.experiment
