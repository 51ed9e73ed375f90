"""The page of one table, with everything."""

from __future__ import annotations

from pathlib import Path

from stt_bench.benchmark.leaderboards.answer import answer
from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.notes import notes
from stt_bench.benchmark.pages.forest import forest
from stt_bench.benchmark.pages.leaderboard import leaderboard
from stt_bench.benchmark.pages.markdown import from_markdown
from stt_bench.benchmark.pages.pictures import picture_sections
from stt_bench.benchmark.pages.provenance import provenance
from stt_bench.benchmark.pages.section import Section, page, rendered


def page_of_table(board: Leaderboard, runs: Path) -> str:
    """Return a table's page; its pictures are made of what is in the folder of the runs."""
    lead = rendered("answer.html", description=board.description, sentences=answer(board))
    plot = forest(board)
    sections = [
        Section("leaderboard", "Leaderboard", leaderboard(board)),
        *([Section("differences", "Differences to Softmax", plot)] if plot else []),
        *picture_sections(board, runs),
        Section("notes", "Notes", from_markdown([f"- {note}" for note in notes(board)])),
        Section("provenance", "Where these numbers come from", provenance(board)),
    ]
    return page(board.title, lead, sections, assets=("page", "pictures"))
