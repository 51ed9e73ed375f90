"""A leaderboard: a table's rows, which of them are compared, and with what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

from stt_bench.benchmark.config.table_sections import FigureConfig
from stt_bench.benchmark.leaderboards.baseline import (
    Baseline,
    baseline_of,
    best_softmax,
    is_softmax,
)
from stt_bench.benchmark.leaderboards.comparisons import Measured, Pair, judge, may_be_best
from stt_bench.benchmark.leaderboards.published import Published
from stt_bench.benchmark.leaderboards.rows import Row, build_row, classifies, settings_digest
from stt_bench.benchmark.leaderboards.wording import asked_for, percent
from stt_bench.benchmark.scoring.probe import made_by_other_code
from stt_bench.benchmark.statistics.verdicts import Verdict
from stt_bench.benchmark.store.distances import Distance, measured_by, other_than
from stt_bench.benchmark.store.ledger import Entry
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
    distance: Distance  # by which retrieval is ranked; the records are as they stand under it
    sources: list[Record]  # the records as they are
    figure: FigureConfig | None = None
    compare_by: str | None = None
    ledger: Sequence[Entry] = ()
    twin: Leaderboard | None = field(default=None, repr=False)  # under the other distance

    @cached_property
    def by_the_other(self) -> Leaderboard:
        """Return the same leaderboard ranked by the other distance, without clustering."""
        return build_leaderboard(
            self.table,
            self.sources,
            self.published,
            self.ledger,
            distance=other_than(self.distance),
            twin=self,
        )

    @cached_property
    def metrics(self) -> list[str]:
        """Return the metrics shown as columns, those that some row has."""
        found = {name for row in self.rows for name in row.scores}
        recalls = sorted(
            (n for n in found if n.startswith("recall@")), key=lambda n: int(n[len("recall@") :])
        )
        shown = [*recalls, *(name for name in _SHOWN if name in found), *asked_for(found)]
        both = [
            [percent(row.scores[name]) for name in ("accuracy", "macro_accuracy")]
            for row in self.rows
            if "macro_accuracy" in row.scores
        ]
        if all(micro == macro for micro, macro in both):  # a balanced test split
            return [name for name in shown if name != "macro_accuracy"]
        return shown

    @property
    def tuned(self) -> set[str]:
        """Return the dotted fields that were tuned for some row; empty where none was."""
        return {field for row in self.rows for field in row.tuned}

    @property
    def leads(self) -> list[str]:
        """Return the metrics whose differences to Softmax are shown: those of one family.

        The one that the table names, else MAP@R and accuracy, those of the two that there are.
        """
        if self.compare_by in self.metrics:
            return [self.compare_by]
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
        """Return the signs of `wording.MARKS` that a row carries."""
        told = {
            "†": row.fingerprint != self.main_protocol,
            "‡": row.collapsed,
            "§": row.inactive,
            "¶": row.name in self.other_code,
            "↓": self.below_untrained(row) is not None,
        }
        return "".join(mark for mark, is_so in told.items() if is_so)

    def best(self, metric: str) -> set[str]:
        """Return the names of the ranked rows with the highest mean, all that tie; or none."""
        means = {r.name: r.scores[metric].mean for r in self.rows if self.is_ranked(r, metric)}
        if len(means) < 2:
            return set()
        return {name for name, mean in means.items() if mean == max(means.values())}

    def below_untrained(self, row: Row, metric: str = "map@r") -> Row | None:
        """Return the best untrained row of the same test data that a row is below."""
        if not row.is_trained or metric not in row.scores:
            return None
        untrained = [
            other
            for other in self.rows
            if not other.is_trained
            and metric in other.scores
            and other.protocol.get("data") == row.protocol.get("data")
        ]
        best = max(untrained, key=lambda other: other.scores[metric].mean, default=None)
        above = best is not None and best.scores[metric].mean > row.scores[metric].mean
        return best if above else None

    def baseline(self, row: Row, metric: str) -> Baseline:
        """Return the Softmax row that agrees with a row in all that is not the loss."""
        alike = [other for other in self._softmax if other.search == row.search]
        return baseline_of(row, alike, metric, self.tuned)

    def best_softmax(self, row: Row, metric: str) -> Row | None:
        """Return the Softmax row with the highest mean of a metric, of the row's protocol."""
        return best_softmax(self.softmax_rows(row, metric), metric)

    def softmax_rows(self, row: Row, metric: str) -> list[Row]:
        """Return the trained Softmax rows of a row's protocol, one of which is the best."""
        protocol = row.protocol_for(metric)
        return [
            other
            for other in self._softmax
            if metric in other.scores and other.protocol_for(metric) == protocol
        ]

    @cached_property
    def _softmax(self) -> list[Row]:
        """Hold the trained Softmax rows."""
        return [row for row in self.rows if is_softmax(row)]

    @cached_property
    def pairs(self) -> list[Pair]:
        """Return what is compared: each trained row with its baseline and with the best Softmax.

        A row whose loss had nothing to learn from is not compared, nor one that lacks a seed before
        its last: its seeds may have been picked.
        """
        return self._pairs(
            lambda row, metric: [self.baseline(row, metric).row, self.best_softmax(row, metric)]
        )

    @cached_property
    def family(self) -> list[Pair]:
        """Return what the verdicts are adjusted over: `pairs`, and all that might have been there.

        Which Softmax row is the best is read from the numbers that are then judged, so that each
        of them counts. (With twelve equal Softmax rows and 39 others, one in six tables would else
        show a ▼.)
        """
        return self._pairs(
            lambda row, metric: [self.baseline(row, metric).row, *self.softmax_rows(row, metric)]
        )

    def _pairs(self, others: Callable[[Row, str], Sequence[Row | None]]) -> list[Pair]:
        found: dict[Pair, None] = {}
        for metric in self.leads:
            for row in self.rows:
                trained = row.is_trained and metric in row.scores
                if not trained or is_softmax(row) or row.inactive or not row.has_all_seeds:
                    continue
                for other in others(row, metric):
                    if other is not None and other.has_all_seeds:
                        found[Pair(row.name, other.name, metric)] = None
        return list(found)

    def base_digest(self, row: Row) -> str:
        """Return the digest of a row's settings, before tuning where it was tuned."""
        return settings_digest(next(one for one in self.records if one.row == row.name))

    @cached_property
    def measured(self) -> Measured:
        """Return the records' metrics and class values."""
        return Measured(self.records)

    @cached_property
    def verdicts(self) -> dict[Pair, Verdict]:
        """Return the verdicts on all pairs, adjusted over the family.

        They have no mark where one of the two rows may not have one.
        """
        found = judge(self.measured, self.family)
        return {
            pair: replace(found[pair], withheld=not {pair.row, pair.other} <= self.whole)
            for pair in self.pairs
            if pair in found
        }

    @cached_property
    def whole(self) -> set[str]:
        """Return the names of the rows that may get a mark.

        They have the table's seeds, each a training of its own, by code that computes as today's.
        """
        return {
            row.name
            for row in self.rows
            if row.has_the_tables_seeds and not row.copies and row.name not in self.other_code
        }

    @cached_property
    def _tied(self) -> dict[str, list[str] | None]:
        """Hold, by metric, the rows that cannot be told from the best, which take long to find."""
        return {}

    @cached_property
    def other_code(self) -> dict[str, list[str]]:
        """Return the rows made by code that computes otherwise than today's, and what differs."""
        return self.twin.other_code if self.twin else made_by_other_code(self.records)

    def difference(self, row: Row, metric: str) -> Verdict | None:
        """Return the verdict on row − its baseline (0 to 1); None where there is no baseline."""
        return self.verdict(row, self.baseline(row, metric).row, metric)

    def verdict(self, row: Row, other: Row | None, metric: str) -> Verdict | None:
        """Return the verdict on row − other; None where they are not compared."""
        return None if other is None else self.verdicts.get(Pair(row.name, other.name, metric))

    def judged(self, metric: str) -> list[Row]:
        """Return the ranked rows that may be judged; a seed that one lacks would count for none."""
        sound = (row for row in self.rows if row.name in self.whole and row.has_all_seeds)
        return [row for row in sound if self.is_ranked(row, metric)]

    def may_be_best(self, metric: str) -> list[Row] | None:
        """Return the judged rows that cannot be told from the best; None where unknown."""
        ranked = [row.name for row in self.judged(metric)]
        if metric not in self._tied:
            self._tied[metric] = may_be_best(self.measured, ranked, metric)
        names = self._tied[metric]
        return None if names is None else [row for row in self.rows if row.name in names]


