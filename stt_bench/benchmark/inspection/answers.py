"""What a run's embeddings answer: nearest items, queries worth looking at, classes confused."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from stt_bench.benchmark.scoring.retrieval import queries_and_gallery
from stt_bench.benchmark.store.embedding_set import EmbeddingSet
from stt_bench.evaluation import retrieval_scores
from stt_bench.evaluation.exact import Points, exact_pairs

KINDS = ("best", "typical", "worst")
_SPARE = 16  # candidates beyond those wanted: products round, exact distances decide
_TABLE = 2**23  # distances held at once


class Answers(NamedTuple):
    """The nearest items of Q queries, (Q, k) each: their places in the set, and distances.

    A place of -1, at an infinite distance, is none: the list has ended.
    """

    places: np.ndarray
    distances: np.ndarray


def places_of(embedded: EmbeddingSet, role: str) -> np.ndarray:
    """Return where in a set the items of a role (query, gallery) lie, ascending."""
    return np.flatnonzero(np.isin(embedded.roles, (role, "both")))


def nearest_items(embedded: EmbeddingSet, queries: np.ndarray, distance: str, k: int) -> Answers:
    """Return the k items of the gallery nearest to each query, as the metrics rank them.

    A query is left out of its own list. Equal distances come in the order of the set.

    Args:
        embedded: the set.
        queries: (Q,) places in it.
        distance: ``euclidean``, whose squares are returned, or ``cosine``.
        k: at most; lists of a small gallery are shorter.
    """
    gallery = places_of(embedded, "gallery")
    k = min(k, len(gallery))
    points = Points(embedded.embeddings, distance)
    rows = points.rows(gallery)
    squares = np.einsum("gd,gd->g", rows, rows)
    width = min(k + _SPARE, len(gallery))
    found = Answers(np.full((len(queries), k), -1), np.full((len(queries), k), np.inf))
    step = max(1, _TABLE // len(gallery))
    for start in range(0, len(queries), step):
        part = queries[start : start + step]
        asked = points.rows(part)
        coarse = -(asked @ rows.T) if distance == "cosine" else squares - 2 * (asked @ rows.T)
        coarse[part[:, None] == gallery[None, :]] = np.inf
        near = np.argpartition(coarse, width - 1, axis=1)[:, :width]
        for place, (query, some) in enumerate(zip(part, near, strict=True), start):
            some = np.sort(some[gallery[some] != query])
            exact = exact_pairs(asked[place - start][None], rows[some], distance)
            order = np.argsort(exact, kind="stable")[:k]
            found.places[place, : len(order)] = gallery[some[order]]
            found.distances[place, : len(order)] = exact[order]
    return found


def drawn_queries(embedded: EmbeddingSet, most: int, seed: int) -> np.ndarray:
    """Return the places of all queries, or of `most` that are drawn, ascending."""
    queries = places_of(embedded, "query")
    if len(queries) <= most:
        return queries
    return np.sort(np.random.default_rng(seed).choice(queries, most, replace=False))


def precision_of(embedded: EmbeddingSet, queries: np.ndarray, distance: str) -> np.ndarray:
    """Return MAP@R of each query, (Q,); NaN where it has no positive."""
    sets = _asked(queries_and_gallery(embedded), embedded, queries)
    scores = retrieval_scores(**sets, ks=(1,), distance=distance)
    found: np.ndarray = scores.values[:, scores.names.index("map@r")]
    return found


def _asked(sets: Mapping[str, Any], embedded: EmbeddingSet, queries: np.ndarray) -> dict[str, Any]:
    """Return the arguments of `retrieval_metrics` for some of a set's queries alone."""
    sets = dict(sets)
    if "gallery" not in sets:  # all query all
        sets |= {"gallery": sets["embeddings"], "gallery_labels": sets["labels"]}
        sets |= {"query_ids": embedded.ids, "gallery_ids": embedded.ids}
    at = np.searchsorted(places_of(embedded, "query"), queries)
    for name in ("embeddings", "labels", "query_ids"):
        sets[name] = sets[name][at]
    return sets


