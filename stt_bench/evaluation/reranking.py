"""Better lists from the neighbours of neighbours: k-reciprocal re-ranking and query expansion.

Both are functions of embeddings alone. What stands equally far as the last of k places counts with
it, so that the order of the data never matters; without ties they are what their authors wrote.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array, vstack

from stt_bench.evaluation.checks import blocks, check_choice, check_count, check_matrix
from stt_bench.evaluation.exact import DISTANCES, Points, exact_pairs, points_of, row_norms
from stt_bench.evaluation.gallery import Gallery
from stt_bench.evaluation.lists import PAIRS_BYTES
from stt_bench.evaluation.nearest import NearestItems
from stt_bench.evaluation.space import own_rows_of

TABLE = 2**22  # distances that are looked at once
ENTRY_BYTES = 64  # what a member of a set takes while sets are made


def reranked_distances(
    queries: ArrayLike,
    gallery: ArrayLike | None = None,
    *,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
    distance: str = "euclidean",
) -> np.ndarray:
    """Return the (Q, G) distances of k-reciprocal re-ranking, in [0, 1].

    They are (1 − λ) J + λ D with D the squared Euclidean distance over the largest of its row and J
    the Jaccard distance of weighted neighbour sets (Zhong, Zheng, Cao and Li, 'Re-ranking Person
    Re-identification with k-reciprocal Encoding', CVPR 2017), queries and gallery being one set:

    * two items are k-reciprocal where each is among the other's first k places, itself included;
    * R(i), k = k1 + 1, is joined by each set of its members c with k = round(k1 / 2) + 1 (half to
      even) of which strictly more than 2/3 lie in R(i);
    * V(i, j) is exp(−D(i, j)) for members j, divided by its sum, then averaged over i's first k2
      places;
    * J(i, j) = 1 − Σ min / (2 − Σ min) of V(i) and V(j).

    `reranked_scores` ranks by them without the whole table.

    Args:
        queries: (Q, D).
        gallery: (G, D); without it the queries are one set that is its own gallery.
        k1: places of the first sets.
        k2: places of the average; 1 is none.
        weight: λ, in [0, 1].
        distance: `euclidean`, or `cosine`: of rows of unit length.

    Raises:
        ValueError: for what `retrieval_metrics` refuses in matrices, k1 or k2 < 1, or a weight
            outside [0, 1].
    """
    settings = check_reranking(k1, k2, weight)
    check_choice("distance", distance, DISTANCES)
    if gallery is None:
        (points,) = points_of(distance, check_matrix("queries", queries))
        everyone = np.arange(len(points))
        return Reranking(points, *settings).distances(everyone, everyone)
    asked, held = _pair(queries, gallery)
    (points,) = points_of(distance, np.concatenate([asked, held]))
    first, second = np.arange(len(asked)), np.arange(len(asked), len(points))
    return Reranking(points, *settings).distances(first, second)


def check_reranking(k1: int, k2: int, weight: float) -> tuple[int, int, float]:
    """Return the checked settings of re-ranking."""
    first, second = check_count("k1", k1), check_count("k2", k2)
    if not isinstance(weight, Real) or not 0 <= weight <= 1:
        raise ValueError(f"weight must be a number in [0, 1], not {weight!r:.80}.")
    return first, second, float(weight)


class Reranking:
    """The neighbour sets of N points, from which distances follow row by row.

    Memory grows with N, k1 and k2, and with what is tied for the last places.
    """

    def __init__(
        self, points: Points, k1: int, k2: int, weight: float, memory: float = np.inf
    ) -> None:
        """Find V of `reranked_distances`; `memory` bounds the bytes of the first sets.

        Raises:
            ValueError: so many items are tied that the sets need more.
        """
        self.points, self.weight = points, weight
        size, half = len(points), int(np.around(k1 / 2)) + 1
        near, self.largest = _places(points, (k1 + 1, half, k2), memory)
        wide, narrow = (one.multiply(one.T).tocsr() for one in near[:2])
        members = np.asarray(narrow.sum(axis=1)).ravel()
        most = int(np.diff(wide.indptr).max()) * int(members.max())
        shares = vstack(
            [
                self._shares(rows, wide[rows], narrow, members)
                for rows in blocks(size, max(1, TABLE // most))
            ],
            format="csr",
        )
        mean = near[2].multiply(1 / np.asarray(near[2].sum(axis=1))[:, None])
        self.shares = _in_order(_in_order(mean) @ shares)
        self.columns = self.shares.tocsc()

    def _shares(self, part: slice, wide: Any, narrow: Any, members: np.ndarray) -> csr_array:
        """Return V of some items before the average."""
        overlap = (wide @ narrow.T).multiply(wide).tocoo()
        joined = 3 * overlap.data > 2 * members[overlap.coords[1]]
        rows, columns = (one[joined] for one in overlap.coords)
        accepted = csr_array((np.ones(len(rows), dtype=np.int64), (rows, columns)), wide.shape)
        rows, columns = _in_order(wide + accepted @ narrow).tocoo().coords
        items = rows + part.start
        scaled = _exact(self.points, items, columns) / self.largest[items]
        shares = _in_order(csr_array((np.exp(-scaled), (rows, columns)), wide.shape))
        return _in_order(shares.multiply(1 / np.asarray(shares.sum(axis=1))[:, None]))

    def distances(self, queries: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Return the (Q, G) distances from some of the points to others, given their places."""
        found = np.empty((len(queries), len(items)))
        for query, row in zip(queries.tolist(), found, strict=True):
            common = np.zeros(len(self.points))
            start, end = self.shares.indptr[query : query + 2]
            for column, share in zip(
                self.shares.indices[start:end].tolist(),
                self.shares.data[start:end].tolist(),
                strict=True,
            ):
                part = slice(self.columns.indptr[column], self.columns.indptr[column + 1])
                common[self.columns.indices[part]] += np.minimum(self.columns.data[part], share)
            common = common[items]
            plain = _exact(self.points, np.array([query]), items) / self.largest[query]
            row[:] = (1 - self.weight) * (1 - common / (2 - common)) + self.weight * plain
        return found


def _in_order(matrix: Any) -> csr_array:
    """Return rows whose entries stand in the order of their columns: equal rows sum alike."""
    ordered = matrix.tocsr()
    ordered.sort_indices()
    return ordered


def expanded_queries(
    queries: ArrayLike,
    gallery: ArrayLike | None = None,
    *,
    query_ids: ArrayLike | None = None,
    gallery_ids: ArrayLike | None = None,
    k: int = 10,
    alpha: float = 0.0,
) -> np.ndarray:
    """Return unit queries (Q, D), each with its k nearest gallery items by cosine added.

    q' ∝ q + Σ w g over unit rows, with w = max(cos(q, g), 0)^α: the average query expansion for
    α = 0 (Chum et al., 'Total Recall', ICCV 2007), else α-query expansion (Radenović, Tolias and
    Chum, 'Fine-tuning CNN Image Retrieval with No Human Annotation', PAMI 2019). Items tied for
    the last places get these places' share each, which is the mean over their orders.

    Args:
        queries: (Q, D).
        gallery: (G, D); without it every query is joined by the nearest of the others.
        query_ids: (Q,), with
        gallery_ids: (G,), tell which item of the gallery a query is: it does not join itself.
        k: how many items are added; beyond the gallery it is the whole gallery.
        alpha: how steeply nearer items weigh more, at least 0.

    Raises:
        ValueError: for what `retrieval_metrics` refuses in matrices, k < 1 or alpha < 0.
    """
    wanted = check_count("k", k)
    if not isinstance(alpha, Real) or not alpha >= 0:
        raise ValueError(f"alpha must be a number of at least 0, not {alpha!r:.80}.")
    if gallery is None:
        (asked,) = points_of("cosine", check_matrix("queries", queries))
        return _expanded(asked, asked, np.arange(len(asked)), wanted, float(alpha))
    asked, held = points_of("cosine", *_pair(queries, gallery))
    own_rows = own_rows_of(query_ids, gallery_ids, len(asked), len(held))
    return _expanded(asked, held, own_rows, wanted, float(alpha))


def _expanded(
    asked: Points, held: Points, own_rows: np.ndarray, k: int, alpha: float
) -> np.ndarray:
    """Return `expanded_queries` of unit points; `own_rows` (Q,) is the query's own item, or -1."""
    nearest = NearestItems(asked, _one_class(held, own_rows))
    depth = min(k, len(held) - bool((own_rows >= 0).any()))
    found = np.empty((len(asked), asked.dimension))
    for part in blocks(len(asked), max(1, TABLE // max(len(held), asked.dimension * depth))):
        distances, items = nearest.lists(np.arange(part.start, part.stop), depth)
        last = distances[:, depth - 1 : depth]
        nearer, tied = distances < last, distances == last
        shares = nearer + tied * (depth - nearer.sum(axis=1))[:, None] / tied.sum(axis=1)[:, None]
        cosines = 1 - distances / (1 if asked.distance == "cosine" else 2)
        taken = shares > 0
        weights = np.zeros_like(shares)
        weights[taken] = shares[taken] * np.maximum(cosines[taken], 0.0) ** alpha
        rows = asked.rows(part)
        for number, row in enumerate(rows):
            some = np.flatnonzero(taken[number])
            row += weights[number, some] @ held.rows(items[number, some])
        norms = row_norms(rows)
        found[part] = rows / np.where(norms > 0, norms, 1.0)[:, None]
    return found


def _pair(queries: ArrayLike, gallery: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return both matrices, of one dimension."""
    asked, held = check_matrix("queries", queries), check_matrix("gallery", gallery)
    if asked.shape[1] != held.shape[1]:
        raise ValueError(
            f"gallery has {held.shape[1]} dimensions and queries has {asked.shape[1]}."
        )
    return asked, held


def _one_class(points: Points, own_rows: np.ndarray) -> Gallery:
    """Return the gallery of all items, of one class, but the query's own where it has one."""
    nothing = np.zeros(len(points), dtype=np.int64)
    return Gallery(points, nothing, np.zeros(len(own_rows), dtype=np.int64), own_rows)


def _places(points: Points, counts: tuple[int, ...], memory: float) -> tuple[list[Any], np.ndarray]:
    """Return who stands in each item's first places, for each count, and its largest distance.

    Shapes (N, N) sparse, of ones, and (N,); a largest distance of 0 is read as 1.
    """
    size = len(points)
    nearest = NearestItems(points, _one_class(points, np.full(size, -1)))
    kept = nearest.gallery.points.kept
    depth = min(max(counts), size)
    found: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in counts]
    largest = np.empty(size)
    entries = 0
    for part in blocks(size, max(1, TABLE // size)):
        index = np.arange(part.start, part.stop)
        distances, items = nearest.lists(index, depth)
        for pairs, count in zip(found, counts, strict=True):
            last = min(count, size) - 1
            row, place = np.nonzero(distances <= distances[:, last : last + 1])
            pairs.append((index[row], items[row, place]))
            entries += len(row)
        if entries * ENTRY_BYTES > memory:
            needed = -(-entries * size // part.stop * ENTRY_BYTES // 2**20)
            raise ValueError(
                f"Re-ranking {size} items needs memory_mib of about {needed}: "
                "lower k1, or see whether many embeddings are equal."
            )
        table = nearest.frame.rows(points, index) @ nearest.rows.T
        table *= -1 if nearest.cosine else -2
        table += 0 if nearest.cosine else nearest.squares
        farthest = table.argmax(axis=1)
        largest[part] = _exact(points, index, farthest if kept is None else kept[farthest])
    joined = [[np.concatenate(one) for one in zip(*pairs, strict=True)] for pairs in found]
    ones = [np.ones(len(pairs[0]), dtype=np.int64) for pairs in joined]
    matrices = [
        _in_order(csr_array((data, tuple(pairs)), (size, size)))
        for data, pairs in zip(ones, joined, strict=True)
    ]
    return matrices, np.where(largest > 0, largest, 1.0)


def _exact(points: Points, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the exact distances of pairs of rows, (M,); one row on the left goes with all."""
    distances = np.empty(len(right))
    for part in blocks(len(right), max(1, PAIRS_BYTES // (8 * points.dimension))):
        first = left if len(left) == 1 else left[part]
        distances[part] = exact_pairs(points.rows(first), points.rows(right[part]), points.distance)
    return distances
