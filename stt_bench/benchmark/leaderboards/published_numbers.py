"""Published numbers on a page: a table, and each source and note once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from stt_bench.benchmark.leaderboards.published import Published
from stt_bench.benchmark.leaderboards.wording import listed, metric_name
from stt_bench.benchmark.system.text import code_block, escape_markdown, table_line


def markdown_of_published(table: str, published: Sequence[Published]) -> str:
    """Return the page of a table that has published numbers and no records yet."""
    return "\n".join(
        [
            f"# {escape_markdown(table)}",
            "",
            "**Not run.** These are the published numbers alone; ours will stand beside them after",
            "",
            *code_block([f"stt-bench run configs/{table}.yaml"]),
            "",
            *published_numbers(published, {}),
            "",
        ]
    )


def published_numbers(published: Sequence[Published], labels: Mapping[str, str]) -> list[str]:
    """Return a table of published numbers and where they come from, as Markdown.

    Args:
        published: The numbers of one table.
        labels: Of rows, where they have one.
    """
    metrics = list(dict.fromkeys(p.metric for p in published))
    values: dict[tuple[str, str], list[str]] = {}
    for p in published:
        values.setdefault((p.row, p.metric), []).append(p.value)
    lines = [
        table_line(["Row", *map(published_header, metrics)]),
        table_line(["---"] + ["---:"] * len(metrics)),
    ]
    for row in dict.fromkeys(p.row for p in published):
        cells = [emphasis(", ".join(values.get((row, metric), ["–"]))) for metric in metrics]
        lines.append(table_line([escape_markdown(labels.get(row, row)), *cells]))
    return [*lines, "", *_sources(published, labels)]


def published_header(metric: str) -> str:
    """Return the head of a column of published numbers."""
    return f"*{escape_markdown(metric_name(metric))}, published*"


def emphasis(value: str) -> str:
    """Return a published value, which its writer may have left empty."""
    return f"*{escape_markdown(value)}*" if value.strip() else "–"


def _sources(published: Sequence[Published], labels: Mapping[str, str]) -> list[str]:
    """Return a line a source, and below it a line for each note of a number of it."""
    lines = []
    for source in dict.fromkeys(p.source for p in published):
        of_it = [p for p in published if p.source == source]
        lines.append(f"- {escape_markdown(f'{_which(of_it, published, labels)}: {source}')}")
        notes: dict[str, list[Published]] = {}
        for p in of_it:
            for note in filter(None, p.note.split("; ")):
                notes.setdefault(note, []).append(p)
        for note, noted in notes.items():
            lines.append(f"  - {escape_markdown(f'{_which(noted, of_it, labels)}: {note}')}")
    return lines


def _which(some: Sequence[Published], of: Sequence[Published], labels: Mapping[str, str]) -> str:
    """Name numbers among others: all, whole metrics, whole rows, or one by one."""
    if len(some) == len(of):
        return "All" if len(of) > 1 else _named(some[0], labels)
    names = dict.fromkeys(p.metric for p in some)
    if _are_all(some, (p for p in of if p.metric in names)):
        return listed([metric_name(name) for name in names])
    rows = dict.fromkeys(p.row for p in some)
    if _are_all(some, (p for p in of if p.row in rows)):
        return listed([labels.get(row, row) for row in rows])
    return "; ".join(_named(p, labels) for p in some)


def _are_all(some: Sequence[Published], of: Iterable[Published]) -> bool:
    return len(some) == sum(1 for _ in of)


def _named(one: Published, labels: Mapping[str, str]) -> str:
    return f"{labels.get(one.row, one.row)}, {metric_name(one.metric)}"
