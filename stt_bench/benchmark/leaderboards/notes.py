"""What the numbers and marks of a leaderboard mean, below its table."""

from __future__ import annotations

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.contamination_notes import contamination_notes
from stt_bench.benchmark.leaderboards.distance_notes import distance_notes
from stt_bench.benchmark.leaderboards.evidence_notes import evidence_notes
from stt_bench.benchmark.leaderboards.proof_notes import proof_notes
from stt_bench.benchmark.leaderboards.wording import (
    metric_name,
    protocol_name,
    protocol_value,
    some,
)
from stt_bench.benchmark.system.text import escape_markdown


def notes(board: Leaderboard) -> list[str]:
    """Return the notes of a leaderboard, as Markdown."""
    return [
        "Percent, mean ± standard deviation over seeds, the highest mean first. Bold: the highest "
        "mean of its column among the rows of one protocol (all of them where they tie).",
        *_sampled(board),
        *distance_notes(board),
        *evidence_notes(board),
        *_other_protocols(board),
        *_collapsed(board),
        *_inactive(board),
        *proof_notes(board),
        *_chance(board),
        *contamination_notes(board),
    ]


def _sampled(board: Leaderboard) -> list[str]:
    rows = [row for row in board.rows if "sampled_from" in row.scores]
    if not rows:
        return []
    sizes = sorted(
        {tuple(round(row.scores[n].mean) for n in ("queries", "sampled_from")) for row in rows}
    )
    many = " or ".join(f"{drawn:,} of {whole:,}" for drawn, whole in sizes)
    errors = []
    for name in board.leads:
        if (own := f"standard_error_{name}") in rows[0].scores:
            largest = max(row.scores[own].mean for row in rows)
            errors.append(f"{metric_name(name)} {100 * largest:.2f}")
    told = f" (standard error at most: {', '.join(errors)})" if errors else ""
    which = "Retrieval" if len(rows) == len(board.rows) else some([r.label for r in rows], "; ")
    return [
        escape_markdown(
            f"{which}: a sample of the queries, {many}, drawn at random, the same for all rows, "
            f"each against the whole gallery{told}."
        )
    ]


def _other_protocols(board: Leaderboard) -> list[str]:
    main = next(row for row in board.rows if row.fingerprint == board.main_protocol)
    others: dict[str, list[str]] = {}
    for row in board.rows:
        if row.fingerprint == board.main_protocol:
            continue
        differs = [
            f"{protocol_name(field)} {protocol_value(row.protocol.get(field))} "
            f"(others: {protocol_value(main.protocol.get(field))})"
            for field in row.protocol | main.protocol
            if row.protocol.get(field) != main.protocol.get(field)
        ]
        ranked = [metric_name(m) for m in board.metrics if board.is_ranked(row, m)]
        but = f" but in {' and '.join(ranked)}" if ranked else ""
        why = f"of another protocol and not ranked{but}: {'; '.join(differs)}."
        others.setdefault(why, []).append(row.label)
    return [
        escape_markdown(f"† {some(rows, '; ')} {'is' if len(rows) == 1 else 'are'} {why}")
        for why, rows in others.items()
    ]


def _collapsed(board: Leaderboard) -> list[str]:
    return [
        escape_markdown(
            f"‡ {row.label}: the embedding was collapsed to one point at some time in "
            f"{row.collapsed} of {len(row.seeds)} runs."
        )
        for row in board.rows
        if row.collapsed
    ]


def _inactive(board: Leaderboard) -> list[str]:
    return [
        escape_markdown(
            f"§ {row.label}: in {row.inactive} of {len(row.seeds)} runs no batch held a pair or "
            f"triplet from which {row.experiment.loss.name} learns, so that it trained nothing; "
            "the row is not ranked."
        )
        for row in board.rows
        if row.inactive
    ]


def _chance(board: Leaderboard) -> list[str]:
    floors = [
        100 * row.scores["nmi_chance"].mean
        for row in board.rows
        if "nmi_chance" in row.scores and row.fingerprint == board.main_protocol
    ]
    if not floors:
        return []
    low, high = f"{min(floors):.1f}", f"{max(floors):.1f}"
    span = low if low == high else f"{low} to {high}"
    return [f"Random clusters of the sizes found would score NMI {span} and AMI 0."]
