"""The page of all tables: the answer of each, and its leaderboard in seven columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from markupsafe import Markup

from stt_bench.benchmark.leaderboards.answer import answer
from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.matrix import (
    MATRIX_NOTE,
    Matrix,
    MatrixLine,
    half_width,
    matrices,
)
from stt_bench.benchmark.pages.leaderboard import NOTHING, Cell, leaderboard, verdict_cell
from stt_bench.benchmark.pages.provenance import short_provenance
from stt_bench.benchmark.pages.section import Section, page, rendered

TITLE = "Which loss is better, table by table"
LARGEST = 300_000  # bytes of the page, from which the checksums of its records are left to these


def page_of_all(boards: Sequence[Leaderboard]) -> str:
    """Return the page of all tables: their answers, the matrix, then each leaderboard.

    Where it would be too large, it names the records, and leaves their checksums to them.
    """
    told = {board.table: answer(board) for board in boards}
    whole = _page(boards, told, checksums=True)
    if len(whole.encode()) < LARGEST:
        return whole
    return _page(boards, told, checksums=False)


def _page(boards: Sequence[Leaderboard], told: Mapping[str, list[str]], *, checksums: bool) -> str:
    answers = [
        (board.title, board.table, (told[board.table] or ["No row is trained."])[0])
        for board in boards
    ]
    sections = [_table(board, told[board.table], checksums) for board in boards]
    if across := _matrix(boards):
        sections.insert(0, Section("matrix", "Rows that stand in several tables", across))
    lead = rendered("overview.html", answers=answers, shared=bool(across))
    return page(TITLE, lead, sections, contents=False)


def _table(board: Leaderboard, sentences: Sequence[str], checksums: bool) -> Section:
    parts = rendered("answer.html", description=board.description, sentences=sentences)
    parts += leaderboard(board, short=True, records=not checksums)
    parts += short_provenance(board, checksums=checksums)
    return Section(f"t-{board.table}", board.title, parts)


def _matrix(boards: Sequence[Leaderboard]) -> Markup:
    """Return the matrices of rows and tables; empty where no row stands in two of them."""
    parts, all_found = [], matrices(boards)
    for found in all_found:
        lines = [_line(found, line) for line in found.lines]
        note = MATRIX_NOTE if found is all_found[-1] else ""  # of all of them, once
        parts.append(rendered("matrix.html", matrix=found, lines=lines, note=note))
    return Markup("").join(parts)


def _line(found: Matrix, line: MatrixLine) -> tuple[MatrixLine, list[Cell]]:
    cells = []
    for one, is_run, kind in zip(line.verdicts, line.is_run, found.kinds, strict=True):
        if one is None:
            cells.append(NOTHING if is_run else Cell(""))
        else:
            half = half_width(one, kind)
            spread = "" if half is None else f"± {100 * half:.1f}"
            cells.append(replace(verdict_cell(one), spread=spread))
    return line, cells
