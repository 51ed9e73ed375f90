"""Leaderboards on paper: ``results/TABLE.md``, its figure, and the page that lists them.

Everything here is a function of ``results/records`` and ``results/published.csv`` alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stt_bench.benchmark.config.sections import LossConfig
from stt_bench.benchmark.leaderboards.figures import draw_curves, draw_leaderboard, drawn_rows
from stt_bench.benchmark.leaderboards.leaderboard import (
    Leaderboard,
    Published,
    Row,
    build_leaderboard,
    metric_name,
    read_published,
)
from stt_bench.benchmark.store.records import read_records
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.outputs import check_output, write_page
from stt_bench.names import did_you_mean

_INDEX_TITLE = "# Leaderboards"
_PROTOCOL_NAMES = {
    "embedding_dim": "embedding size",
    "steps": "training steps",
    "weights": "starting weights",
    "long_tail": "long tail",
    "input": "input",
}


def report(
    results: Path, tables: Sequence[str] | None = None, *, force: bool = False
) -> list[Leaderboard]:
    """Generate the leaderboards of all tables (or those named) that have records.

    Raises:
        BenchError: there are no records, a named table has none, or a page or figure would
            overwrite a file that is not ours (``force`` overwrites it).
    """
    records = read_records(results)
    if not records:
        raise BenchError(f"{results / 'records'} holds no records; run `stt-bench run` first")
    for table in tables or ():
        if table not in records:
            raise BenchError(f"table '{table}' has no records; {did_you_mean(table, records)}")
    published = read_published(results / "published.csv")
    boards, wanted = [], tables or list(records)
    for table, group in sorted(records.items()):
        try:
            boards.append(build_leaderboard(table, group, published.get(table, [])))
        except BenchError:
            if table in wanted:  # a table that nobody asked for must not stand in the way
                raise
    not_run = {name: found for name, found in sorted(published.items()) if name not in records}
    asked = [board for board in boards if board.table in wanted]
    check_pages(results, [*(board.table for board in asked), *not_run], force=force)
    for board in asked:
        write_page(results / f"{board.table}.md", markdown(board))
        draw_leaderboard(board, results / f"{board.table}.png")
        if board.figure is not None and drawn_rows(board, board.figure):
            draw_curves(board, board.figure, results / f"{board.table}_curves.png")
    for name, numbers in not_run.items():
        write_page(results / f"{name}.md", _page_of_a_table_not_run(name, numbers))
    pages = ["[What the second head costs](timing.md)"] if (results / "timing.md").exists() else []
    if not_run:
        links = ", ".join(f"[{table}]({table}.md)" for table in not_run)
        pages.append(f"Not run, with the published numbers alone: {links}.")
    write_page(results / "README.md", _index(boards, pages))
    return asked


def check_pages(results: Path, tables: Iterable[str], *, force: bool = False) -> None:
    """Refuse to write pages and figures of tables over files that are not ours."""
    ends = (".md", ".png", "_curves.png")
    for name in ("README.md", *(f"{table}{end}" for table in tables for end in ends)):
        try:
            check_output(results / name, force=force)
        except BenchError:
            raise BenchError(
                f"{results / name} would be overwritten, and stt-bench cannot tell that it wrote "
                "it: name another folder with --results, move the file, or let `stt-bench report "
                "--force` overwrite it"
            ) from None


def markdown(board: Leaderboard) -> str:
    """Return the page of one leaderboard."""
    parts = [f"# {board.title}", ""]
    if board.description:
        parts += [board.description, ""]
    parts += [_main_table(board), ""]
    parts += [*_notes(board), ""]
    if board.figure is not None and drawn_rows(board, board.figure):
        parts += [f"![{board.title}, over {board.figure.x}]({board.table}_curves.png)", ""]
    parts += [f"![{board.title}]({board.table}.png)", ""]
    if board.published:
        labels = {row.name: row.label for row in board.rows}
        parts += ["## Published numbers", "", *_published_notes(board.published, labels), ""]
    parts += ["## Where these numbers come from", "", *_provenance(board), ""]
    return "\n".join(parts)


def _main_table(board: Leaderboard) -> str:
    metrics, leads = board.metrics, board.leads
    cited = [m for m in metrics if any(p.metric == m for p in board.published)]
    header = ["Row", "Loss", "Batch", *map(metric_name, metrics)]
    header += [f"{metric_name(lead)} − Softmax" for lead in leads] + ["Seeds", "Train, s"]
    header += [f"*{metric_name(m)}, published*" for m in cited]
    lines = [_line(header), _line(["---", "---", "---"] + ["---:"] * (len(header) - 3))]
    best = {metric: board.best(metric) for metric in metrics}
    for row in board.rows:
        cells = [row.label + board.marks(row), loss_text(row), _batch_text(row)]
        for metric in metrics:
            score = row.scores.get(metric)
            text = "–" if score is None else score.percent()
            cells.append(f"**{text}**" if score and best[metric] == row.name else text)
        for lead in leads:
            difference = board.difference(row, lead)
            cells.append("–" if difference is None else difference.points())
        cells += [str(len(row.seeds)), f"{row.train_seconds:.1f}"]
        for metric in cited:
            values = [p.value for p in board.published if (p.row, p.metric) == (row.name, metric)]
            cells.append(f"*{', '.join(values)}*" if values else "–")
        lines.append(_line(cells))
    return "\n".join(lines)


def loss_text(row: Row) -> str:
    """Return a row's loss as it is printed: heads, name, parameters, normalisation."""
    experiment = row.experiment
    if experiment.train.steps == 0:
        return "none (untrained)"
    earlier = [
        f"{_loss_alone(phase.loss)} for {phase.steps} steps"
        + (f" (lr {phase.lr:g})" if phase.lr else "")
        for phase in experiment.phases
    ]
    text = ", then ".join([*earlier, _loss_alone(experiment.loss)])
    if experiment.softmax_head:
        text = f"softmax + {experiment.loss_weight:g} × {text}"
    head = {"none": ", on pooled features", "linear": "", "fc1024": ", fc1024 head"}
    text += head[experiment.model.head]
    text += ", on the flattened map" if experiment.model.features == "flattened" else ""
    return text + (", unit length" if experiment.model.normalize else "")


