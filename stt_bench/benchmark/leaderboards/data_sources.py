"""Which tables are of one data source, so that they do not count as independent of each other."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import combinations

from stt_bench.benchmark.leaderboards.board import Leaderboard

PART_OF = {"cub50": "cub200", "inshop_merged": "inshop", "omniglot_mini": "omniglot"}
ANY_DATA = {"features", "images"}  # the name says nothing of what is in the files


def data_sources(boards: Sequence[Leaderboard]) -> list[int]:
    """Return the data source of each table: the place of the first table that has the same one.

    Two tables are of one source if they have the same data hash (the same items), or the same
    dataset, be it another split or a part of it (`PART_OF`). Of `images` and `features`, which may
    be any data, those with a test class of the same name are of one source. What is of one source
    with a third table is of one.
    """
    found = list(range(len(boards)))
    signs = [_signs(board) for board in boards]
    for one, other in combinations(range(len(boards)), 2):
        if signs[one] & signs[other]:
            first, later = sorted((found[one], found[other]))
            found = [first if source == later else source for source in found]
    return found


def tested_classes(board: Leaderboard) -> set[Hashable]:
    """Return the test classes (or groups of them) of which a table's records hold values."""
    found: set[Hashable] = set()
    for record in board.records:
        found |= set(record.class_values.groups) if record.class_values else set()
        found |= set(record.per_class.labels) if record.per_class else set()
    return found


def _signs(board: Leaderboard) -> set[tuple[str, Hashable]]:
    """Return what tables of one source have in common."""
    names = {row.experiment.data.name for row in board.rows}
    signs = {("data", row.protocol.get("data")) for row in board.rows}
    signs |= {("dataset", PART_OF.get(name, name)) for name in names - ANY_DATA}
    if names & ANY_DATA:
        signs |= {("class", name) for name in tested_classes(board)}
    return signs
