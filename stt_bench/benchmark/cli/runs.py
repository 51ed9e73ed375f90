"""The command that shows how far runs are, also those that other processes and machines make."""

from __future__ import annotations

import json
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stt_bench.benchmark.cli.options import ResultsOption, RunsOption
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.signals import Stopped

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod, RenderableType
    from rich.table import Table as ScreenTable

    from stt_bench.benchmark.store.run_states import Expected, RunState

_ENDED = ("done", "failed")
_FIRST = ("training", "evaluating", "failed", "stopped", "trained", "waiting", "done")
_SHORTENED = (
    (),
    ("Images/s",),
    ("Images/s", "/"),
    ("Images/s", "/", "Best"),
    ("Images/s", "/", "Best", "Left"),
)
"""What a terminal has no room for: columns that are left out; with "/" a run's name has lines."""
_STYLES = {"training": "green", "evaluating": "green", "failed": "red", "stopped": "yellow"}


def show_runs(
    tables: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TABLE",
            help="Only these tables, with the runs that wait; else all that lie in the folders.",
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again, until all have ended or Ctrl-C.")
    ] = False,
    every: Annotated[
        float, typer.Option(help="Seconds between two looks.", min=0.1, max=3600)
    ] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
    runs: RunsOption = Path("runs"),
    results: ResultsOption = Path("results"),
) -> None:
    """Show the state of runs: waiting, training, stopped, failed or done; how far, and how fast.

    With `--watch` the runs that are under way, failed or stopped come first, and what a terminal
    has no room for is counted; at the end all are listed.

    Where the output is no terminal, each run is a line of cells with tabs between them: run, state,
    steps, best value, images a second, seconds left, and what is told. With `--watch` a run's line
    comes again when it has changed.

    - `stt-bench runs`
    - `stt-bench runs digits_retrieval --json`
    """
    from rich.console import Console

    from stt_bench.benchmark.store.run_states import run_states
    from stt_bench.benchmark.system.files import finite

    if as_json and watch:
        raise BenchError("give --json or --watch, not both")
    expected, names = _expected(tables or [], runs, results)

    def looks() -> Iterator[list[RunState]]:
        while True:
            found = run_states(runs, results, expected, names)
            yield found
            if not watch or (found and all(one.state in _ENDED for one in found)):
                return
            time.sleep(every)

    console = Console(highlight=False)
    if not (as_json or console.is_terminal or run_states(runs, results, expected, names)):
        typer.echo(f"no runs in {runs}, no records in {results}", err=True)
    with suppress(KeyboardInterrupt, Stopped):  # whoever watches has seen enough
        if as_json:
            for found in looks():
                content = [{"run": one.name, **asdict(one)} for one in found]
                print(json.dumps(finite(content), indent=1))
        elif not console.is_terminal:
            _print_lines(looks())
        elif watch:
            _watch(looks(), console)
        else:
            for found in looks():
                console.print(_screen(found, console))


def _watch(looks: Iterable[list[RunState]], console: Console) -> None:
    """Show each look in place of the one before, and all of the last one at the end."""
    from rich.live import Live

    found = None
    try:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            for found in looks:
                live.update(_fitted(found, console), refresh=True)
    finally:
        if found is not None:
            console.print(_screen(found, console))


def _fitted(found: list[RunState], console: Console) -> RenderableType:
    """Return as many runs as the terminal has room for, and the summary of all.

    Those come first that are under way or need somebody.
    """
    ordered = sorted(found, key=lambda one: _FIRST.index(one.state))

    def height(shown: int) -> int:
        return len(console.render_lines(_screen(ordered, console, shown)))

    most = min(len(ordered), console.height)
    fitting = bisect_right(range(most + 1), console.height, key=height) - 1
    return _screen(ordered, console, max(fitting, 0))


def _print_lines(looks: Iterable[list[RunState]]) -> None:
    shown: dict[str, str] = {}
    for found in looks:
        for one in found:
            line = "\t".join(_cells(one, plain=True))
            if shown.get(one.name) != line:
                print(line, flush=True)
                shown[one.name] = line


