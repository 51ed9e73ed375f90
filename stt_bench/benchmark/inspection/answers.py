"""What a run's embeddings answer: nearest items, queries worth looking at, classes confused."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from stt_bench.benchmark.store.embedding_set import EmbeddingSet
from stt_bench.evaluation import retrieval_scores
from stt_bench.evaluation.checks import blocks
from stt_bench.evaluation.exact import Points, exact_pairs
from stt_bench.evaluation.label_sets import LabelSets, label_sets

KINDS = ("best", "typical", "worst")
_SPARE = 16  # candidates beyond those wanted: products round, exact distances decide
_TABLE = 2**23  # distances held at once


class Answers(NamedTuple):
    """The nearest items of Q queries, (Q, k) each: places in the set, distances, and who is right.

    A place of -1, at an infinite distance, is none: the list has ended.
    """

    places: np.ndarray
    distances: np.ndarray
    right: np.ndarray


@dataclass(frozen=True)
class Search:
    """Some queries of an embedding set against its whole gallery, as its metrics rank it.

    `sets` are arguments of `retrieval_metrics`, with a gallery apart from the queries; `queries`
    (Q,) and `gallery` (G,) tell where in the embedding set its rows lie.
    """

    sets: dict[str, Any]
    queries: np.ndarray
    gallery: np.ndarray
    distance: str

    @classmethod
    def of(
        cls, embedded: EmbeddingSet, sets: Mapping[str, Any], distance: str, most: int, seed: int
    ) -> Search:
        """Return the search of all queries, or of `most` that are drawn.

        Args:
            embedded: the set.
            sets: of it, as `scoring.rules.queries_and_gallery` has them.
            distance: ``euclidean`` or ``cosine``.
            most: queries.
            seed: of the draw.
        """
        sets = dict(sets)
        queries, gallery = (
            np.flatnonzero(np.isin(embedded.roles, (role, "both"))) for role in ("query", "gallery")
        )
        if "gallery" not in sets:  # all query all
            sets |= {"gallery": sets["embeddings"], "gallery_labels": sets["labels"]}
            sets |= {"query_ids": embedded.ids, "gallery_ids": embedded.ids}
            if "query_groups" in sets:
                sets["gallery_groups"] = sets["query_groups"]
        rows = np.arange(len(queries))
        if len(rows) > most:
            rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
        for name in ("embeddings", "labels", "query_ids", "query_groups"):
            if name in sets:
                sets[name] = sets[name][rows]
        return cls(sets, queries[rows], gallery, distance)

    def precision(self) -> np.ndarray:
        """Return MAP@R of each query, (Q,); NaN where it has no positive."""
        try:
            scores = retrieval_scores(**self.sets, ks=(1,), distance=self.distance)
        except ValueError:  # none has one
            return np.full(len(self.queries), np.nan)
        found: np.ndarray = scores.values[:, scores.names.index("map@r")]
        return found

    def nearest(self, k: int) -> Answers:
        """Return the k items nearest to each query; lists of a small gallery are shorter.

        Left out of a list are the query itself and what a rule of groups takes out of it. Equal
        distances come in the order of the set; those of ``euclidean`` are squared.
        """
        points = [Points(self.sets[name], self.distance) for name in ("embeddings", "gallery")]
        asked, held = points[0].rows(slice(None)), points[1].rows(slice(None))
        squares = np.einsum("gd,gd->g", held, held)
        labels = label_sets(self.sets["labels"], len(asked), self.sets["gallery_labels"], len(held))
        width = min(k + _SPARE, len(held))
        items = np.full((len(asked), min(k, len(held))), -1)
        distances = np.full(items.shape, np.inf)
        for part in blocks(len(asked), max(1, _TABLE // len(held))):
            coarse = asked[part] @ held.T
            coarse = -coarse if self.distance == "cosine" else squares - 2 * coarse
            coarse[self._left_out(part, labels)] = np.inf
            near = np.argpartition(coarse, width - 1, axis=1)[:, :width]
            for row, some in enumerate(near):
                some = np.sort(some[np.isfinite(coarse[row, some])])
                query = part.start + row
                exact = exact_pairs(asked[query][None], held[some], self.distance)
                order = np.argsort(exact, kind="stable")[: items.shape[1]]
                items[query, : len(order)] = some[order]
                distances[query, : len(order)] = exact[order]
        right = labels.match(labels.queries, labels.gallery[items]) & (items >= 0)
        return Answers(np.where(items < 0, -1, self.gallery[items]), distances, right)

    def _left_out(self, part: slice, labels: LabelSets) -> np.ndarray:
        """Tell which items are in no list of some queries, (Q, G)."""
        out: np.ndarray = self.queries[part, None] == self.gallery
        if "query_groups" in self.sets:
            same = self.sets["query_groups"][part, None] == self.sets["gallery_groups"]
            if self.sets.get("groups_apply_to", "label") == "label":
                everything = np.broadcast_to(labels.gallery, same.shape)
                same &= labels.match(labels.queries[part], everything)
            out |= same
        return out


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
    embedded: EmbeddingSet, queries: np.ndarray, answers: Answers
) -> Confusion:
    """Count of which class the nearest item of each query is.

    Where items have several labels, an item that shares one is of the query's own.
    """
    nearest, right = answers.places[:, 0], answers.right[:, 0]
    there = nearest >= 0
    true = embedded.labels[queries[there]]
    found = np.where(right[there], true, embedded.labels[nearest[there]])
    classes, codes = np.unique(np.concatenate([true, found]), return_inverse=True)
    pairs = np.stack([codes[: len(true)], codes[len(true) :]], axis=1)
    cells, counts = np.unique(pairs, axis=0, return_counts=True)
    return Confusion(tuple(classes.tolist()), cells, counts.astype(float))
