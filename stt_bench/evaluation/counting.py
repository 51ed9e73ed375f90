"""The rank of the nearest positive alone: what is nearer is counted, not listed."""

import numpy as np

from stt_bench.evaluation.checks import blocks
from stt_bench.evaluation.coarse import TorchSearch
from stt_bench.evaluation.levels import Level
from stt_bench.evaluation.lists import ListRanker, OutsideBoundError
from stt_bench.evaluation.ranking import TieGroups


def count_nearer(level: Level, ranker: ListRanker, queries: np.ndarray) -> TieGroups:
    """Return the first tie group alone: before, size and positives are counted.

    Raises:
        OutsideBoundError: the count missed the nearest positive.
    """
    assert isinstance(level.searcher, TorchSearch), "a dense list is never too short"
    gallery = ranker.gallery
    query, points = gallery.positive_points(queries)
    first = np.searchsorted(query, np.arange(len(queries)))
    distances = ranker.exact(queries[query], points)
    nearest = np.minimum.reduceat(distances, first)
    _, hits = gallery.others(queries[query], points[:, None])
    hits = hits[:, 0] * (distances == nearest[query])
    positives = np.add.reduceat(hits, first, dtype=np.int64)
    before, size = np.zeros((2, len(queries)), dtype=np.int64)

    def add(query: np.ndarray, points: np.ndarray, items: np.ndarray) -> None:
        distances = ranker.exact(queries[query], points)
        np.add.at(before, query, items * (distances < nearest[query]))
        np.add.at(size, query, items * (distances == nearest[query]))

    coarse_rows = level.frame.rows(ranker.queries, queries)
    at, kind = nearest * level.frame.unit, level.searcher.precision
    errors = level.frame.errors(coarse_rows, at)
    low = np.nextafter((at - errors).astype(kind), -np.inf)
    high = np.nextafter((at + errors).astype(kind), np.inf)
    held = level.searcher.queries(coarse_rows)
    for rows, part in level.parts():
        if level.frame.exact:
            for block, below, through in level.searcher.counts(held, part, at.astype(kind)):
                before[block] += below
                size[block] += through - below
            continue
        for block, below, doubtful, places in level.searcher.nearer(held, part, low, high):
            before[block] += below
            for some in blocks(len(places), max(1, level.memory // 8 // 128)):
                points = rows.start + places[some]
                add(block.start + doubtful[some], points, gallery.sizes[points])
    # What lists leave out was counted like any other item.
    query, points, items = gallery.removed_points(queries)
    add(query, points, -items)
    if np.any(size < positives):
        raise OutsideBoundError
    return TieGroups(np.arange(len(queries)), before, size, positives)
