"""The rows whose answers a page shows, and what their runs answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stt_bench.benchmark.inspection.answers import (
    Answers,
    Confusion,
    Search,
    confusion_of_nearest,
)
from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.outcome import main_metric
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.scoring.rules import queries_and_gallery, without_junk
from stt_bench.benchmark.store.embedding_set import EmbeddingSet, read_embedding_set
from stt_bench.benchmark.store.records import Record
from stt_bench.benchmark.store.runs import Run, open_run
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.evaluation import on_device

QUERIES = 2000  # looked at, of a larger test split
NEIGHBOURS = 8
SEED = 0  # of all that is drawn


@dataclass(frozen=True)
class LookedAt:
    """A row, one of its runs, and what that answered to some queries.

    `queries` (Q,) are places in the embedding set, `precision` (Q,) MAP@R of each or NaN, and
    `answers` the nearest items.
    """

    row: Row
    run: Run
    embedded: EmbeddingSet
    queries: np.ndarray
    precision: np.ndarray
    answers: Answers

    @property
    def confusion(self) -> Confusion:
        """Return of which class the nearest item of each query is."""
        return confusion_of_nearest(self.embedded, self.queries, self.answers)


def rows_to_show(board: Leaderboard) -> list[Row]:
    """Return the best trained row, Softmax and the untrained network, as far as there are any.

    Where Softmax is the best, the next row stands after it.
    """
    metric = main_metric(board)
    ranked = sorted(
        (row for row in board.rows if board.is_ranked(row, metric)),
        key=lambda row: -row.scores[metric].mean,
    )
    trained = [row for row in ranked if row.is_trained]
    untrained = [row for row in board.rows if not row.is_trained and metric in row.scores]
    untrained.sort(key=lambda row: -row.scores[metric].mean)
    softmax = board.best_softmax(trained[0], metric) if trained else None
    first = trained[:2] if trained and softmax is trained[0] else trained[:1]
    shown = [*first, *([softmax] if softmax else []), *untrained[:1]]
    return list({row.name: row for row in shown}.values())


def look_at(
    board: Leaderboard, rows: Sequence[Row], runs: Path
) -> tuple[list[LookedAt], list[str]]:
    """Open the runs of some rows and let them answer; tell in a sentence what is not there.

    Of each row it is the first seed whose embeddings are those of its record. All answer the same
    queries: rows of other test items than the first are left out.
    """
    found: list[LookedAt] = []
    told = []
    for row in rows:
        opened = _open(board, row, runs)
        if isinstance(opened, str):
            told.append(opened)
            continue
        run, embedded = opened
        if found and not np.array_equal(embedded.ids, found[0].embedded.ids):
            told.append(f"{row.label} was tested on other items.")
            continue
        found.append(_answered(board, row, run, embedded))
    return found, told


def _open(board: Leaderboard, row: Row, runs: Path) -> tuple[Run, EmbeddingSet] | str:
    records: list[Record] = [one for one in board.sources if one.row == row.name]
    for record in records:
        folder = runs / board.table / row.name / f"seed-{record.seed}"
        try:
            run = open_run(folder)
            if not (run.embeddings() / "meta.json").exists():
                continue
            embedded = read_embedding_set(run.embeddings())
            listed = without_junk(embedded, record.experiment.evaluation)
        except BenchError:
            continue
        if embedded.meta["embeddings_sha256"] == record.embeddings_sha256:
            return run, listed
    return f"The embeddings of {row.label} that its records were made of are not there."


def _answered(board: Leaderboard, row: Row, run: Run, embedded: EmbeddingSet) -> LookedAt:
    sets = queries_and_gallery(embedded, row.experiment.evaluation)
    search = Search.of(embedded, sets, board.distance, QUERIES, SEED)
    answers = search.nearest(NEIGHBOURS)
    with on_device("cpu"):  # where `nearest` computes, too, and no other may fill the memory
        precision = search.precision()
    return LookedAt(row, run, embedded, search.queries, precision, answers)
