"""A table's records become the rows of its leaderboard: means and spreads over seeds."""

from __future__ import annotations

import csv
import io
import statistics
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from scipy import stats

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.sections import FigureConfig
from stt_bench.benchmark.store.protocol import fingerprint
from stt_bench.benchmark.store.records import Record
from stt_bench.benchmark.system.errors import BenchError

METRIC_NAMES = {
    "map@r": "MAP@R",
    "r_precision": "R-Precision",
    "mrr": "MRR",
    "nmi": "NMI",
    "ami": "AMI",
    "accuracy": "Accuracy",
    "macro_accuracy": "Macro accuracy",
}
Value = TypeVar("Value", bound=Hashable)
_SHOWN = ("map@r", "nmi", "ami", "accuracy", "macro_accuracy")
_OF_THE_EMBEDDING = ("embedding_dim", "distance")
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Score:
    """Mean and sample standard deviation over seeds."""

    mean: float
    std: float | None  # None with a single seed
    count: int = 1

    @property
    def verdict(self) -> str:
        """Return what the seeds say of a difference: `▲` above 0, `▼` below 0, `≈` neither.

        ▲ and ▼ stand where Student's 95 % interval of the mean over the seeds does not hold 0;
        nothing stands with a single seed.
        """
        if self.std is None:
            return ""
        reach = stats.t.ppf((1 + CONFIDENCE) / 2, self.count - 1) * self.std / self.count**0.5
        return "▲" if self.mean > reach else "▼" if self.mean < -reach else "≈"

    def percent(self) -> str:
        """Return ``mean ± std`` in percent."""
        spread = "" if self.std is None else f" ± {100 * self.std:.1f}"
        return f"{100 * self.mean:z.1f}{spread}"

    def points(self) -> str:
        """Return a difference as ``+mean ± std`` in percentage points, and its verdict."""
        spread = "" if self.std is None else f" ± {100 * self.std:.1f}"
        return f"{100 * self.mean:+.1f}{spread} {self.verdict}".rstrip()


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

    @property
    def is_baseline(self) -> bool:
        """Tell whether the row is Softmax alone or the untrained network."""
        return self.experiment.is_softmax_baseline

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


@dataclass(frozen=True)
class Published:
    """A number from the literature."""

    row: str
    metric: str
    value: str
    source: str
    note: str


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
            [row.scores[name].percent() for name in ("accuracy", "macro_accuracy")]
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
        """Tell whether a row has the metric under the protocol that most rows share."""
        return metric in row.scores and row.protocol_for(metric) == self.main(metric)

    def marks(self, row: Row) -> str:
        """Return † for a row of another protocol, ‡ for one that collapsed."""
        other = "" if row.fingerprint == self.main_protocol else "†"
        return other + ("‡" if row.collapsed else "")

    def best(self, metric: str) -> str | None:
        """Return the name of the trained row of the main protocol with the highest mean."""
        ranked = [row for row in self.rows if self.is_ranked(row, metric)]
        if len(ranked) < 2:
            return None
        return max(ranked, key=lambda row: row.scores[metric].mean).name

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
        """Return the mean and spread, over the seeds both have, of row − Softmax (0 to 1)."""
        softmax = self.softmax_for(row, metric)
        if softmax is None or row.experiment.is_softmax:
            return None
        ours, theirs = (self._values(name, metric) for name in (row.name, softmax.name))
        paired = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
        return _score(paired) if paired else None

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


def metric_name(metric: str) -> str:
    """Return a metric's name as it is printed."""
    return METRIC_NAMES.get(metric, metric.replace("recall@", "R@"))


def build_leaderboard(table: str, records: list[Record], published: list[Published]) -> Leaderboard:
    """Return the leaderboard of one table from its records.

    Raises:
        BenchError: records of one row were made with different settings.
    """
    by_row: dict[str, list[Record]] = {}
    for record in records:
        by_row.setdefault(record.row, []).append(record)
    rows = [_row(table, name, group) for name, group in by_row.items()]
    order = {record.row: record.listing.order for record in records}
    rows.sort(key=lambda row: (not row.is_baseline, order[row.name], row.name))
    main = _commonest([row.fingerprint for row in _voters(rows)])
    # Records of rows that the table no longer has keep the title of their time.
    titles = [(r.listing.title, r.listing.description) for r in records]
    listing = records[titles.index(_commonest(titles))].listing
    return Leaderboard(
        table=table,
        title=listing.title,
        description=listing.description,
        rows=rows,
        main_protocol=main,
        published=published,
        records=records,
        figure=listing.figure,
    )


def _row(table: str, name: str, records: list[Record]) -> Row:
    if len({(record.config_digest, record.protocol_fingerprint) for record in records}) > 1:
        raise BenchError(
            f"the records of {table}/{name} were made with different settings or data; "
            f"run `stt-bench run {table} --rows {name}`, or delete those that are out of date"
        )
    first = records[0]
    common = set.intersection(*(set(record.metrics) for record in records))
    scores = {
        metric: _score([record.metrics[metric] for record in records]) for metric in sorted(common)
    }
    return Row(
        name=name,
        label=first.listing.label,
        experiment=first.experiment,
        scores=scores,
        seeds=[record.seed for record in records],
        protocol=first.protocol,
        fingerprint=first.protocol_fingerprint,
        train_seconds=statistics.fmean(record.training.seconds for record in records),
        collapsed=sum(record.training.collapsed_at is not None for record in records),
    )


def _score(values: list[float]) -> Score:
    std = statistics.stdev(values) if len(values) > 1 else None
    return Score(statistics.fmean(values), std, len(values))


def _at(metric: str) -> int:
    return int(metric.partition("@")[2])


def read_published(path: Path) -> dict[str, list[Published]]:
    """Return the published numbers by table from ``published.csv``; none if there is no file.

    Columns: ``table,row,metric,value,source,note``; the value is printed as it stands.
    """
    if not path.exists():
        return {}
    tables: dict[str, list[Published]] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: cannot be read ({error})") from None
    with io.StringIO(text, newline="") as stream:
        reader = csv.DictReader(stream)
        expected = ["table", "row", "metric", "value", "source", "note"]
        if reader.fieldnames != expected:
            raise BenchError(f"{path}, line 1: the header must be {','.join(expected)}")
        for entry in reader:
            if None in entry or None in entry.values():
                raise BenchError(f"{path}, line {reader.line_num}: six fields are expected")
            if not entry["source"]:
                raise BenchError(
                    f"{path}, line {reader.line_num}: a published number needs a source"
                )
            table = entry.pop("table")
            tables.setdefault(table, []).append(Published(**entry))
    return tables
