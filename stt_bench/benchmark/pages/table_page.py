"""The page of one table, with everything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stt_bench.benchmark.leaderboards.answer import answer
from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.halves import halves
from stt_bench.benchmark.leaderboards.notes import notes
from stt_bench.benchmark.leaderboards.searches import RowSearch
from stt_bench.benchmark.leaderboards.tuning_page import tuning_section
from stt_bench.benchmark.leaderboards.wording import metric_name
from stt_bench.benchmark.pages.forest import forest
from stt_bench.benchmark.pages.leaderboard import leaderboard
from stt_bench.benchmark.pages.markdown import from_markdown
from stt_bench.benchmark.pages.pictures import picture_sections
from stt_bench.benchmark.pages.provenance import provenance
from stt_bench.benchmark.pages.section import Section, page, rendered


def page_of_table(board: Leaderboard, runs: Path, searches: Sequence[RowSearch] = ()) -> str:
    """Return a table's page; its pictures are made of what is in the folder of the runs.

    A tuned table's has the searches of its rows.
    """
    lead = rendered("answer.html", description=board.description, sentences=answer(board))
    plot = forest(board)
    sections = [
        Section("leaderboard", "Leaderboard", leaderboard(board)),
        *([Section("differences", "Differences to Softmax", plot)] if plot else []),
        *picture_sections(board, runs),
        Section("notes", "Notes", from_markdown([f"- {note}" for note in notes(board)])),
        *_worded("tuning", tuning_section(board, searches)),
        *_worded("halves", halves(board)),
        *_published(board),
        Section("provenance", "Where these numbers come from", provenance(board)),
    ]
    sources = "the result records, the runs and the data"
    return page(board.title, lead, sections, assets=("page", "pictures"), sources=sources)


def _worded(name: str, lines: Sequence[str]) -> list[Section]:
    """Return the section of a Markdown page as one of this page; none where it has no lines."""
    if not lines:
        return []
    title = lines[0].removeprefix("## ")
    return [Section(name, title, from_markdown(lines[1:], caption=title))]


def _published(board: Leaderboard) -> list[Section]:
    if not board.published:
        return []
    labels = {row.name: row.label for row in board.rows}
    html = rendered("published.html", numbers=board.published, labels=labels, name=metric_name)
    return [Section("published", "Published numbers", html)]
