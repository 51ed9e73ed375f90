"""What the data lack, and what the test split shares with training and with the weights' data."""

from __future__ import annotations

from collections import Counter

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.pretraining import pretraining_note
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.scores import Score
from stt_bench.benchmark.leaderboards.wording import metric_name, some
from stt_bench.benchmark.store.duplicates import DuplicateScores
from stt_bench.benchmark.store.records import Record
from stt_bench.benchmark.system.text import counted, escape_markdown


def contamination_notes(board: Leaderboard) -> list[str]:
    """Return the notes, as Markdown."""
    told = [*_left_out(board), *_near_duplicates(board), *_pretraining(board)]
    return list(map(escape_markdown, told))


def _left_out(board: Leaderboard) -> list[str]:
    """Name the images that were left out since they cannot be read."""
    by_data = {r.data_hash: r.training.unreadable for r in board.records if r.training.unreadable}
    told = []
    for data_hash, unreadable in by_data.items():
        named = some([f"{path} ({reason})" for path, reason in unreadable.items()], "; ")
        count = counted(len(unreadable), "image")
        told.append(
            f"{count} could not be read and {'is' if len(unreadable) == 1 else 'are'} left out of "
            f"the data {data_hash[:16]}: {named}."
        )
    return told


def _near_duplicates(board: Leaderboard) -> list[str]:
    by_data: dict[str, list[Record]] = {}
    for record in board.records:
        if record.near_duplicates is not None:
            by_data.setdefault(record.data_hash, []).append(record)
    told = []
    for data_hash, records in by_data.items():
        of = "" if len(by_data) == 1 else f" (data {data_hash[:16]})"
        found = records[0].near_duplicates
        assert found is not None
        told += _disagreement(board, records, of)
        told.append(_counts(found, of) + "".join(_with_and_without(board, records)) + ".")
        if found.pairs_across_classes:
            n = found.pairs_across_classes
            told.append(
                f"{n:,} {'pair' if n == 1 else 'pairs'} of test images that are alike{of} "
                f"{'is' if n == 1 else 'are'} of two classes: one of their labels is wrong."
            )
    return told


def _found(record: Record) -> tuple[object, ...]:
    """Return by which rules near-duplicates were searched, and all that follows from the data."""
    found = record.near_duplicates
    return () if found is None else tuple(found.model_dump(exclude={"metrics_without"}).values())


def _disagreement(board: Leaderboard, records: list[Record], of: str) -> list[str]:
    """Say which records tell otherwise than most of the same data, searched by the same rules."""
    most = Counter(map(_found, records)).most_common(1)[0][0]
    rows = {r.row for r in records if _found(r)[0] == most[0] and _found(r) != most}
    if not rows:
        return []
    labels = ", ".join(row.label for row in board.rows if row.name in rows)
    return [
        f"{labels}: other numbers of near-duplicates{of} than the other records of the same data; "
        f"`stt-bench verify {board.table}` searches again."
    ]


def _counts(found: DuplicateScores, of: str) -> str:
    method = f"by content and by perceptual hash ({found.method})"
    if not found.test_items:
        return f"No test item has a near-duplicate in training{of}, {method}"
    return (
        f"{found.test_items:,} of {found.items:,} test items "
        f"{'has' if found.test_items == 1 else 'have'} a near-duplicate in training"
        f"{of}: {found.pairs_exact:,} pairs of one content, {found.pairs_similar:,} alike, {method}"
    )


def _with_and_without(board: Leaderboard, records: list[Record]) -> list[str]:
    """Say how the best row and the best Softmax row of some data score without those items."""
    names = {record.row for record in records}
    told = []
    for metric in board.leads:
        ranked = [r for r in board.rows if r.name in names and board.is_ranked(r, metric)]
        if not ranked:
            continue
        best = max(ranked, key=lambda row: row.scores[metric].mean)
        softmax = board.best_softmax(best, metric)
        rows = {row.name: row for row in (best, softmax) if row is not None}
        told += [line for row in rows.values() if (line := _scores(row, records, metric))]
    return told


def _scores(row: Row, records: list[Record], metric: str) -> str | None:
    pairs = [
        (record.metrics[metric], found.metrics_without[metric])
        for record in records
        if record.row == row.name
        and (found := record.near_duplicates) is not None
        and found.metrics_without is not None
        and metric in found.metrics_without
    ]
    if not pairs:
        return None
    whole, without = (Score.of(list(values)).mean for values in zip(*pairs, strict=True))
    return (
        f"; {row.label}: {metric_name(metric)} {100 * whole:.2f} with and {100 * without:.2f} "
        "without them"
    )


def _pretraining(board: Leaderboard) -> list[str]:
    found = {
        (str(weights), record.experiment.data.name): None
        for record in board.records
        if (weights := record.protocol.get("weights", "random")) != "random"
    }
    return [pretraining_note(*pair) for pair in found]
