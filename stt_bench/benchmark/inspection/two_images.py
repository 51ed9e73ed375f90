"""Distances between embeddings, and those of two images."""

from __future__ import annotations

from functools import cache

import numpy as np

from stt_bench.benchmark.datasets import ItemTable, load_items
from stt_bench.benchmark.embedding.embed import check_takes_images, embed_queries
from stt_bench.benchmark.inspection.queries import open_image
from stt_bench.benchmark.store.runs import Run
from stt_bench.evaluation.exact import Points, exact_distances, row_norms


def distances_between(left: np.ndarray, right: np.ndarray, distance: str) -> np.ndarray:
    """Return the (Q, G) float64 distances between the rows of (Q, D) and (G, D) embeddings.

    ``euclidean`` is ‖x − y‖; ``cosine`` is 1 − cos(x, y), and 1 where a row is zero.
    """
    queries, gallery = (Points(matrix, distance).rows(slice(None)) for matrix in (left, right))
    table = exact_distances(queries, gallery, distance)
    return np.sqrt(table) if distance == "euclidean" else table


def distances_of_two(run: Run, first: str, second: str) -> dict[str, float]:
    """Return the distances of two images' embeddings, and the length of each embedding.

    An image is a file or an item of the run's dataset; both are prepared as the run's test images.

    Raises:
        BenchError: an image cannot be found or read, or the run is of vectors, or not trained to
            its end.
    """
    check_takes_images(run)

    @cache
    def items() -> ItemTable:
        return load_items(run.experiment.data)

    embeddings = embed_queries(run, {name: open_image(name, items) for name in (first, second)})
    left, right = embeddings[:1], embeddings[-1:]  # one row if both are the same image
    return {
        "euclidean": float(distances_between(left, right, "euclidean")[0, 0]),
        "cosine": float(distances_between(left, right, "cosine")[0, 0]),
        "norm_1": float(row_norms(left)[0]),
        "norm_2": float(row_norms(right)[0]),
    }
