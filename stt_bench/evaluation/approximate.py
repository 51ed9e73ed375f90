"""Retrieval by an approximate index, for galleries beyond exact search, with its measured error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from stt_bench.evaluation.backends import load_faiss, resolve_backend
from stt_bench.evaluation.callback import ProgressCallback, quietly
from stt_bench.evaluation.checks import blocks, check_choice, check_count, check_ks
from stt_bench.evaluation.crowded import joined
from stt_bench.evaluation.exact import Points
from stt_bench.evaluation.frames import CoarseFrame
from stt_bench.evaluation.gallery import Gallery
from stt_bench.evaluation.lists import ListRanker
from stt_bench.evaluation.measures import USUAL, names_of
from stt_bench.evaluation.ranking import find_tie_groups, ranked_list_metrics, tied_neighbours
from stt_bench.evaluation.retrieval import MEMORY_MIB, MIB
from stt_bench.evaluation.search import NeighborSearch
from stt_bench.evaluation.space import search_space

INDEXES = ("hnsw", "ivf", "ivfpq")
ROWS_AT_ONCE = 8192
MOST_PROBES = 64
LEARNED_FROM = 40  # rows a cell; FAISS asks for 39
CANDIDATES = 4  # times a list, that product quantization leaves to exact distances


def approximate_retrieval_metrics(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    gallery: ArrayLike | None = None,
    gallery_labels: ArrayLike | None = None,
    query_ids: ArrayLike | None = None,
    gallery_ids: ArrayLike | None = None,
    ks: Sequence[int] = (1, 2, 4, 8, 16),
    distance: str = "euclidean",
    index: str = "ivf",
    probes: int | None = None,
    sample: int = 1000,
    seed: int = 0,
    progress: ProgressCallback = quietly,
) -> dict[str, float]:
    """Return the metrics of `retrieval_metrics` as an approximate index finds them.

    The index lists the nearest items of each query, as many as the largest K and the most
    positives ask for. Items that it misses count as farther than all others: a positive is then
    not found, and a negative does not stand in the way. MRR counts positives of the list only.
    A sample of the queries is also ranked exactly, against the whole gallery, and the difference
    reported.

    * `ivf`: inverted lists of 4√G cells by k-means, of which each query visits `probes`;
    * `ivfpq`: the same with product quantization, D/4 parts of 4 bits, which finds four times the
      list; exact distances to the rows themselves, read from where they lie, order these (Jégou,
      Douze and Schmid, 'Product Quantization for Nearest Neighbor Search', TPAMI 2011);
    * `hnsw`: a navigable small-world graph of 32 links, searched with a beam of twice the list
      (Malkov and Yashunin, TPAMI 2018).

    All are FAISS's, on the CPU. A row of the gallery takes 4 D bytes of memory, 2 D where it is
    float16, D/8 in `ivfpq`; to these come 8 bytes, in `hnsw` 260; and for a time the 160 √G rows
    from which cells are learned. What is not named below is as in `retrieval_metrics`.

    Args:
        index: `ivf`, `ivfpq` or `hnsw`.
        probes: cells that a query visits; None for 1/8 of them, and 64 at most.
        sample: how many queries are also ranked exactly.
        seed: of the sample.
        progress: is told, now and then, how many items are indexed and queries are done, and how
            many there are.

    Returns:
        as `retrieval_metrics`; and for every metric `error_<metric>`, the approximate minus the
        exact mean over the sample; `sample`, its size; and of `ivf` and `ivfpq` `cells` and
        `probes`.

    Raises:
        ValueError: as `retrieval_metrics`; also without FAISS, for `probes` of `hnsw`, or a
            dimension that `ivfpq` cannot part.
    """
    check_choice("index", index, INDEXES)
    load_faiss("An approximate index")
    cutoffs = check_ks(ks)
    sample = check_count("sample", sample)
    if probes is not None and index == "hnsw":
        raise ValueError("probes are those of ivf and ivfpq: hnsw has no cells.")
    probes = None if probes is None else check_count("probes", probes)
    rng = np.random.default_rng(check_count("seed", seed, least=0))
    queries, held, _ = search_space(
        embeddings, labels, gallery, gallery_labels, query_ids, gallery_ids, distance
    )
    wanted = np.flatnonzero(held.relevant > 0)
    chosen = np.sort(rng.choice(len(wanted), min(sample, len(wanted)), replace=False))
    points = len(held.points)
    total = points + len(wanted) + len(chosen)
    cells = None if index == "hnsw" else _cells(points)
    if cells is not None:
        probes = min(cells, probes or max(1, min(MOST_PROBES, cells // 8)))
    values = _listed_metrics(
        queries, held, wanted, cutoffs, index, cells, probes, lambda n: progress(n, total)
    )

    exact = np.empty((len(queries), values.shape[1]))
    search = NeighborSearch(queries, held, resolve_backend("auto"), MEMORY_MIB * MIB)
    before = points + len(wanted)
    for block, groups in search.tie_groups(
        wanted[chosen], lambda done: progress(before + done, total)
    ):
        exact[block] = ranked_list_metrics(groups, held.relevant[block], cutoffs)
    errors = (values[chosen] - exact[wanted[chosen]]).mean(axis=0)
    names = names_of(USUAL, cutoffs)
    return {
        **dict(zip(names, values.mean(axis=0).tolist(), strict=True)),
        "queries": len(wanted),
        "queries_without_positive": len(queries) - len(wanted),
        **{f"error_{n}": e for n, e in zip(names, errors.tolist(), strict=True)},
        "sample": len(chosen),
        **({} if cells is None or probes is None else {"cells": cells, "probes": probes}),
    }


def _cells(points: int) -> int:
    """Return how many cells the inverted lists of so many points have."""
    return max(1, min(int(4 * points**0.5), points // 39))


def _listed_metrics(
    queries: Points,
    gallery: Gallery,
    wanted: np.ndarray,
    ks: Sequence[int],
    index: str,
    cells: int | None,
    probes: int | None,
    progress: Callable[[int], None],
) -> np.ndarray:
    """Return the metrics of the lists of the index, shape (len(wanted), len(ks) + 3).

    `progress` is told how many points are indexed and queries done, together.
    """
    points = gallery.points
    frame = CoarseFrame(queries, points, points.distance == "cosine")
    width = min(len(points), 1 + max([int(gallery.relevant.max()), *ks]))
    built = _build(index, frame, points, width, cells, probes, progress)
    refined = index == "ivfpq"
    taken = min(len(points), CANDIDATES * width) if refined else width
    ranker = ListRanker(queries, gallery)
    values = np.zeros((len(wanted), len(ks) + 3))
    for part in blocks(len(wanted), min(ROWS_AT_ONCE, max(1, 2**22 // taken))):
        block = wanted[part]
        found, places = built.search(frame.rows(queries, block), taken)
        distances = (1.0 - found if frame.inner_product else found).astype(np.float64)
        missing = places < 0  # where the cells visited hold too few
        if refined:
            row, column = np.nonzero(~missing)
            distances[row, column] = ranker.exact(block[row], places[row, column])
        distances[missing] = np.inf
        if refined:
            order = np.argsort(distances, axis=1, kind="stable")[:, :width]
            distances, places, missing = (
                np.take_along_axis(table, order, axis=1) for table in (distances, places, missing)
            )
        sizes, positives = gallery.others(block, np.where(missing, 0, places))
        sizes[missing] = positives[missing] = 0
        hit = np.flatnonzero(positives.any(axis=1))
        if len(hit):
            relevant = gallery.relevant[block[hit]]
            tied = tied_neighbours(distances[hit])
            groups = find_tie_groups(tied, sizes[hit], positives[hit], relevant)
            if gallery.crowded:  # as a search has them
                groups = joined(groups, relevant)
            values[part.start + hit] = ranked_list_metrics(groups, relevant, ks)
        progress(len(points) + part.stop)
    return values


def _build(
    index: str,
    frame: CoarseFrame,
    points: Points,
    width: int,
    cells: int | None,
    probes: int | None,
    progress: Callable[[int], None],
) -> Any:
    """Return the FAISS index of all points."""
    faiss = load_faiss("An approximate index")
    kind = faiss.METRIC_INNER_PRODUCT if frame.inner_product else faiss.METRIC_L2
    size, half = points.dimension, points.matrix.dtype == np.float16
    short = faiss.ScalarQuantizer.QT_fp16
    if cells is None:
        flat = faiss.IndexHNSWSQ(size, short, 32, kind) if half else None
        built = flat or faiss.IndexHNSWFlat(size, 32, kind)
        built.hnsw.efSearch = 2 * width
    else:
        coarse = faiss.IndexFlat(size, kind)
        if index == "ivfpq":
            if size % 4:
                raise ValueError(f"ivfpq needs a dimension that 4 divides, not {size}: take ivf.")
            built = faiss.IndexIVFPQFastScan(coarse, size, cells, size // 4, 4, kind)
            built.pq.cp.min_points_per_centroid = 1  # else a warning is printed
        elif half:
            built = faiss.IndexIVFScalarQuantizer(coarse, size, cells, short, kind)
        else:
            built = faiss.IndexIVFFlat(coarse, size, cells, kind)
        built.cp.min_points_per_centroid = 1
        built.nprobe = probes
        learn = np.linspace(0, len(points) - 1, min(len(points), LEARNED_FROM * cells))
        built.train(frame.rows(points, learn.astype(np.int64)))
    for rows in blocks(len(points), ROWS_AT_ONCE):
        built.add(frame.rows(points, rows))
        progress(rows.stop)
    return built