def _loss_alone(loss: LossConfig) -> str:
    params = ", ".join(f"{name} {value}" for name, value in loss.params.items())
    return loss.name + (f" ({params})" if params else "")


def _batch_text(row: Row) -> str:
    if row.experiment.train.steps == 0:
        return "–"
    sampler = row.experiment.sampler
    return sampler.text if sampler.name == "pxk" else f"{sampler.images_per_batch} {sampler.text}"


def _notes(board: Leaderboard) -> list[str]:
    notes = [
        "Percent, mean ± standard deviation over seeds. Softmax baselines stand first. "
        "Bold: highest mean of its column among the rows of one protocol.",
        "− Softmax: mean ± standard deviation of the difference, seed by seed, to the Softmax row "
        "of the same protocol (of the same head and optimiser where there is one), in percentage "
        "points. "
        "▲ above and ▼ below Softmax: Student's 95 % interval of the mean over the seeds leaves 0 "
        "out; ≈: the seeds do not tell.",
    ]
    main = next(row for row in board.rows if row.fingerprint == board.main_protocol)
    others: dict[str, list[str]] = {}
    for row in board.rows:
        if row.fingerprint == board.main_protocol:
            continue
        differs = [
            f"{_PROTOCOL_NAMES.get(key, key)} {_short(row.protocol.get(key))} "
            f"(others: {_short(main.protocol.get(key))})"
            for key in row.protocol | main.protocol
            if row.protocol.get(key) != main.protocol.get(key)
        ]
        ranked = [metric_name(m) for m in board.metrics if board.is_ranked(row, m)]
        but = f" but in {' and '.join(ranked)}" if ranked else ""
        why = f"of another protocol and not ranked{but}: {'; '.join(differs)}."
        others.setdefault(why, []).append(row.label)
    for why, rows in others.items():
        notes.append(f"† {'; '.join(rows)} {'is' if len(rows) == 1 else 'are'} {why}")
    notes += [
        f"‡ {row.label}: the embedding was collapsed to one point at some time in "
        f"{row.collapsed} of {len(row.seeds)} runs."
        for row in board.rows
        if row.collapsed
    ]
    floors = [
        100 * row.scores["nmi_chance"].mean
        for row in board.rows
        if "nmi_chance" in row.scores and row.fingerprint == board.main_protocol
    ]
    if floors:
        low, high = f"{min(floors):.1f}", f"{max(floors):.1f}"
        span = low if low == high else f"{low} to {high}"
        notes.append(f"Random clusters of the sizes found would score NMI {span} and AMI 0.")
    return [f"- {note}" for note in notes]


