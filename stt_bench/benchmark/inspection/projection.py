"""From embeddings to points in the plane: t-SNE, UMAP or principal components."""

from __future__ import annotations

from typing import Literal

import numpy as np

from stt_bench.benchmark.system.errors import BenchError

Method = Literal["tsne", "umap", "pca"]
TITLES: dict[Method, str] = {"tsne": "t-SNE", "umap": "UMAP", "pca": "PCA"}

_FEWEST = 5
_PERPLEXITY = 30.0
_NEIGHBORS = 15


def project(vectors: np.ndarray, method: Method, seed: int = 0) -> np.ndarray:
    """Return (N, 2) float64 points for (N, D) vectors; the same seed gives the same points.

    - ``tsne``: van der Maaten and Hinton, JMLR 2008; perplexity 30, or a third of the other points
      where there are fewer than 91; starts from the principal components.
    - ``umap``: McInnes, Healy and Melville, arXiv:1802.03426; 15 neighbours.
    - ``pca``: the two first principal components.

    One thread: sums of several would differ from run to run in their last bits.

    Raises:
        BenchError: too few vectors or coordinates, all vectors on one point, or no UMAP installed.
    """
    from threadpoolctl import threadpool_limits

    if len(vectors) < _FEWEST or vectors.shape[1] < 2:
        raise BenchError(
            f"a map needs at least {_FEWEST} embeddings of 2 coordinates, there are "
            f"{len(vectors)} of {vectors.shape[1]}; use a larger split, --sample or embedding_dim"
        )
    if not np.isfinite(vectors).all():
        raise BenchError("the embeddings hold numbers that are not finite: train the run again")
    if np.ptp(vectors, axis=0).max() == 0:
        raise BenchError("all embeddings lie on one point (collapsed): there is no map to draw")
    with threadpool_limits(1):
        return np.asarray(_METHODS[method](vectors, seed), dtype=np.float64)


def _tsne(vectors: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    found: np.ndarray = TSNE(
        perplexity=perplexity, init="pca", random_state=seed, n_jobs=1
    ).fit_transform(vectors)
    return found


def _umap(vectors: np.ndarray, seed: int) -> np.ndarray:
    try:
        from umap import UMAP
    except ImportError:
        raise BenchError(
            "UMAP is not installed: pip install 'softmax-triplet-bench[umap]', or use --method tsne"
        ) from None
    neighbors = min(_NEIGHBORS, len(vectors) - 1)
    found: np.ndarray = UMAP(
        n_neighbors=neighbors, init="pca", random_state=seed, n_jobs=1
    ).fit_transform(vectors)
    return found


def _pca(vectors: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.decomposition import PCA

    found: np.ndarray = PCA(2, svd_solver="full", random_state=seed).fit_transform(vectors)
    return found


_METHODS = {"tsne": _tsne, "umap": _umap, "pca": _pca}
