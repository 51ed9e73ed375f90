"""A leaderboard as Markdown: its table, its notes, the published numbers and the provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stt_bench.benchmark.leaderboards.answer import answer
from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.figures import drawn_rows
from stt_bench.benchmark.leaderboards.halves import halves
from stt_bench.benchmark.leaderboards.notes import notes
from stt_bench.benchmark.leaderboards.published import Published
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.searches import RowSearch
from stt_bench.benchmark.leaderboards.tuning_page import tuning_section
from stt_bench.benchmark.leaderboards.verdict_table import folded, has_many_rows, verdict_table
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
    for paragraph in paragraphs(board.description):
        parts += [paragraph, ""]
    if sentences := answer(board):
        parts += [" ".join(map(escape_markdown, sentences)), ""]
    if has_many_rows(board):
        everything = folded("Losses, batches and all metrics", _main_table(board, verdicts=False))
        parts += [*verdict_table(board), "", *everything, ""]
    else:
        parts += [*_main_table(board), ""]
    parts += [*(f"- {note}" for note in notes(board)), ""]
    if section := tuning_section(board, searches):
        parts += [*section, ""]
    if apart := halves(board):
        parts += [*apart, ""]
    if board.figure is not None and drawn_rows(board, board.figure):
        over = escape_markdown(board.figure.x)
        parts += [f"![{title}, over {over}]({board.table}_curves.png)", ""]
    parts += [f"![{title}]({board.table}.png)", ""]
    if board.published:
        labels = {row.name: row.label for row in board.rows}
        parts += ["## Published numbers", "", *_sources(board.published, labels), ""]
    parts += ["## Where these numbers come from", "", *_provenance(board), ""]
    return "\n".join(parts)


def markdown_of_published(table: str, published: Sequence[Published]) -> str:
    """Return the page of a table that has published numbers and no records yet."""
    metrics = list(dict.fromkeys(p.metric for p in published))
    values = {(p.row, p.metric): p.value for p in published}
    lines = [
        table_line(["Row", *map(_published_header, metrics)]),
        table_line(["---"] + ["---:"] * len(metrics)),
    ]
    for row in dict.fromkeys(p.row for p in published):
        cells = [_emphasis(values.get((row, metric), "–")) for metric in metrics]
        lines.append(table_line([escape_markdown(row), *cells]))
    return "\n".join(
        [
            f"# {escape_markdown(table)}",
            "",
            "**Not run.** These are the published numbers alone; ours will stand beside them after",
            "",
            *code_block([f"stt-bench run configs/{table}.yaml"]),
            "",
            *lines,
            "",
            *_sources(published, {}),
            "",
        ]
    )


def _main_table(board: Leaderboard, *, verdicts: bool = True) -> list[str]:
    cited = [m for m in board.metrics if any(p.metric == m for p in board.published)]
    header = ["Row", "Loss", "Batch", *map(metric_name, board.metrics)]
    for lead in board.leads if verdicts else ():
        header += [f"{metric_name(lead)} − baseline", f"{metric_name(lead)} − best Softmax"]
    header += [*(["Baseline"] if verdicts else []), "Seeds", "Train, s"]
    header += map(_published_header, cited)
    lines = [table_line(header), table_line(["---"] * 3 + ["---:"] * (len(header) - 3))]
    best = {metric: board.best(metric) for metric in board.metrics}
    for row in board.rows:
        label = escape_markdown(row.label) + board.marks(row)
        cells = [label, escape_markdown(loss_text(row)), escape_markdown(batch_text(row))]
        for metric in board.metrics:
            text = percent(row.scores[metric]) if metric in row.scores else "–"
            cells.append(f"**{text}**" if row.name in best[metric] else text)
        for lead in board.leads if verdicts else ():
            for other in (board.baseline(row, lead).row, board.best_softmax(row, lead)):
                verdict = board.verdict(row, other, lead)
                cells.append("–" if verdict is None else points(verdict))
        baselines = [board.baseline(row, lead).row for lead in board.leads]
        named = dict.fromkeys(other.label for other in baselines if other is not None)
        cells += [escape_markdown("; ".join(named)) or "–"] if verdicts else []
        cells += [str(len(row.seeds)), f"{row.train_seconds:.1f}"]
        cells += [_published_cell(board, row, metric) for metric in cited]
        lines.append(table_line(cells))
    return lines


def _published_header(metric: str) -> str:
    return f"*{escape_markdown(metric_name(metric))}, published*"


def _published_cell(board: Leaderboard, row: Row, metric: str) -> str:
    values = [p.value for p in board.published if (p.row, p.metric) == (row.name, metric)]
    return _emphasis(", ".join(values)) if values else "–"


def _emphasis(value: str) -> str:
    return f"*{escape_markdown(value)}*" if value.strip() else "–"


def _sources(published: Sequence[Published], labels: Mapping[str, str]) -> list[str]:
    return [
        "- "
        + escape_markdown(
            f"{labels.get(p.row, p.row)}, {metric_name(p.metric)} {p.value}: {p.source}"
            + (f" ({p.note})" if p.note else "")
        )
        for p in published
    ]


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
