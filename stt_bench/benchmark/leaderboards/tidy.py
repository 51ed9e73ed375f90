"""Everything behind the leaderboards as tidy tables: one observation a line, one file a kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.outcome import main_metric
from stt_bench.benchmark.leaderboards.searches import RowSearch
from stt_bench.benchmark.leaderboards.wording import batch_text, loss_text
from stt_bench.benchmark.statistics.verdicts import Answer
from stt_bench.benchmark.store.class_records import ClassShare
from stt_bench.benchmark.store.distances import is_by_distance
from stt_bench.benchmark.store.records import Record

Line = dict[str, Any]


class Source(NamedTuple):
    """A leaderboard with the searches behind its rows."""

    board: Leaderboard
    searches: Sequence[RowSearch]


class Kind(NamedTuple):
    """A file: what one of its lines is, its columns with their meaning, and the lines."""

    line: str
    columns: dict[str, str]
    lines: Callable[[Source], Iterator[Line]]

    def frame(self, sources: Sequence[Source]) -> pd.DataFrame:
        """Return the lines of all tables; a cell without a value is missing."""
        found = [line for source in sources for line in self.lines(source)]
        return pd.DataFrame(found, columns=list(self.columns))


def _rows(source: Source) -> Iterator[Line]:
    board = source.board
    lead = main_metric(board)
    for row in board.rows:
        yield {
            "table": board.table,
            "row": row.name,
            "label": row.label,
            "loss": loss_text(row),
            "batch": batch_text(row),
            "kind": ("baseline", "one loss", "beside softmax")[row.group],
            "seeds": len(row.seeds),
            "main_metric": lead,
            "ranked": board.is_ranked(row, lead),
            "marks": board.marks(row),
            "tuned": row.search,
            "protocol": row.fingerprint,
        }


def _seeds(source: Source) -> Iterator[Line]:
    for record in source.board.sources:
        own = record.experiment.evaluation.distance
        for metric, value in record.metrics.items():
            distance = own if is_by_distance(metric) else None
            yield _of(record) | {"metric": metric, "distance": distance, "value": value}
        if (other := record.other_distance) is not None:
            for metric, value in other.metrics.items():
                yield _of(record) | {"metric": metric, "distance": other.distance, "value": value}
        costs = {
            "train_seconds": record.training.seconds,
            "peak_memory_mib": record.training.peak_memory_mib,
            "trained_parameters": record.training.trained_parameters,
        }
        for metric, value in costs.items():
            yield _of(record) | {"metric": metric, "distance": None, "value": value}


def _classes(source: Source) -> Iterator[Line]:
    for record in source.board.sources:
        held, other, scores = record.class_values, record.other_distance, record.per_class
        if held is not None:
            own = record.experiment.evaluation.distance
            yield from _shares(record, held.metrics, own)
            if other is not None:
                yield from _shares(record, other.class_values or {}, other.distance)
        if scores is not None:
            for name, items, recall in zip(scores.labels, scores.items, scores.recall, strict=True):
                line = {"class": name, "items": items, "metric": "accuracy", "mean": recall}
                yield _of(record) | line


def _shares(record: Record, metrics: dict[str, ClassShare], distance: str) -> Iterator[Line]:
    held = record.class_values
    assert held is not None
    for metric, share in metrics.items():
        of_class = zip(held.groups, held.counts, share.sums, share.values, strict=True)
        for group, count, total, value in of_class:
            yield _of(record) | {
                "class": str(group),
                "items": count,
                "metric": metric,
                "distance": distance,
                "mean": total / count,
                "leave_class_out": value,
            }


def _differences(source: Source) -> Iterator[Line]:
    board = source.board
    for metric in board.leads:
        distance = board.distance if is_by_distance(metric) else None
        for row in board.rows:
            against = {
                "baseline": board.baseline(row, metric).row,
                "best softmax": board.best_softmax(row, metric),
            }
            for what, other in against.items():
                verdict = board.verdict(row, other, metric)
                if verdict is None or other is None:
                    continue
                answers = {"new classes": verdict.domain, "these classes": verdict.classes}
                for question, answer in answers.items():
                    if answer is not None:
                        yield {
                            "table": board.table,
                            "row": row.name,
                            "other": other.name,
                            "against": what,
                            "metric": metric,
                            "distance": distance,
                            "difference": verdict.mean,
                            "question": question,
                            **_interval(answer, len(board.family)),
                            "mark": verdict.mark,
                            "draws": verdict.seeds,
                        }


def _interval(answer: Answer, tests: int) -> Line:
    low, high = answer.mean - answer.half_width, answer.mean + answer.half_width
    corrected = answer.corrected(tests)
    return {
        "estimate": answer.mean,
        "low": low,
        "high": high,
        "corrected_low": corrected[0],
        "corrected_high": corrected[1],
        "freedom": answer.freedom,
        "p": answer.p,
        "adjusted_p": answer.adjusted,
    }


def _trials(source: Source) -> Iterator[Line]:
    for search in source.searches:
        won = {(trial.study, trial.index) for trial in search.winners.values()}
        for trial in search.trials:
            yield {
                "table": source.board.table,
                "row": search.row.name,
                "study": trial.study,
                "trial": trial.index,
                "objective": None if trial.error is not None else trial.objective,
                "steps": None if trial.error is not None else trial.steps,
                "seconds": trial.seconds,
                "default": trial.is_default,
                "winner": (trial.study, trial.index) in won,
                "error": trial.error,
            }


def _points(source: Source) -> Iterator[Line]:
    for search in source.searches:
        for trial in search.trials:
            for field, value in trial.point.items():
                yield {
                    "table": source.board.table,
                    "row": search.row.name,
                    "study": trial.study,
                    "trial": trial.index,
                    "field": field,
                    "value": value,
                }


def _of(record: Record) -> Line:
    return {"table": record.table, "row": record.row, "seed": record.seed}


_PLACE = {"table": "the table's name", "row": "the row's name in the table's file"}
_SEED = {**_PLACE, "seed": "the seed"}
_METRIC = {
    "metric": "the metric, as a record names it",
    "distance": "what ranked or clustered: cosine or euclidean; missing where no distance does",
}
_TRIAL = {
    **_PLACE,
    "study": "the search of the row, from 0",
    "trial": "the place in that search; −1: the row's own settings, which never win",
}

KINDS = {
    "rows": Kind(
        "a row of a table",
        {
            **_PLACE,
            "label": "its label on the pages",
            "loss": "losses, their parameters, head and normalisation in words",
            "batch": "how batches are drawn",
            "kind": "baseline (Softmax alone or untrained), one loss, beside softmax",
            "seeds": "how many seeds it has",
            "main_metric": "what the table is judged by",
            "ranked": "whether it is of the protocol that most rows share",
            "marks": "its signs on the pages: † ‡ § ¶ ↓",
            "tuned": "how large the search of its settings was; missing where there was none",
            "protocol": "fingerprint of what must agree to be ranked together",
        },
        _rows,
    ),
    "seeds": Kind(
        "one number of one seed, as its record has it",
        {**_SEED, **_METRIC, "value": "scores from 0 to 1; seconds, MiB and counts as they are"},
        _seeds,
    ),
    "classes": Kind(
        "one metric of one test class (or group of classes) under one seed",
        {
            **_SEED,
            "class": "the class",
            "items": "its queries that have a positive; for accuracy its test items",
            **_METRIC,
            "mean": "the mean over its items, 0 to 1; missing where it has none",
            "leave_class_out": "the class's part in the mean over all, which marks and intervals "
            "are of (docs/evidence.md); missing for accuracy",
        },
        _classes,
    ),
    "differences": Kind(
        "the answer to one question on the difference of a row to a Softmax row",
        {
            **_PLACE,
            "other": "the Softmax row",
            "against": "baseline: it agrees in all but the loss; best softmax: the highest mean",
            **_METRIC,
            "difference": "mean over the seeds, −1 to 1",
            "question": "new classes: for new seeds and new classes; these classes: for new seeds",
            "estimate": "the difference that the interval is around",
            "low": "lower end of its 95 % interval",
            "high": "upper end",
            "corrected_low": "lower end, corrected for all comparisons of the table",
            "corrected_high": "upper end, corrected",
            "freedom": "degrees of freedom",
            "p": "two-sided p-value",
            "adjusted_p": "the same, corrected for all comparisons of the table",
            "mark": "▲ ▼ △ ▽ ≈ of the pair on the table's page; missing where it is not judged",
            "draws": "how many seeds, or searches of tuned rows, were compared",
        },
        _differences,
    ),
    "trials": Kind(
        "a trial of a row's tuning, on the training split alone",
        {
            **_TRIAL,
            "objective": "mean over the folds, 0 to 1; missing where it failed",
            "steps": "the length at which it is highest",
            "seconds": "what it took",
            "default": "whether it is of the row's own settings",
            "winner": "whether it is the best of its search",
            "error": "why it failed; missing where it did not",
        },
        _trials,
    ),
    "points": Kind(
        "one setting of one trial",
        {**_TRIAL, "field": "the setting, by its dotted name", "value": "its value"},
        _points,
    ),
}
"""The files by name."""
