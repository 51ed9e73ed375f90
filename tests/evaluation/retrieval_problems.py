"""Small retrieval problems with ties of many kinds, and a search that treats them as large ones."""

from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import strategies as st

from stt_bench.evaluation import coarse, grids, retrieval, search


@st.composite
def problems(draw):
    """Small sets with ties of many kinds, as (points, labels, distance)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, dimension = draw(st.integers(4, 24)), draw(st.integers(1, 6))
    kinds = ["random", "duplicated", "grid", "signs", "collapsed", "far", "outlier"]
    kind = draw(st.sampled_from(kinds))
    points = rng.normal(size=(rows, dimension))
    if kind == "duplicated":
        points = points[rng.integers(0, max(1, rows // 3), rows)]
    elif kind == "grid":
        points = rng.integers(-1, 2, (rows, dimension))
    elif kind == "signs":
        # Norms 2, with zero rows: cosines are exact, so mathematical ties are ties.
        points = rng.choice([-1, 1], (rows, 4)) * (rng.random((rows, 1)) < 0.8)
    elif kind == "collapsed":
        points = np.repeat(points[:1], rows, axis=0)
    elif kind == "far":
        # float32 leaves few places after the point: a grid, whose distances are exact.
        points = 3e5 + points / 4
    elif kind == "outlier":
        points = rng.integers(-1, 2, (rows, dimension)) / 1024
        points[-1] = 2.0**20
    exact = kind in ("grid", "far", "outlier")
    distance = "euclidean" if exact else draw(st.sampled_from(["euclidean", "cosine"]))
    # From one class to all singletons but the first two.
    labels = rng.integers(0, draw(st.sampled_from([1, 2, 6, 10**6])), rows)
    labels[1] = labels[0]
    if draw(st.booleans()):
        labels = np.array([f"class {label}" for label in labels])
    scale = draw(st.sampled_from([1.0, 2.0**60, 2.0**-100]))
    return (points * scale).astype(np.float32), labels, distance


@contextmanager
def search_like_a_large_one(memory=2**20, spare=1):
    """Short lists, groups and parts although the gallery is small; `spare` points in a list more.

    An odd number of them goes with grids of which all are few distances, an even one with none.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "SPARE", spare)
        for name in ("FEW_SHARE", "FEW_SHARE_READ"):
            patch.setattr(grids, name, 100.0 if spare % 2 else 0.0)
        patch.setattr(coarse, "SORTED_SHARE", 1.0)
        patch.setattr(coarse, "GROUPS_WORTH", 0)
        patch.setattr(coarse, "GROUP", 2)
        patch.setattr(retrieval, "MIB", memory)
        yield
