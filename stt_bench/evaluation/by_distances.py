"""Retrieval by distances that are no distance between two rows: given ones, and re-ranked ones.

Such distances are sorted as they are, block by block; ties, rules and metrics are those of
`retrieval_metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from stt_bench.evaluation.callback import ProgressCallback, quietly
from stt_bench.evaluation.checks import blocks, check_choice, check_count, check_ks, check_matrix
from stt_bench.evaluation.exact import DISTANCES, Points, points_of
from stt_bench.evaluation.gallery import Gallery
from stt_bench.evaluation.label_sets import LabelSets, label_sets
from stt_bench.evaluation.measures import (
    DIVISORS,
    USUAL,
    check_metrics,
    depth_of,
    list_metrics,
    names_of,
)
from stt_bench.evaluation.query_scores import QueryScores
from stt_bench.evaluation.ranking import find_tie_groups, tied_neighbours
from stt_bench.evaluation.reranking import Reranking, check_reranking
from stt_bench.evaluation.retrieval import MEMORY_MIB, MIB, MOST_MIB
from stt_bench.evaluation.space import (
    Rules,
    gallery_of,
    only_with_a_gallery,
    own_rows_of,
    sets_of,
)

CELL_BYTES = 96  # what an item of a list takes while it is sorted and scored


class Columns(Points):
    """The gallery of a table of distances: as many points as columns, without coordinates."""

    def __init__(self, count: int) -> None:
        """Take the number of columns; `kept` are those that are in the gallery, None for all."""
        self.count = count
        self.kept = None

    def __len__(self) -> int:
        """Return the number of columns in the gallery."""
        return self.count if self.kept is None else len(self.kept)

    def distinct(self) -> tuple[Columns, np.ndarray]:
        """Return every column: none is a repetition of another."""
        return self, np.arange(self.count)


def scores_of_distances(
    distances: ArrayLike,
    labels: ArrayLike,
    *,
    gallery_labels: ArrayLike | None = None,
    query_ids: ArrayLike | None = None,
    gallery_ids: ArrayLike | None = None,
    query_groups: ArrayLike | None = None,
    gallery_groups: ArrayLike | None = None,
    groups_apply_to: str = "label",
    junk: ArrayLike | None = None,
    metrics: Sequence[str] = USUAL,
    map_at_k: str = "min",
    ks: Sequence[int] = (1, 2, 4, 8, 16),
    memory_mib: int = MEMORY_MIB,
    progress: ProgressCallback = quietly,
) -> QueryScores:
    """Return the metrics of every query by ready distances, whatever they were made of.

    Equal distances are ties. The arguments are those of `retrieval_scores`, but for:

    Args:
        distances: (Q, G) finite numbers, small for what is alike; a memory map is read in blocks.
            Without `gallery_labels` they are (N, N), and no item is in its own list.
        memory_mib: memory for the working tables; one row always fits.

    Raises:
        ValueError: as `retrieval_scores`, or the table is not as wide as the labels say.

    Example:
        >>> table = [[0.0, 1.0, 5.0], [1.0, 0.0, 4.0], [5.0, 4.0, 0.0]]
        >>> scores_of_distances(table, ["a", "a", "b"], ks=[1]).metrics()["recall@1"]
        1.0
    """
    matrix = check_matrix("distances", distances)
    size, width = matrix.shape
    if gallery_labels is None and size != width:
        raise ValueError(f"distances is {size} × {width}: without gallery_labels it is N × N.")
    sets = label_sets(labels, size, gallery_labels, width)
    rules = Rules(query_groups, gallery_groups, junk, groups_apply_to)
    if gallery_labels is None:
        only_with_a_gallery(query_ids, gallery_ids, rules, missing="gallery_labels")
        own_rows = np.arange(size)
    else:
        own_rows = own_rows_of(query_ids, gallery_ids, size, width)
    gallery = gallery_of(
        Columns(width), sets, own_rows, rules,
        None if gallery_labels is None else width, apart=True,
    )  # fmt: skip
    kept = gallery.points.kept
    memory = min(check_count("memory_mib", memory_mib), MOST_MIB) * MIB

    def rows(queries: np.ndarray) -> np.ndarray:
        table = matrix[queries].astype(np.float64)
        return table if kept is None else table[:, kept]

    return _scores(rows, gallery, sets, metrics, map_at_k, ks, memory, progress)


def reranked_scores(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
    gallery: ArrayLike | None = None,
    gallery_labels: ArrayLike | None = None,
    query_ids: ArrayLike | None = None,
    gallery_ids: ArrayLike | None = None,
    query_groups: ArrayLike | None = None,
    gallery_groups: ArrayLike | None = None,
    groups_apply_to: str = "label",
    junk: ArrayLike | None = None,
    metrics: Sequence[str] = USUAL,
    map_at_k: str = "min",
    ks: Sequence[int] = (1, 2, 4, 8, 16),
    distance: str = "euclidean",
    memory_mib: int = MEMORY_MIB,
    progress: ProgressCallback = quietly,
) -> QueryScores:
    """Return the metrics of every query by the distances of `reranked_distances`.

    Queries and gallery are one set of neighbours, an item that is both once. Junk is no part of
    it; what a rule takes out of a query's list stays a neighbour, as it is in practice. `k1`, `k2`
    and `weight` are those of `reranked_distances`; the other arguments that are not named below
    are those of `retrieval_scores`.

    Args:
        embeddings: (N, D).
        labels: (N,).
        memory_mib: memory for working tables; the neighbour sets grow with N, k1 and k2.
        progress: is told how many queries are done, and how many there are.

    Raises:
        ValueError: as `retrieval_scores` and `reranked_distances`; or so many items are tied that
            the neighbour sets need more than the memory.
    """
    settings = check_reranking(k1, k2, weight)
    check_choice("distance", distance, DISTANCES)
    memory = min(check_count("memory_mib", memory_mib), MOST_MIB) * MIB
    rules = Rules(query_groups, gallery_groups, junk, groups_apply_to)
    sets = sets_of(embeddings, labels, gallery, gallery_labels, query_ids, gallery_ids, rules)
    asked, own_rows = sets.queries, sets.own_rows
    held = asked if sets.gallery is None else sets.gallery
    size = None if sets.gallery is None else len(held)
    searched = gallery_of(Columns(len(held)), sets.labels, own_rows, rules, size, apart=True)
    kept = searched.points.kept
    items = np.arange(len(held)) if kept is None else kept
    # An item that is query and gallery stands in the set once, in the gallery's part.
    place_of_item = np.full(len(held), -1)
    place_of_item[items] = np.arange(len(items))
    places = np.where(own_rows >= 0, place_of_item[own_rows], -1)
    alone, own = np.flatnonzero(places < 0), np.flatnonzero(places >= 0)
    if np.any(asked[own] != held[own_rows[own]]):
        raise ValueError(
            "A query that is in the gallery has another embedding there: re-ranking takes both "
            "as one item. (Expanded queries can be re-ranked where no query is in the gallery.)"
        )
    places[alone] = len(items) + np.arange(len(alone))
    (points,) = points_of(distance, np.concatenate([held[items], asked[alone]]))
    ranking = Reranking(points, *settings, memory)
    everyone = np.arange(len(items))
    return _scores(
        lambda queries: ranking.distances(places[queries], everyone),
        searched, sets.labels, metrics, map_at_k, ks, memory, progress,
    )  # fmt: skip


def _scores(
    rows: Callable[[np.ndarray], np.ndarray],
    gallery: Gallery,
    sets: LabelSets,
    metrics: Sequence[str],
    map_at_k: str,
    ks: Sequence[int],
    memory: int,
    progress: ProgressCallback,
) -> QueryScores:
    """Return the scores, given the distances (q, G) of queries to all items of the gallery."""
    cutoffs = check_ks(ks)
    asked = check_metrics(metrics, cutoffs)
    check_choice("map_at_k", map_at_k, DIVISORS)
    gallery.depth = depth_of(asked, cutoffs, gallery)
    names = names_of(asked, cutoffs)
    wanted = np.flatnonzero(gallery.relevant > 0)
    values = np.full((len(gallery.relevant), len(names)), np.nan)
    for part in blocks(len(wanted), max(1, memory // (CELL_BYTES * len(gallery.points)))):
        queries = wanted[part]
        table = rows(queries)
        order = np.argsort(table, axis=1, kind="stable")
        sizes, positives = gallery.others(queries, order)
        groups = find_tie_groups(
            tied_neighbours(np.take_along_axis(table, order, axis=1)),
            sizes.astype(np.int64),
            positives.astype(np.int64),
            gallery.depth[queries],
        )
        values[queries] = list_metrics(groups, gallery.relevant[queries], cutoffs, asked, map_at_k)
        progress(part.stop, len(wanted))
    return QueryScores(names, values, sets.names, None if sets.members is None else sets.owners)
