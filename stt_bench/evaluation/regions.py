"""Queries that lie close together, far from all others: about them distances are sharper.

The error of a product grows with the distance of its points from the origin. Where a class, or a
cloud of outliers, is much tighter than the gallery is wide, an origin in its midst tells its
members apart, which that of the gallery does not.
"""

from collections.abc import Iterator

import numpy as np

from stt_bench.evaluation.checks import blocks
from stt_bench.evaluation.exact import Points, row_norms

TRIED = 32  # points that may be in the midst of a region
LEAST, LEAST_SHARE = 32, 1 / 32  # queries in a region, for which the gallery is loaded once more
BLOCK = 2**16  # coordinates that a processor keeps at hand
APART = 100  # times as far as its own members are all others


def regions(
    points: Points, queries: np.ndarray, extent: float = 0.0
) -> Iterator[tuple[np.ndarray | None, np.ndarray]]:
    """Cut queries (Q,) into regions, each with a point (D,) in it; the others come with None.

    `extent` is how far the gallery's points lie from their middle: where they are elsewhere, all
    queries may be of one region.
    """
    least = max(LEAST, int(LEAST_SHARE * len(queries)))
    left = np.ones(len(queries), dtype=bool)
    for turn in range(TRIED):
        rest = np.flatnonzero(left)
        if len(rest) < least:
            break
        center = points.rows(queries[rest[[turn * len(rest) // TRIED]]])[0]
        far = np.concatenate(
            [
                row_norms(points.rows(queries[some]) - center)
                for some in blocks(len(queries), max(1, BLOCK // points.dimension))
            ]
        )
        order = np.argsort(far)
        ordered = far[order]
        apart = (ordered > 0) & (np.append(ordered[1:], extent) > APART * ordered)
        ends = np.flatnonzero(apart[least - 1 :])
        if len(ends):
            within = np.zeros(len(queries), dtype=bool)
            within[order[: least + ends[0]]] = True
            yield center, queries[within & left]
            left &= ~within
    if left.any():
        yield None, queries[left]
