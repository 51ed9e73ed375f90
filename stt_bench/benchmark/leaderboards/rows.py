"""The records of one row, its seeds, become a row of the leaderboard."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.leaderboards.scores import Score
from stt_bench.benchmark.store.protocol import fingerprint
from stt_bench.benchmark.store.records import Record
from stt_bench.benchmark.system.errors import BenchError

_OF_THE_EMBEDDING = ("embedding_dim", "distance")


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

    @property
    def is_baseline(self) -> bool:
        """Tell whether the row is Softmax alone or the untrained network."""
        return self.experiment.is_softmax_baseline

    @property
    def has_all_seeds(self) -> bool:
        """Tell whether the seeds are 0 to S − 1: none is left out, none was picked."""
        return sorted(self.seeds) == list(range(len(self.seeds)))

    def protocol_for(self, metric: str) -> str:
        """Return the fingerprint of what must agree for a metric to be compared.

        That is the whole protocol; for accuracy, which the classifier alone decides, it is all but
        the size of the embedding and its distance.
        """
        if not metric.endswith("accuracy"):
            return self.fingerprint
        return fingerprint(
            {name: value for name, value in self.protocol.items() if name not in _OF_THE_EMBEDDING}
        )


def build_row(table: str, name: str, records: Sequence[Record]) -> Row:
    """Return the row of a table whose seeds have these records; a score is there if all have it.

    Raises:
        BenchError: the records were made with different settings.
    """
    if len({(record.config_digest, record.protocol_fingerprint) for record in records}) > 1:
        raise BenchError(
            f"the records of {table}/{name} were made with different settings or data; "
            f"run `stt-bench run {table} --rows {name}`, or delete those that are out of date"
        )
    first = records[0]
    common = set.intersection(*(set(record.metrics) for record in records))
    return Row(
        name=name,
        label=first.display.label,
        experiment=first.experiment,
        scores={
            metric: Score.of([record.metrics[metric] for record in records])
            for metric in sorted(common)
        },
        seeds=[record.seed for record in records],
        protocol=first.protocol,
        fingerprint=first.protocol_fingerprint,
        train_seconds=statistics.fmean(record.training.seconds for record in records),
        collapsed=sum(record.training.collapsed_at is not None for record in records),
        inactive=sum(record.training.inactive for record in records),
    )