def _short(value: Any) -> str:
    """Return a protocol's value as printed: a hash by its first digits."""
    text = "default" if value is None else str(value)
    return text[:16] if re.fullmatch("[0-9a-f]{64}", text) else text


def _published_notes(published: Sequence[Published], labels: Mapping[str, str]) -> list[str]:
    return [
        f"- {labels.get(p.row, p.row)}, {metric_name(p.metric)} {p.value}: {p.source}"
        + (f" ({p.note})" if p.note else "")
        for p in published
    ]


def _page_of_a_table_not_run(table: str, published: Sequence[Published]) -> str:
    """Return the page of a table that has published numbers and no records yet."""
    metrics = list(dict.fromkeys(p.metric for p in published))
    values = {(p.row, p.metric): p.value for p in published}
    lines = [
        _line(["Row", *(f"*{metric_name(m)}, published*" for m in metrics)]),
        _line(["---"] + ["---:"] * len(metrics)),
        *(
            _line([row, *(f"*{values.get((row, m), '–')}*" for m in metrics)])
            for row in dict.fromkeys(p.row for p in published)
        ),
    ]
    return "\n".join(
        [
            f"# {table}",
            "",
            "**Not run.** These are the published numbers alone; ours will stand beside them after",
            "",
            *("```", f"stt-bench run configs/{table}.yaml", "```"),
            "",
            *lines,
            "",
            *_published_notes(published, {}),
            "",
        ]
    )


def _provenance(board: Leaderboard) -> list[str]:
    records = board.records
    devices = sorted({f"{r.training.device}, {r.training.threads} thread(s)" for r in records})
    torches = sorted({r.versions.get("torch", "?") for r in records})
    protocol = next(r.protocol for r in records if r.protocol_fingerprint == board.main_protocol)
    shown = [
        f"{_PROTOCOL_NAMES.get(k, k)} {v}" for k, v in protocol.items() if k not in ("data", "rule")
    ]
    commands = dict.fromkeys(r.listing.command for r in records if r.listing.command)
    return [
        "```",
        *(commands or [f"stt-bench run configs/{board.table}.yaml"]),
        "```",
        "",
        f"- Protocol {board.main_protocol}: {'; '.join(shown)}.",
        f"- Test items with a positive: {_counts(board)}; data {protocol['data'][:16]}.",
        f"- Ran on: {'; '.join(devices)}; PyTorch {', '.join(torches)}.",
        f"- Records: [records/{board.table}](records/{board.table}), one JSON file per row and "
        "seed, with the resolved settings, hashes and versions.",
    ]


def _counts(board: Leaderboard) -> str:
    counts = sorted({int(record.metrics["queries"]) for record in board.records})
    return ", ".join(f"{count:,}" for count in counts)


def _index(boards: Sequence[Leaderboard], pages: Sequence[str]) -> str:
    lines = [
        _INDEX_TITLE,
        "",
        "Generated by `stt-bench report` from [records](records); not to be edited by hand.",
        "",
        "| Table | Rows | Best trained row by MAP@R | MAP@R | Softmax |",
        "| --- | ---: | --- | ---: | ---: |",
    ]
    for board in boards:
        by_name = {row.name: row for row in board.rows}
        best = by_name.get(board.best("map@r") or "")
        softmax = board.softmax_for(best, "map@r") if best else None
        cells = [
            f"[{board.title}]({board.table}.md)",
            str(len(board.rows)),
            best.label if best else "–",
            best.scores["map@r"].percent() if best else "–",
            softmax.scores["map@r"].percent() if softmax else "–",
        ]
        lines.append(_line(cells))
    for page in pages:
        lines += ["", page]
    return "\n".join([*lines, ""])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
