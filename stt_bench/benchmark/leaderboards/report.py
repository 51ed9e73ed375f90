"""Records in, pages and figures out: all that `stt-bench report` writes.

It is a function of ``results/records`` and the published numbers alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from stt_bench.benchmark.leaderboards.board import Leaderboard, build_leaderboard
from stt_bench.benchmark.leaderboards.figures import draw_curves, draw_leaderboard, drawn_rows
from stt_bench.benchmark.leaderboards.front_page import front_page
from stt_bench.benchmark.leaderboards.markdown import markdown
from stt_bench.benchmark.leaderboards.published import published_of
from stt_bench.benchmark.leaderboards.published_numbers import markdown_of_published
from stt_bench.benchmark.leaderboards.searches import read_searches
from stt_bench.benchmark.leaderboards.tuning_figure import draw_best_of_n
from stt_bench.benchmark.leaderboards.tuning_page import tuning_page
from stt_bench.benchmark.store.distances import Distance
from stt_bench.benchmark.store.ledger import read_ledger
from stt_bench.benchmark.store.records import (
    read_record,
    read_table_records,
    record_paths,
    tables_with_records,
)
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.folders import check_folder
from stt_bench.benchmark.system.outputs import check_output, write_page
from stt_bench.names import did_you_mean


class BrokenTablesError(BenchError):
    """Tables have no leaderboard; `whys` says why, a sentence for each."""

    def __init__(self, whys: Sequence[str], rest: str) -> None:
        """Make the sentence; `rest` is said of the other tables."""
        self.whys = list(whys)
        super().__init__("; ".join(self.whys) + rest)


def report(
    results: Path, tables: Sequence[str] | None = None, *, force: bool = False
) -> list[Leaderboard]:
    """Generate the leaderboards of all tables (or those named) that have records.

    The pages of a table with a broken record stay as they were; those of the others are written.

    Raises:
        BrokenTablesError: a named table has a broken record.
        BenchError: there are no records, a named table has none, or a page or figure would
            overwrite a file that is not ours (``force`` overwrites it).
    """
    names = table_names(results, tables)
    published, is_own = published_of(results)
    boards, searches, broken, wanted = [], {}, {}, tables or names
    for table in names:  # a table that cannot be read must not stand in the way of the others
        try:
            records = read_table_records(results, table)
            ledger = read_ledger(results, table)
            board = build_leaderboard(table, records, published.get(table, []), ledger)
            searches[table] = read_searches(results, board)
            boards.append(board)
        except BenchError as error:
            broken[table] = str(error)
    # The shipped numbers stand beside what was run; a page of its own each has in one's own file.
    others = sorted(published.items()) if is_own else []
    not_run = {name: numbers for name, numbers in others if name not in names}
    asked = [board for board in boards if board.table in wanted]
    check_pages(results, [*(board.table for board in asked), *not_run], force=force)
    for board in asked:
        write_page(results / f"{board.table}.md", markdown(board, searches[board.table]))
        if tuned := searches[board.table]:
            write_page(results / f"{board.table}_tuning.md", tuning_page(board, tuned))
            draw_best_of_n(tuned, results / f"{board.table}_tuning.png")
        draw_leaderboard(board, results / f"{board.table}.png")
        if board.figure is not None and drawn_rows(board, board.figure):
            draw_curves(board, board.figure, results / f"{board.table}_curves.png")
    for name, numbers in not_run.items():
        write_page(results / f"{name}.md", markdown_of_published(name, numbers))
    timing = (results / "timing.md").exists()
    write_page(results / "README.md", front_page(boards, list(not_run), timing=timing))
    if told := [broken[table] for table in wanted if table in broken]:
        rest = "; the other leaderboards are written" if asked else ""
        raise BrokenTablesError(told, rest)
    return asked


def pages(results: Path, tables: Sequence[str] | None, distance: Distance) -> list[str]:
    """Return the pages of tables (all that have records if none is named), ranked by a distance.

    Raises:
        BenchError: there are no records, or a table has none or a broken one.
    """
    names = table_names(results, tables)
    return [markdown(read_board(results, table, distance)) for table in tables or names]


def read_board(results: Path, table: str, distance: Distance | None = None) -> Leaderboard:
    """Return the leaderboard of a table from its records, ranked by a distance or its own.

    Raises:
        BenchError: a record is broken, or those of a row were made with different settings.
    """
    published, _ = published_of(results)
    return build_leaderboard(
        table,
        read_table_records(results, table),
        published.get(table, []),
        read_ledger(results, table),
        distance=distance,
    )


def why_no_board(results: Path, table: str, new: Collection[Path]) -> str:
    """Return why `report` would refuse a table once it is run, or nothing; nothing is written.

    Args:
        results: the folder of the records.
        table: its name.
        new: the records that the run makes, whatever lies there now; without any, what lies
            there is the whole leaderboard.
    """
    try:
        if not new:
            read_searches(results, read_board(results, table))
            return ""
        for path in record_paths(results, table):
            if path not in new:
                read_record(path)
        read_ledger(results, table)
    except BenchError as error:
        return str(error)
    return ""


def table_names(results: Path, asked: Sequence[str] | None = None) -> list[str]:
    """Return the tables that have records; those asked for must.

    Raises:
        BenchError: there are no records, or a table that is asked for has none.
    """
    names = tables_with_records(results)
    if not names:
        raise BenchError(f"{results / 'records'} holds no records; run `stt-bench run` first")
    for table in asked or ():
        if table not in names:
            raise BenchError(f"table '{table}' has no records; {did_you_mean(table, names)}")
    return names


def check_pages(results: Path, tables: Iterable[str], *, force: bool = False) -> None:
    """Find what would keep `report` from writing the tables' pages, before hours of training.

    Raises:
        BenchError: the results are no folder, ``published.csv`` has a mistake, or a page or figure
            would overwrite a file that is not ours (``force`` overwrites it).
    """
    check_folder(results, "--results")
    published_of(results)
    ends = (".md", ".png", "_curves.png", "_tuning.md", "_tuning.png")
    for name in ("README.md", *(f"{table}{end}" for table in tables for end in ends)):
        try:
            check_output(results / name, force=force)
        except BenchError:
            raise BenchError(
                f"{results / name} would be overwritten, and stt-bench cannot tell that it wrote "
                "it: name another folder with --results, move the file, or let `stt-bench report "
                "--force` overwrite it"
            ) from None
