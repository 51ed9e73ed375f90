"""The command line: each command is a few lines that call one typed function.

Everything heavy is imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import enum
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stt_bench.benchmark.cli.data import data
from stt_bench.benchmark.cli.inspection import TOOLS
from stt_bench.benchmark.cli.options import (
    STOPPED,
    ForceOption,
    OverwriteOption,
    QuietOption,
    ResultsOption,
    RunsOption,
    SetOption,
    integers,
)
from stt_bench.benchmark.cli.stages import STAGES
from stt_bench.benchmark.system.errors import BenchError, TrainingStopped

if TYPE_CHECKING:
    from stt_bench.benchmark.leaderboards.board import Leaderboard

FAILED, BAD_INPUT = 1, 2

app = typer.Typer(
    name="stt-bench",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 an experiment failed, 2 wrong input, 130 stopped by the user.",
)

app.add_typer(data, name="data")


class Listing(enum.StrEnum):
    """What `stt-bench list` can list."""

    LOSSES = "losses"
    DATASETS = "datasets"
    BACKBONES = "backbones"
    TABLES = "tables"


@app.callback()
def common(
    plugin: Annotated[
        list[Path] | None,
        typer.Option(help="A Python file that registers losses or datasets of your own."),
    ] = None,
) -> None:
    """Which loss is really better on my images, by how much, and can I believe the number?

    stt-bench trains an embedding under each loss of a table, writes the embeddings to disk,
    measures retrieval, clustering and classification, and writes a leaderboard.

    Start with `stt-bench run digits_retrieval` (a minute on two CPU cores), then look at
    `results/digits_retrieval.md`.
    """
    for number, file in enumerate(plugin or ()):
        _import_plugin(file, number)


@app.command()
def run(
    configs: Annotated[
        list[str], typer.Argument(help="Tables: YAML files, or names in `configs/`.")
    ],
    rows: Annotated[
        str | None, typer.Option(help="Only these rows, separated by commas.", metavar="ROW,ROW")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="These seeds instead of the table's.", metavar="N,N")
    ] = None,
    overrides: SetOption = None,
    runs: RunsOption = Path("runs"),
    results: ResultsOption = Path("results"),
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train, embed and evaluate all rows of a table; then write its leaderboard.

    Skips experiments that have a record, continues one that was stopped.

    - `stt-bench run digits_retrieval`
    - `stt-bench run configs/cub50_retrieval.yaml --rows softmax,hard --seeds 0,1,2`
    - `stt-bench run digits_retrieval --set optimizer.lr=0.0003 --results my-results --runs my-runs`
    """
    from stt_bench.benchmark.leaderboards.report import check_pages, report
    from stt_bench.benchmark.suite import load_table, run_table
    from stt_bench.benchmark.system.progress import Reporter

    reporter = Reporter(quiet=quiet)
    tables = [load_table(config, overrides or (), only=_split(rows)) for config in configs]
    for table in tables:
        table.select(_split(rows))
    check_pages(results, [table.name for table in tables])
    failed, finished = 0, []
    for table in tables:
        outcome = run_table(
            table,
            rows=_split(rows),
            seeds=_seeds(seeds),
            runs=runs,
            results=results,
            force=force,
            reporter=reporter,
        )
        failed += len(outcome.failed)
        if outcome.done or outcome.skipped:
            finished.append(table.name)
        if outcome.skipped:
            reporter.say(
                f"{len(outcome.skipped)} of {table.name} already had a record in {results}; "
                "--force runs them again"
            )
    if finished:
        _show(report(results, finished), results, quiet)
    if failed:
        reporter.warn(
            f"{failed} experiment(s) failed, see above; the same command tries them again"
        )
        raise typer.Exit(FAILED)


@app.command()
def report(
    tables: Annotated[
        list[str] | None, typer.Argument(help="Names of tables; all that have records if none.")
    ] = None,
    results: ResultsOption = Path("results"),
    force: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write the leaderboards again from the records alone.

    - `stt-bench report`
    """
    from stt_bench.benchmark.leaderboards import report as reporting

    _show(reporting.report(results, tables, force=force), results, quiet)


@app.command("list")
def list_names(
    what: Annotated[Listing, typer.Argument(help="What to list.")],
    pattern: Annotated[
        str | None, typer.Argument(help="Only names with this in them, such as `resnet`.")
    ] = None,
) -> None:
    """List the losses, datasets, backbones or tables that a config can name.

    - `stt-bench list losses`
    - `stt-bench list backbones efficientnet`
    """
    from stt_bench.benchmark.cli.choices import names

    for name, about in names(what.value):
        if pattern is None or pattern in name:
            print(f"{name:<28} {about}".rstrip())


for name, command in {**STAGES, **TOOLS}.items():
    app.command(name)(command)


def main() -> None:
    """Run the command line; a mistake in the input ends in one sentence, not in a traceback."""
    try:
        app()
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except TrainingStopped as stop:
        print(f"{stop}; the same command, without --force, continues", file=sys.stderr)
        sys.exit(STOPPED)


def _show(boards: list[Leaderboard], results: Path, quiet: bool) -> None:
    from stt_bench.benchmark.cli.screen import print_leaderboard
    from stt_bench.benchmark.leaderboards.answer import answer

    for board in boards:
        if not quiet:
            print_leaderboard(board)
            print(*answer(board), sep="\n")
        print(results / f"{board.table}.md")


def _split(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",") if part.strip()] if text else None


def _seeds(text: str | None) -> list[int] | None:
    if text is None:
        return None
    seeds = integers("--seeds", text)
    if not seeds or min(seeds) < 0:
        raise BenchError(f"--seeds '{text}': write integers from 0, such as 0,1,2")
    return seeds


def _import_plugin(file: Path, number: int) -> None:
    spec = importlib.util.spec_from_file_location(f"stt_bench_plugin_{number}", file)
    if spec is None or spec.loader is None or not file.exists():
        raise BenchError(f"--plugin {file}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file raises
        raise BenchError(f"--plugin {file}: {type(error).__name__}: {error}") from None


if __name__ == "__main__":
    main()
