"""Retrieval beside the plain loop, over shapes of data: few classes, many, one huge, duplicates.

The plain loop takes float64 distances by a matrix product of some queries with the gallery, one
`numpy.argsort` a query, and the metrics by their definitions; it knows nothing of ties, rounding
or memory. Both take turns in one process, and the medians count. Run as a part of `retrieval.py`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

KS = (1, 2, 4, 8, 16)


def plain_loop(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return the metrics of each item beside all others, by one argsort a query."""
    x = x.astype(np.float64)
    lengths = np.einsum("nd,nd->n", x, x)
    relevant = np.bincount(y)[y] - 1
    ranks = np.arange(1, len(x))
    scores = []
    for start in range(0, len(x), 256):
        table = x[start : start + 256] @ x.T
        table *= -2
        table += lengths
        for query, row in enumerate(table, start):
            r = relevant[query]
            if not r:
                continue
            row[query] = np.inf
            hits = y[np.argsort(row)[:-1]] == y[query]
            first = int(np.argmax(hits))
            among = hits[:r]
            found = np.cumsum(among)
            average = (found * among / ranks[:r]).sum() / r
            scores.append([*(first < k for k in KS), found[-1] / r, average, 1 / (first + 1)])
    names = (*(f"recall@{k}" for k in KS), "r_precision", "map@r", "mrr")
    return dict(zip(names, np.mean(scores, axis=0).tolist(), strict=True))


def labels_of(kind: str, items: int, rng: np.random.Generator) -> np.ndarray:
    """Return labels: `12` classes alike; `huge` and many pairs; `alone`, most of them."""
    if kind == "huge":
        small = np.arange(items // 2) // 2
        labels = np.concatenate([small, np.full(items - len(small), small[-1] + 1)])
    elif kind == "alone":
        labels = np.where(np.arange(items) < items // 10, np.arange(items) // 5, np.arange(items))
    else:
        labels = np.arange(items) % int(kind)
    return rng.permutation(np.unique(labels, return_inverse=True)[1])


def points_of(kind: str, y: np.ndarray, dim: int, rng: np.random.Generator) -> np.ndarray:
    """Return points about their class's centre, spoilt as `kind` says."""
    points = rng.normal(size=(y.max() + 1, dim))[y]
    points += 1.5 * rng.normal(size=points.shape)
    if kind == "noise":
        points = rng.normal(size=points.shape)
    elif kind == "tight":
        points = rng.normal(size=(y.max() + 1, dim))[y] + 0.05 * rng.normal(size=points.shape)
    elif kind == "twice":
        points[len(y) // 2 : 2 * (len(y) // 2)] = points[: len(y) // 2]
    elif kind == "signs":
        points = np.sign(points)
    elif kind == "outlier":
        points[0] *= 1e6
    return points.astype(np.float32)


def shapes(
    sizes: list[int], dims: list[int], classes: list[str], kinds: list[str]
) -> Iterator[tuple[int, int, str, str]]:
    """Yield items, dimensions, classes and kind of points."""
    for items in sizes:
        for dim in dims:
            for name in classes:
                count = items // 2 if name == "half" else name
                for kind in kinds:
                    yield items, dim, str(count), kind


def compare(items: int, dim: int, classes: str, kind: str, rounds: int) -> tuple[float, float]:
    """Return the median CPU seconds of ours and of the plain loop, taking turns."""
    from stt_bench.evaluation import retrieval_metrics

    rng = np.random.default_rng(0)
    y = labels_of(classes, items, rng)
    x = points_of(kind, y, dim, rng)
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    found = {}
    for _ in range(rounds):
        for name in seconds:
            start = time.process_time()
            found[name] = retrieval_metrics(x, y, ks=KS) if name == "ours" else plain_loop(x, y)
            seconds[name].append(time.process_time() - start)
        if sum(seconds["plain"]) > 30:
            break
    if kind not in ("twice", "signs"):  # of ties the loop knows nothing
        for name, value in found["plain"].items():
            assert abs(found["ours"][name] - value) < 1e-6, (name, value, found["ours"][name])
    return float(np.median(seconds["ours"])), float(np.median(seconds["plain"]))


def scan(
    sizes: list[int], dims: list[int], classes: list[str], kinds: list[str], rounds: int = 3
) -> None:
    """Print a table of CPU seconds and ratios, with one thread."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    compare(300, 8, "3", "plain", 1)  # imports and first calls
    print("\n| items | D | classes | points | CPU s | plain loop | ratio |")
    print("|---:|---:|---|---|---:|---:|---:|")
    with threadpool_limits(1):
        for shape in shapes(sizes, dims, classes, kinds):
            ours, plain = compare(*shape, rounds)
            row = (*shape, f"{ours:.2f}", f"{plain:.2f}", f"{ours / plain:.2f}")
            print(f"| {' | '.join(map(str, row))} |", flush=True)
