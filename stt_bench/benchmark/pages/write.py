"""The pages that `stt-bench report --html` writes: of all tables, or of each named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from stt_bench.benchmark.leaderboards.board import Leaderboard, build_leaderboard
from stt_bench.benchmark.leaderboards.published import published_of
from stt_bench.benchmark.leaderboards.report import table_names
from stt_bench.benchmark.leaderboards.searches import read_searches
from stt_bench.benchmark.pages.all_tables import page_of_all
from stt_bench.benchmark.pages.table_page import page_of_table
from stt_bench.benchmark.store.ledger import read_ledger
from stt_bench.benchmark.store.records import read_table_records
from stt_bench.benchmark.system.outputs import check_output, write_page

ALL_TABLES = "report.html"


def write_html(
    results: Path, tables: Sequence[str] | None, runs: Path, *, force: bool = False
) -> list[Path]:
    """Write the page of all tables, or of each table that is named, and return their paths.

    Args:
        results: the folder that has ``records``; the pages go there.
        tables: names; none for the page of all tables.
        runs: the folder of the runs, from which a table's page takes its pictures.
        force: overwrite a file that is not ours.

    Raises:
        BenchError: there are no records, a named table has none, a record is broken, or a page
            would overwrite a file that is not ours.
    """
    names = table_names(results, tables)
    paths = [results / f"{table}.html" for table in tables or ()] or [results / ALL_TABLES]
    for path in paths:
        check_output(path, force=force)
    if not tables:
        write_page(paths[0], page_of_all(read_boards(results, names)))
    for path, board in zip(paths, read_boards(results, tables or ()), strict=False):
        write_page(path, page_of_table(board, runs, read_searches(results, board)))
    return paths


def read_boards(results: Path, tables: Iterable[str]) -> list[Leaderboard]:
    """Return the leaderboards of tables.

    Raises:
        BenchError: a record is broken, or those of a row were made with different settings.
    """
    published, _ = published_of(results)
    return [
        build_leaderboard(
            table,
            read_table_records(results, table),
            published.get(table, []),
            read_ledger(results, table),
        )
        for table in tables
    ]
