"""Better lists from the neighbours of neighbours: k-reciprocal re-ranking and query expansion.

Both are functions of embeddings alone. What stands equally far as the last of k places counts with
it, so that the order of the data never matters; without ties they are what their authors wrote.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from stt_bench.evaluation.checks import blocks, check_count, check_matrix
from stt_bench.evaluation.exact import Points, exact_pairs, points_of, row_norms, row_squares
from stt_bench.evaluation.gallery import Gallery
from stt_bench.evaluation.nearest import NearestItems

TABLE = 2**22  # distances that are looked at once


def reranked_distances(
    queries: ArrayLike, gallery: ArrayLike, *, k1: int = 20, k2: int = 6, weight: float = 0.3
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

    Args:
        queries: (Q, D).
        gallery: (G, D).
        k1: places of the first sets.
        k2: places of the average; 1 is none.
        weight: λ, in [0, 1].

    Raises:
        ValueError: for what `retrieval_metrics` refuses in matrices, k1 or k2 < 1, or a weight
            outside [0, 1].
    """
    first, second = check_count("k1", k1), check_count("k2", k2)
    if not isinstance(weight, Real) or not 0 <= weight <= 1:
        raise ValueError(f"weight must be a number in [0, 1], not {weight!r:.80}.")
    asked, held = _pair(queries, gallery)
    (points,) = points_of("euclidean", np.concatenate([asked, held]))
    size, half = len(points), int(np.around(first / 2)) + 1
    near, largest = _places(points, (first + 1, half, second))
    wide, narrow = (one.multiply(one.T).tocsr() for one in near[:2])
    overlap = (wide @ narrow.T).multiply(wide).tocoo()
    members = np.asarray(narrow.sum(axis=1)).ravel()
    joined = 3 * overlap.data > 2 * members[overlap.coords[1]]
    rows, columns = (one[joined] for one in overlap.coords)
    accepted = csr_array((np.ones(len(rows), dtype=np.int64), (rows, columns)), (size, size))
    expanded = (wide + accepted @ narrow).tocoo()
    rows, columns = expanded.coords
    scaled = _exact(points, rows, columns) / largest[rows]
    shares = csr_array((np.exp(-scaled), (rows, columns)), (size, size))
    shares = shares.multiply(1 / np.asarray(shares.sum(axis=1))[:, None]).tocsr()
    mean = near[2].multiply(1 / np.asarray(near[2].sum(axis=1))[:, None]).tocsr()
    shares = (mean @ shares).tocsr()
    theirs = shares[len(asked) :].tocsc()
    found = np.empty((len(asked), len(held)))
    everyone = np.arange(len(asked), size)
    for query, row in enumerate(found):
        common = np.zeros(len(held))
        own = shares[[query]]
        for column, share in zip(own.indices.tolist(), own.data.tolist(), strict=True):
            part = slice(theirs.indptr[column], theirs.indptr[column + 1])
            common[theirs.indices[part]] += np.minimum(theirs.data[part], share)
        plain = _exact(points, np.full(len(held), query), everyone) / largest[query]
        row[:] = (1 - weight) * (1 - common / (2 - common)) + weight * plain
    return found


def expanded_queries(
    queries: ArrayLike, gallery: ArrayLike, *, k: int = 10, alpha: float = 0.0
) -> np.ndarray:
    """Return unit queries (Q, D), each with its k nearest gallery items by cosine added.

    q' ∝ q + Σ w g over unit rows, with w = max(cos(q, g), 0)^α: the average query expansion for
    α = 0 (Chum et al., 'Total Recall', ICCV 2007), else α-query expansion (Radenović, Tolias and
    Chum, 'Fine-tuning CNN Image Retrieval with No Human Annotation', PAMI 2019). Items tied for
    the last places get these places' share each, which is the mean over their orders.

    Args:
        queries: (Q, D).
        gallery: (G, D).
        k: how many items are added; beyond the gallery it is the whole gallery.
        alpha: how steeply nearer items weigh more, at least 0.

    Raises:
        ValueError: for what `retrieval_metrics` refuses in matrices, k < 1 or alpha < 0.
    """
    wanted = check_count("k", k)
    if not isinstance(alpha, Real) or not alpha >= 0:
        raise ValueError(f"alpha must be a number of at least 0, not {alpha!r:.80}.")
    asked, held = points_of("cosine", *_pair(queries, gallery))
    nearest = NearestItems(asked, _one_class(held, len(asked)))
    depth = min(wanted, len(held))
    found = np.empty((len(asked), asked.dimension))
    for part in blocks(len(asked), max(1, TABLE // max(len(held), asked.dimension * depth))):
        distances, items = nearest.lists(np.arange(part.start, part.stop), depth)
        last = distances[:, depth - 1 : depth]
        nearer, tied = distances < last, distances == last
        shares = nearer + tied * (depth - nearer.sum(axis=1))[:, None] / tied.sum(axis=1)[:, None]
        cosines = 1 - distances / (1 if asked.distance == "cosine" else 2)
        taken = shares > 0
        weights = np.zeros_like(shares)
        weights[taken] = shares[taken] * np.maximum(cosines[taken], 0.0) ** float(alpha)
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


def _one_class(points: Points, queries: int) -> Gallery:
    """Return the gallery of all items, in which no query is found."""
    nothing = np.zeros(len(points), dtype=np.int64)
    return Gallery(points, nothing, np.zeros(queries, dtype=np.int64), np.full(queries, -1))


def _places(points: Points, counts: tuple[int, ...]) -> tuple[list[Any], np.ndarray]:
    """Return who stands in each item's first places, for each count, and its largest distance.

    Shapes (N, N) sparse, of ones, and (N,); a largest distance of 0 is read as 1.
    """
    size = len(points)
    nearest = NearestItems(points, _one_class(points, size))
    depth = min(max(counts), size)
    found: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in counts]
    largest = np.empty(size)
    for part in blocks(size, max(1, TABLE // size)):
        index = np.arange(part.start, part.stop)
        distances, items = nearest.lists(index, depth)
        for pairs, count in zip(found, counts, strict=True):
            last = min(count, size) - 1
            row, place = np.nonzero(distances <= distances[:, last : last + 1])
            pairs.append((index[row], items[row, place]))
        rows = nearest.frame.rows(points, index)
        table = nearest.squares - 2 * (rows @ nearest.rows.T)
        farthest = nearest.rows[table.argmax(axis=1)]
        largest[part] = row_squares(rows - farthest) / nearest.frame.unit
    joined = [[np.concatenate(one) for one in zip(*pairs, strict=True)] for pairs in found]
    ones = [np.ones(len(pairs[0]), dtype=np.int64) for pairs in joined]
    matrices = [
        csr_array((data, tuple(pairs)), (size, size))
        for data, pairs in zip(ones, joined, strict=True)
    ]
    return matrices, np.where(largest > 0, largest, 1.0)


def _exact(points: Points, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the exact distances of pairs of rows, (M,)."""
    distances = np.empty(len(left))
    for part in blocks(len(left), max(1, TABLE // points.dimension)):
        distances[part] = exact_pairs(
            points.rows(left[part]), points.rows(right[part]), points.distance
        )
    return distances
