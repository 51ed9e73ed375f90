"""What a table's page shows beside its numbers: curves, galleries, confusions, maps, cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stt_bench.benchmark.pages.section import Section
from stt_bench.benchmark.store.records import Record


def picture_sections(table: str, records: Sequence[Record], runs_folder: Path) -> list[Section]:
    """Return the picture sections of a table's page, in their order.

    Args:
        table: its name.
        records: as they are on disk, by row and seed.
        runs_folder: holds ``TABLE/ROW/seed-N``, or nothing where the runs are elsewhere.
    """
    del table, records, runs_folder
    return []
