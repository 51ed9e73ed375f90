"""The command that writes leaderboards from records, and how they are shown in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stt_bench.benchmark.cli.options import (
    OverwriteOption,
    QuietOption,
    ResultsOption,
    RunsOption,
)
from stt_bench.benchmark.system.errors import BenchError

if TYPE_CHECKING:
    from stt_bench.benchmark.leaderboards.board import Leaderboard


def report(
    tables: Annotated[
        list[str] | None, typer.Argument(help="Names of tables; all that have records if none.")
    ] = None,
    distance: Annotated[
        Literal["euclidean", "cosine"] | None,
        typer.Option(help="Print the pages ranked by this distance instead; nothing is written."),
    ] = None,
    html: Annotated[
        bool,
        typer.Option(
            "--html",
            help="Write a page for a browser instead: RESULTS/report.html of all tables, or "
            "RESULTS/TABLE.html with everything on a table that is named.",
        ),
    ] = False,
    csv: Annotated[
        bool,
        typer.Option(
            "--csv",
            help="Write tidy tables of everything instead, RESULTS/csv, for plots of your own; "
            "their columns stand in RESULTS/csv/README.md.",
        ),
    ] = False,
    runs: RunsOption = Path("runs"),
    results: ResultsOption = Path("results"),
    force: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write the leaderboards again from the records alone.

    - `stt-bench report`
    - `stt-bench report cub50_retrieval --distance euclidean`
    - `stt-bench report cub50_retrieval --html`
    - `stt-bench report --csv`
    """
    from stt_bench.benchmark.config.table_files import name_in_results
    from stt_bench.benchmark.leaderboards import report as reporting

    tables = [name_in_results(table) for table in tables or ()]
    given = {"--html": html, "--csv": csv, "--distance": distance is not None}
    if len(named := [option for option, is_given in given.items() if is_given]) > 1:
        raise BenchError(f"{' and '.join(named)} cannot be joined: name one of them")
    if csv:
        from stt_bench.benchmark.leaderboards.csv_files import write_csv

        print(*write_csv(results, tables, force=force), sep="\n")
        return
    if html:
        from stt_bench.benchmark.pages.write import write_html

        print(*write_html(results, tables, runs, force=force), sep="\n")
        return
    if distance is not None:
        print(*reporting.pages(results, tables, distance), sep="\n")
        return
    show_leaderboards(reporting.report(results, tables, force=force), results, quiet)


def show_leaderboards(boards: list[Leaderboard], results: Path, quiet: bool) -> None:
    """Print leaderboards with their answers, and where their pages are."""
    from stt_bench.benchmark.cli.screen import print_leaderboard

    for board in boards:
        if not quiet:
            print_leaderboard(board)
        print(results / f"{board.table}.md")