def worth_a_look(
    values: np.ndarray, labels: np.ndarray, number: int, seed: int
) -> dict[str, np.ndarray]:
    """Return which of Q queries to show, by kind: the worst, the best and the typical ones.

    Typical are those nearest to the median. No class comes twice in a kind while there are others,
    and no query in two kinds; ties are drawn. A query without a value is not shown.

    Args:
        values: (Q,) MAP@R of each, or NaN.
        labels: (Q,) their classes.
        number: of each kind, at most.
        seed: of the draw.
    """
    shuffled = np.random.default_rng(seed).permutation(np.flatnonzero(~np.isnan(values)))
    if not len(shuffled):
        return {kind: np.empty(0, dtype=int) for kind in KINDS}
    middle = np.median(values[shuffled])
    keys = {"worst": values, "best": -values, "typical": np.abs(values - middle)}
    taken: set[int] = set()
    found = {}
    for kind, key in keys.items():
        order = shuffled[np.argsort(key[shuffled], kind="stable")]
        found[kind] = _first_of_each_class([i for i in order if i not in taken], labels, number)
        taken |= set(found[kind].tolist())
    return {kind: found[kind] for kind in KINDS}


def _first_of_each_class(order: list[int], labels: np.ndarray, number: int) -> np.ndarray:
    """Return the first of an order, one of each class before a second one of any."""
    seen: dict[str, int] = {}
    ranked = []
    for place, item in enumerate(order):
        seen[labels[item]] = seen.get(labels[item], -1) + 1
        ranked.append((seen[labels[item]], place, item))
        if len(seen) == number and seen[labels[item]] == 0:
            break  # as many classes as wanted
    chosen = sorted(ranked)[:number]
    return np.array([item for _, _, item in chosen], dtype=int)


class Confusion(NamedTuple):
    """How often items of a class were taken for one of another.

    `classes` (C,) names them; in `cells` (T, 2) are pairs of true class and class taken for, each
    once, which came `counts` (T,) times.
    """

    classes: tuple[str, ...]
    cells: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, matrix: np.ndarray, classes: tuple[str, ...]) -> Confusion:
        """Return the confusion of a (C, C) matrix with the true classes in rows."""
        cells = np.argwhere(matrix > 0)
        return cls(classes, cells, matrix[tuple(cells.T)].astype(float))

    @property
    def items(self) -> np.ndarray:
        """Return how many items of each true class were looked at, (C,)."""
        return np.bincount(self.cells[:, 0], self.counts, len(self.classes))

    def matrix(self) -> np.ndarray:
        """Return the (C, C) counts, true classes in rows."""
        matrix = np.zeros((len(self.classes), len(self.classes)))
        matrix[tuple(self.cells.T)] = self.counts
        return matrix

    def how_often(self, true: str, found: str) -> float:
        """Return how often a class was taken for another."""
        with suppress(ValueError):
            cell = self.classes.index(true), self.classes.index(found)
            return float(self.counts[(self.cells == cell).all(axis=1)].sum())
        return 0.0

    def pairs(self, most: int) -> list[tuple[str, str, float, float]]:
        """Return (true, taken for, how often, of how many), the most frequent confusions first."""
        wrong = np.flatnonzero(self.cells[:, 0] != self.cells[:, 1])
        first = wrong[np.argsort(-self.counts[wrong], kind="stable")[:most]]
        items = self.items
        return [
            (self.classes[i], self.classes[j], float(self.counts[at]), float(items[i]))
            for at, (i, j) in zip(first, self.cells[first], strict=True)
        ]


def confusion_of_nearest(
    embedded: EmbeddingSet, queries: np.ndarray, nearest: np.ndarray
) -> Confusion:
    """Count of which class the nearest item of each query is; `nearest` (Q,) are its places."""
    there = nearest >= 0
    true, found = embedded.labels[queries[there]], embedded.labels[nearest[there]]
    classes, codes = np.unique(np.concatenate([true, found]), return_inverse=True)
    pairs = np.stack([codes[: len(true)], codes[len(true) :]], axis=1)
    cells, counts = np.unique(pairs, axis=0, return_counts=True)
    return Confusion(tuple(classes.tolist()), cells, counts.astype(float))
