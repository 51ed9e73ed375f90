"""A leaderboard as Markdown: the answer, a short table, and below it all that it rests on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stt_bench.benchmark.leaderboards.answer import answer
from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.figures import drawn_rows
from stt_bench.benchmark.leaderboards.halves import halves
from stt_bench.benchmark.leaderboards.notes import notes
from stt_bench.benchmark.leaderboards.published_numbers import (
    emphasis,
    published_header,
    published_numbers,
)
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.searches import RowSearch
from stt_bench.benchmark.leaderboards.short_table import folded, in_order, legend, short_table
from stt_bench.benchmark.leaderboards.tuning_page import tuning_section
from stt_bench.benchmark.leaderboards.wording import (
    batch_text,
    loss_text,
    metric_name,
    percent,
    points,
    protocol_name,
)
from stt_bench.benchmark.system.text import code_block, escape_markdown, paragraphs, table_line


def markdown(board: Leaderboard, searches: Sequence[RowSearch] = ()) -> str:
    """Return the page of one leaderboard; a tuned one has the searches of its rows."""
    title = escape_markdown(board.title)
    parts = [f"# {title}", ""]
    if sentences := [escape_markdown(sentence) for sentence in answer(board)]:
        parts += [f"**{sentences[0]}**", "", " ".join(sentences[1:]), ""]
    parts += [*short_table(board), "", escape_markdown(legend(board)), ""]
    parts += [f"![{title}]({board.table}.png)", ""]
    parts += [*_description(board.description)]
    parts += [*folded("All metrics, losses, batches and baselines", _main_table(board)), ""]
    meaning = [f"- {note}" for note in notes(board)]
    parts += [*folded("What the numbers and marks mean, and what they rest on", meaning), ""]
    if section := tuning_section(board, searches):
        parts += [*section, ""]
    if apart := halves(board):
        parts += [*apart, ""]
    if board.figure is not None and drawn_rows(board, board.figure):
        over = escape_markdown(board.figure.x)
        parts += [f"![{title}, over {over}]({board.table}_curves.png)", ""]
    if board.published:
        labels = {row.name: row.label for row in board.rows}
        parts += ["## Published numbers", "", *published_numbers(board.published, labels), ""]
    parts += ["## Where these numbers come from", "", *_provenance(board), ""]
    return "\n".join(parts)


def _description(text: str) -> list[str]:
    """Return the paragraphs of a description; what a row may spend stands on a line of its own."""
    apart = re.sub(r"\s+(?=Budget:)", "\n\n", text)
    return [line for paragraph in paragraphs(apart) for line in (paragraph, "")]


def _main_table(board: Leaderboard) -> list[str]:
    cited = [m for m in board.metrics if any(p.metric == m for p in board.published)]
    ticked = {metric: board.may_be_best(metric) for metric in board.leads}
    header = ["Row", "Loss", "Batch", *map(metric_name, board.metrics)]
    for lead in board.leads:
        header += [f"{metric_name(lead)} − baseline", f"{metric_name(lead)} − best Softmax"]
        header += [f"{metric_name(lead)} may be best"] if ticked[lead] is not None else []
    header += ["Baseline", "Seeds", "Train, s", *map(published_header, cited)]
    lines = [table_line(header), table_line(["---"] * 3 + ["---:"] * (len(header) - 3))]
    best = {metric: board.best(metric) for metric in board.metrics}
    for row in in_order(board):
        label = escape_markdown(row.label) + board.marks(row)
        cells = [label, escape_markdown(loss_text(row)), escape_markdown(batch_text(row))]
        for metric in board.metrics:
            text = percent(row.scores[metric]) if metric in row.scores else "–"
            cells.append(f"**{text}**" if row.name in best[metric] else text)
        for lead in board.leads:
            for other in (board.baseline(row, lead).row, board.best_softmax(row, lead)):
                verdict = board.verdict(row, other, lead)
                cells.append("–" if verdict is None else points(verdict))
            tied = ticked[lead]
            cells += [] if tied is None else ["✓" if row in tied else ""]
        baselines = [board.baseline(row, lead).row for lead in board.leads]
        named = dict.fromkeys(other.label for other in baselines if other is not None)
        cells += [escape_markdown("; ".join(named)) or "–"]
        cells += [str(len(row.seeds)), f"{row.train_seconds:.1f}"]
        cells += [_published_cell(board, row, metric) for metric in cited]
        lines.append(table_line(cells))
    return lines


def _published_cell(board: Leaderboard, row: Row, metric: str) -> str:
    values = [p.value for p in board.published if (p.row, p.metric) == (row.name, metric)]
    return emphasis(", ".join(values)) if values else "–"


def _provenance(board: Leaderboard) -> list[str]:
    records = board.records
    devices = sorted({f"{r.training.device}, {r.training.threads} thread(s)" for r in records})
    torches = sorted({r.versions.get("torch", "?") for r in records})
    counts = sorted({int(record.metrics["queries"]) for record in records})
    protocol = next(r.protocol for r in board.rows if r.fingerprint == board.main_protocol)
    shown = "; ".join(
        f"{protocol_name(field)} {value}"
        for field, value in protocol.items()
        if field not in ("data", "rule")
    )
    commands = dict.fromkeys(r.display.command for r in records if r.display.command)
    facts = [
        f"Protocol {board.main_protocol}: {shown}.",
        f"Test items with a positive: {', '.join(f'{count:,}' for count in counts)}; "
        f"data {str(protocol['data'])[:16]}.",
        f"Ran on: {'; '.join(devices)}; PyTorch {', '.join(torches)}.",
    ]
    return [
        *code_block([*commands] or [f"stt-bench run configs/{board.table}.yaml"]),
        "",
        *(f"- {escape_markdown(fact)}" for fact in facts),
        f"- Records: [records/{escape_markdown(board.table)}](records/{board.table}), one JSON "
        "file per row and seed, with the resolved settings, hashes and versions.",
    ]
