"""What the command line shows of one record and of one run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as ScreenTable
from rich.text import Text

from stt_bench.benchmark.leaderboards.wording import DISTANCES, metric_name
from stt_bench.benchmark.store.records import Record, read_record, record_path
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.system.progress import duration
from stt_bench.benchmark.system.text import counted, one_line

_CURVE = 12  # lines of a curve at most
COUNTS = (
    "queries", "queries_without_positive", "sampled_from", "clusters", "sample", "cells", "probes",
)  # fmt: skip
"""Metrics that are numbers of things."""
_FIRST = ("step", "loss")


def print_record(record: Record, path: Path) -> None:
    """Print a record's metrics by both distances, and what it was made from."""
    console = Console(highlight=False)
    console.print(Text(_name(record.table, record.row, record.seed, record.display.label)))
    console.print(_metrics(record))
    _print_facts(console, [*_provenance(record), ("record", str(path))])


def _metrics(record: Record) -> ScreenTable:
    own, other = record.experiment.evaluation.distance, record.other_distance
    screen = ScreenTable(box=SIMPLE_HEAD)
    screen.add_column("Metric", no_wrap=True)
    screen.add_column(f"by {DISTANCES[own]}", justify="right")
    if other is not None:
        screen.add_column(f"by {DISTANCES[other.distance]}", justify="right")
    for metric, value in record.metrics.items():
        cells = [one_line(metric_name(metric)), _value(metric, value)]
        if other is not None:
            there = other.metrics.get(metric)
            cells.append("" if there is None else _value(metric, there))
        screen.add_row(*map(Text, cells))
    return screen


def _value(metric: str, value: float) -> str:
    return f"{value:,.0f}" if metric in COUNTS else f"{100 * value:.2f}"


def _provenance(record: Record) -> Iterator[tuple[str, str]]:
    training, experiment, tuning = record.training, record.experiment, record.tuning
    yield "loss", experiment.loss.name
    if tuning is not None:
        point = ", ".join(f"{field} {value:.4g}" for field, value in tuning.point.items())
        yield "tuned", f"trial {tuning.index} of study {tuning.study}: {point}"
    yield "trained", f"{experiment.train.steps:,} steps in {duration(training.seconds)}"
    yield "on", f"{training.device}, {counted(training.threads, 'thread')}"
    if training.selected_step is not None:
        yield "weights of", f"step {training.selected_step:,}"
    if training.collapsed_at is not None:
        yield "collapsed", f"to one point at step {training.collapsed_at:,}"
    yield "versions", ", ".join(f"{name} {version}" for name, version in record.versions.items())
    yield "commit", record.commit or "not known"
    yield "protocol", record.protocol_fingerprint
    yield "settings", record.config_digest
    yield "data", record.data_hash
    yield "starting weights", str(record.protocol.get("weights", "random"))
    yield "trained weights", record.checkpoint_sha256
    yield "embeddings", record.embeddings_sha256
    if record.near_duplicates is not None:
        found = record.near_duplicates
        yield (
            "near-duplicates",
            f"{found.test_items:,} of {counted(found.items, 'test item')} have one in training",
        )
    if record.display.command:
        yield "command", record.display.command


def print_run(run: Run, results: Path) -> None:
    """Print how far a run has come, what lies in its folder, and its curves in numbers."""
    console = Console(highlight=False)
    console.print(Text(_name(run.table, run.row, run.seed, run.display.label)))
    entries = _entries(run.metrics)
    if entries:
        console.print(_curves(entries))
    _print_facts(console, _state(run, results, entries))


def _state(run: Run, results: Path, entries: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    steps = run.experiment.train.steps
    if run.is_trained:
        facts = run.facts()
        yield "training", f"done: {facts.steps:,} steps in {duration(facts.seconds)}"
    elif run.checkpoint.exists():
        at = f" at step {entries[-1]['step']:,.0f} of {steps:,} or later" if entries else ""
        yield "training", f"stopped{at}; `stt-bench run` or `stt-bench train` continues it"
    else:
        yield "training", f"not begun: {steps:,} steps"
    splits = sorted(path.parent.name for path in run.folder.glob("embeddings/*/meta.json"))
    yield "embeddings", ", ".join(splits) or "none"
    path = record_path(results, run.table, run.row, run.seed)
    if not path.exists():
        yield "record", f"none in {results}"
    else:
        record = read_record(path)
        same = record.config_digest == run.experiment.digest()
        yield "record", f"{path}" + ("" if same else ", of other settings")
    if (run.folder / "error.txt").exists():
        yield "failed", str(run.folder / "error.txt")


def _entries(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a run's log; a line that a kill cut off is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and isinstance(entry.get("step"), int | float):
                found.append(entry)
    return found


def _curves(entries: Sequence[dict[str, Any]]) -> ScreenTable:
    """Return at most twelve entries, evenly spread and with the last, as columns."""
    some = _spread(entries)
    names = dict.fromkeys([*_FIRST, *(name for entry in entries for name in entry)])
    screen = ScreenTable(box=SIMPLE_HEAD)
    screen.add_column("Step", justify="right", no_wrap=True)
    for entry in some:
        screen.add_column(f"{entry['step']:,.0f}", justify="right", no_wrap=True)
    for name in names:
        if name != "step" and any(name in entry for entry in some):
            cells = [_number(entry.get(name)) for entry in some]
            screen.add_row(Text(one_line(name, 40)), *map(Text, cells))
    return screen


def _spread(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    last, most = len(entries) - 1, min(len(entries), _CURVE)
    places = {round(place * last / max(most - 1, 1)) for place in range(most)}
    return [entries[place] for place in sorted(places)]


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) and math.isfinite(value) else ""


def _name(table: str, row: str, seed: int, label: str) -> str:
    return f"{table}/{row}/seed-{seed}: {one_line(label)}"


def _print_facts(
    console: Console, facts: Iterator[tuple[str, str]] | Sequence[tuple[str, str]]
) -> None:
    found = list(facts)
    width = max(len(name) for name, _ in found)
    for name, text in found:
        console.print(Text(f"{name:<{width}}  {one_line(text)}"), soft_wrap=True)