def _voters(rows: list[Row]) -> list[Row]:
    """Return the rows that decide which protocol is the table's: those that were trained."""
    return [row for row in rows if row.is_trained] or rows


def _commonest(values: list[Value]) -> Value:
    """Return the value that is there most often; of several, the first."""
    return Counter(values).most_common(1)[0][0]


def build_leaderboard(
    table: str,
    records: list[Record],
    published: list[Published],
    ledger: Sequence[Entry] = (),
    *,
    distance: Distance | None = None,
    twin: Leaderboard | None = None,
) -> Leaderboard:
    """Return the leaderboard of one table from its records and its ledger.

    All rows are ranked by one distance: that which is given, else that of most trained rows.
    A row whose records know nothing of it has no retrieval.

    Raises:
        BenchError: records of one row were made with different settings.
    """
    sources = records
    distance = distance or _ranking_distance(records)
    records = [measured_by(record, distance) for record in sources]
    by_row: dict[str, list[Record]] = {}
    for record in records:
        by_row.setdefault(record.row, []).append(record)
    rows = [build_row(table, name, group) for name, group in by_row.items()]
    order = {record.row: record.display.order for record in records}
    rows.sort(key=lambda row: (not row.is_baseline, order[row.name], row.name))
    if any(row.search for row in rows):
        _sort_by_score(rows)
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
        distance=distance,
        sources=sources,
        twin=twin,
        figure=display.figure,
        compare_by=display.compare_by,
        ledger=ledger,
    )


def _ranking_distance(records: Sequence[Record]) -> Distance:
    rows = {record.row: record.experiment for record in records}.values()
    trained = [experiment for experiment in rows if experiment.train.steps > 0] or rows
    return _commonest([experiment.evaluation.distance for experiment in trained])


def _sort_by_score(rows: list[Row]) -> None:
    """Sort rows by group, and inside by their mean: of accuracy where most have it, else MAP@R."""
    lead = "accuracy" if classifies(rows) else "map@r"
    rows.sort(key=lambda r: (r.group, -r.scores[lead].mean if lead in r.scores else 0.0))
