"""The page of all tables: the answer of each, and its leaderboard in seven columns."""

from __future__ import annotations

from collections.abc import Sequence

from stt_bench.benchmark.leaderboards.answer import answer
from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.pages.leaderboard import leaderboard
from stt_bench.benchmark.pages.section import Section, page, rendered


def page_of_all(boards: Sequence[Leaderboard]) -> str:
    """Return the page of all tables."""
    sections = [
        Section(
            f"t-{board.table}",
            board.title,
            rendered("answer.html", description=board.description, sentences=answer(board))
            + leaderboard(board, short=True),
        )
        for board in boards
    ]
    return page("Leaderboards", rendered("answer.html", description="", sentences=[]), sections)