def _expected(tables: list[str], runs: Path, results: Path) -> tuple[Expected, list[str] | None]:
    """Return the runs of tables with their steps, and the tables' names; None: all of them."""
    if not tables:
        return {}, None
    from stt_bench.benchmark.config.table_files import meant, table_files
    from stt_bench.benchmark.config.tables import read_table

    expected: dict[tuple[str, str, int], int | None] = {}
    names, shipped = [], table_files()
    for name in tables:
        if Path(name).suffix in (".yaml", ".yml") or name in shipped:
            table = read_table(name)
            names.append(table.name)
            expected |= {
                (table.name, row, seed): experiment.train.steps
                for row, experiment in table.rows.items()
                for seed in table.seeds
            }
        elif (runs / name).is_dir() or (results / "records" / name).is_dir():
            names.append(name)
        else:
            here = [one.name for one in runs.glob("[!.]*") if one.is_dir()]
            raise BenchError(
                f"'{name}' is no table, and none of that name lies in {runs}; {meant(name, here)}"
            )
    return expected, names


def _screen(found: list[RunState], console: Console, shown: int | None = None) -> RenderableType:
    """Return a table of runs, of the first `shown` if that is given, and how many are in a state.

    What is told of runs stands below, once where it is told of many. Those that are left out are
    counted; where there is room for none there is no table.
    """
    from rich.console import Group
    from rich.text import Text

    from stt_bench.benchmark.system.bars import fits

    reasons: dict[tuple[str, str], list[str]] = {}  # and the runs that have each
    rows = []
    for one in found[:shown]:
        *cells, told = _cells(one, plain=False)
        rows.append(cells)
        if told:
            reasons.setdefault((one.state, told), []).append(cells[0])
    tables = (_table(rows, without) for without in _SHORTENED)
    screen = next((table for table in tables if fits(table, console)), _table(rows, _SHORTENED[-1]))
    said = [
        Text(f"{state}: {names[0]}{_and_more(names)}: {told}", style=_STYLES.get(state, ""))
        for (state, told), names in reasons.items()
    ]
    summary = Text(_counted(found) or "no runs")
    left_out = [] if shown is None else found[shown:]
    if not left_out:
        return Group(screen, *said, summary)
    more = Text(f"and {len(left_out):,} more: {_counted(left_out)}")
    return Group(screen, *said, more, summary) if shown else summary


def _table(rows: list[list[str]], without: tuple[str, ...]) -> ScreenTable:
    """Return a table of runs; some columns are left out, and those of nothing always."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as ScreenTable
    from rich.text import Text

    screen = ScreenTable(box=SIMPLE_HEAD)
    names = ("Run", "State", "Steps", "Best", "Images/s", "Left")
    kept = [
        number
        for number, name in enumerate(names)
        if name not in without and (number < 2 or any(row[number] for row in rows))
    ]
    for number in kept:
        side: JustifyMethod = "left" if number < 2 else "right"
        screen.add_column(names[number], justify=side, overflow="fold", no_wrap=number > 0)
    for name, state, *cells in rows:
        lines = name.replace("/", "/\n") if "/" in without else name
        texts = [Text(lines), Text(state, style=_STYLES.get(state, "")), *map(Text, cells)]
        screen.add_row(*(texts[number] for number in kept))
    return screen


def _and_more(names: list[str]) -> str:
    return f" and {len(names) - 1:,} more" if names[1:] else ""


def _counted(found: Iterable[RunState]) -> str:
    counts = Counter(one.state for one in found)
    return ", ".join(f"{count:,} {state}" for state, count in counts.items())


def _cells(one: RunState, *, plain: bool) -> list[str]:
    """Return what is shown of a run; whatever others have written is one line of plain text."""
    from stt_bench.benchmark.system.progress import duration
    from stt_bench.benchmark.system.text import one_line

    steps = "" if one.steps is None else f"{one.step:,}/{one.steps:,}"
    best = left = ""
    if one.best is not None and one.metric is not None:
        value = f"{one.best:.4g}" if one.metric == "loss" else f"{100 * one.best:.1f}"
        best = f"{one_line(one.metric, 30)} {value}"
    if one.seconds_left is not None:
        left = f"{one.seconds_left:.0f}" if plain else duration(one.seconds_left)
    speed = "" if one.images_per_second is None else f"{one.images_per_second:,.0f}"
    return [one_line(one.name), one.state, steps, best, speed, left, one_line(one.told or "")]
