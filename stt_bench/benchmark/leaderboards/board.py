"""A leaderboard: a table's rows, which of them are compared, and with what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeVar

from stt_bench.benchmark.config.sections import FigureConfig
from stt_bench.benchmark.leaderboards.published import Published
from stt_bench.benchmark.leaderboards.rows import Row, build_row
from stt_bench.benchmark.leaderboards.scores import Score
from stt_bench.benchmark.leaderboards.wording import percent
from stt_bench.benchmark.store.records import Record

Value = TypeVar("Value", bound=Hashable)
_SHOWN = ("map@r", "nmi", "ami", "accuracy", "macro_accuracy")


@dataclass(frozen=True)
class Leaderboard:
    """A table's rows, Softmax baselines first, and what stands around them."""

    table: str
    title: str
    description: str
    rows: list[Row]
    main_protocol: str  # fingerprint that most rows share; only these are ranked
    published: list[Published]
    records: list[Record]
    figure: FigureConfig | None = None

    @property
    def metrics(self) -> list[str]:
        """Return the metrics shown as columns, those that some row has."""
        found = {name for row in self.rows for name in row.scores}
        recalls = sorted((n for n in found if n.startswith("recall@")), key=_at)
        shown = [*recalls, *(name for name in _SHOWN if name in found)]
        both = [
            [percent(row.scores[name]) for name in ("accuracy", "macro_accuracy")]
            for row in self.rows
            if "macro_accuracy" in row.scores
        ]
        if all(micro == macro for micro, macro in both):  # a balanced test split
            return [name for name in shown if name != "macro_accuracy"]
        return shown

    @property
    def leads(self) -> list[str]:
        """Return the metrics whose difference to Softmax is shown."""
        return [name for name in ("map@r", "accuracy") if name in self.metrics] or self.metrics[:1]

    def main(self, metric: str) -> str:
        """Return the fingerprint that most rows share in what matters for a metric."""
        return _commonest([row.protocol_for(metric) for row in _voters(self.rows)])

    def is_ranked(self, row: Row, metric: str) -> bool:
        """Tell whether a row has the metric under the protocol that most rows share.

        A row whose loss had nothing to learn from is not ranked.
        """
        same = metric in row.scores and row.protocol_for(metric) == self.main(metric)
        return same and not row.inactive

    def marks(self, row: Row) -> str:
        """Return † for a row of another protocol, ‡ for a collapsed one, § for an inactive loss."""
        other = "" if row.fingerprint == self.main_protocol else "†"
        return other + ("‡" if row.collapsed else "") + ("§" if row.inactive else "")

    def best(self, metric: str) -> set[str]:
        """Return the names of the ranked rows with the highest mean, all that tie; or none."""
        means = {r.name: r.scores[metric].mean for r in self.rows if self.is_ranked(r, metric)}
        if len(means) < 2:
            return set()
        return {name for name, mean in means.items() if mean == max(means.values())}

    def softmax_for(self, row: Row, metric: str) -> Row | None:
        """Return the Softmax row of the metric's protocol; of several, the most alike one.

        A row of the same head comes before one of another, then one of the same optimiser.
        """
        rivals = [
            other
            for other in self.rows
            if other.experiment.is_softmax
            and metric in other.scores
            and other.protocol_for(metric) == row.protocol_for(metric)
        ]

        def unlike(other: Row) -> tuple[bool, bool]:
            ours, theirs = row.experiment, other.experiment
            return _head(row) != _head(other), ours.optimizer != theirs.optimizer

        return min(rivals, key=unlike, default=None)

    def difference(self, row: Row, metric: str) -> Score | None:
        """Return the mean and spread, over the seeds both have, of row − Softmax (0 to 1).

        There is none of a row whose loss had nothing to learn from.
        """
        softmax = self.softmax_for(row, metric)
        if softmax is None or row.experiment.is_softmax or row.inactive:
            return None
        return self.between(row, softmax, metric)

    def between(self, row: Row, other: Row, metric: str) -> Score | None:
        """Return the mean and spread, over the seeds both have, of row − other (0 to 1)."""
        ours, theirs = (self._values(name, metric) for name in (row.name, other.name))
        paired = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
        return Score.of(paired) if paired else None

    def _values(self, row: str, metric: str) -> dict[int, float]:
        return {
            record.seed: record.metrics[metric]
            for record in self.records
            if record.row == row and metric in record.metrics
        }


def _voters(rows: list[Row]) -> list[Row]:
    """Return the rows that decide which protocol is the table's: those that were trained."""
    return [row for row in rows if row.experiment.train.steps > 0] or rows


def _commonest(values: list[Value]) -> Value:
    """Return the value that is there most often; of several, the first."""
    return Counter(values).most_common(1)[0][0]


def _head(row: Row) -> tuple[str, str]:
    return row.experiment.model.head, row.experiment.model.features


def build_leaderboard(table: str, records: list[Record], published: list[Published]) -> Leaderboard:
    """Return the leaderboard of one table from its records.

    Raises:
        BenchError: records of one row were made with different settings.
    """
    by_row: dict[str, list[Record]] = {}
    for record in records:
        by_row.setdefault(record.row, []).append(record)
    rows = [build_row(table, name, group) for name, group in by_row.items()]
    order = {record.row: record.display.order for record in records}
    rows.sort(key=lambda row: (not row.is_baseline, order[row.name], row.name))
    main = _commonest([row.fingerprint for row in _voters(rows)])
    # Records of rows that the table no longer has keep the title of their time.
    titles = [(r.display.title, r.display.description) for r in records]
    display = records[titles.index(_commonest(titles))].display
    return Leaderboard(
        table=table,
        title=display.title,
        description=display.description,
        rows=rows,
        main_protocol=main,
        published=published,
        records=records,
        figure=display.figure,
    )


def _at(metric: str) -> int:
    return int(metric.partition("@")[2])
