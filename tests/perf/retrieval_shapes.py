"""Retrieval beside the plain loop, over shapes of data: few classes, many, one huge, duplicates.

The plain loop takes float64 distances by a matrix product of some queries with the gallery, one
`numpy.argsort` a query, and the metrics by their definitions; it knows nothing of ties, rounding
or memory. Both take turns in one process of one thread. Chosen shapes are a part of `retrieval.py`;
drawn ones are run here: the least seconds of each side count, and the worst ratios come first.

    python tests/perf/retrieval_shapes.py [--shapes 40] [--seed 0] [--rounds 3] [--pairs 2e7]
    python tests/perf/retrieval_shapes.py --sizes 1000 --dims 16 600 --classes "huge 0.88"

Of a large gallery some items are queries, so that a loop makes about `--pairs` pairs; more where
`--pairs 1e9` is given, all of them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

import numpy as np

KS = (1, 2, 4, 8, 16)
TIGHT = {"tight": 0.05, "tighter": 1e-3, "tightest": 1e-5}  # spread in a class, of that of centres
KINDS = (
    "plain", "noise", "tight", "tighter", "tightest", "twice", "signs", "outlier", "outliers",
    "copies", "grid", "collapsed",
)  # fmt: skip


def plain_loop(x: np.ndarray, y: np.ndarray, asked: np.ndarray | None = None) -> dict[str, float]:
    """Return the metrics of all items, or those asked, beside all others: one argsort a query."""
    x = x.astype(np.float64)
    asked = np.arange(len(x)) if asked is None else asked
    lengths = np.einsum("nd,nd->n", x, x)
    relevant = np.bincount(y)[y] - 1
    ranks = np.arange(1, len(x))
    scores = []
    for start in range(0, len(asked), 256):
        some = asked[start : start + 256]
        table = x[some] @ x.T
        table *= -2
        table += lengths
        for query, row in zip(some, table, strict=True):
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
    """Return labels: `12` classes alike; `huge` and many pairs; `alone`, most of them.

    `huge 0.7` and `alone 0.7` are 70 % of the items.
    """
    name, _, share = kind.partition(" ")
    if name == "huge":
        small = np.arange(items - int(float(share or 0.5) * items)) // 2
        labels = np.concatenate([small, np.full(items - len(small), small[-1] + 1)])
    elif name == "alone":
        others = items - int(float(share or 0.9) * items)
        labels = np.where(np.arange(items) < others, np.arange(items) // 5, np.arange(items))
    else:
        labels = np.arange(items) % int(kind)
    return rng.permutation(np.unique(labels, return_inverse=True)[1])


def points_of(kind: str, y: np.ndarray, dim: int, rng: np.random.Generator) -> np.ndarray:
    """Return points about their class's centre, spoilt as `kind` says."""
    points = rng.normal(size=(y.max() + 1, dim))[y]
    points += 1.5 * rng.normal(size=points.shape)
    if kind in TIGHT:
        points = rng.normal(size=(y.max() + 1, dim))[y] + TIGHT[kind] * rng.normal(
            size=points.shape
        )
    elif kind == "noise":
        points = rng.normal(size=points.shape)
    elif kind == "twice":
        points[len(y) // 2 : 2 * (len(y) // 2)] = points[: len(y) // 2]
    elif kind == "signs":
        points = np.sign(points)
    elif kind == "outlier":
        points[0] *= 1e6
    elif kind == "outliers":  # one of ten
        points[: len(y) // 10] *= 1e6
    elif kind == "copies":  # of a hundredth of the items
        points = points[np.arange(len(y)) % max(1, len(y) // 100)]
    elif kind == "grid":  # where distances are a few whole numbers
        points = np.rint(points / 2)
    elif kind == "collapsed":
        points = 1.0 + 1e-7 * rng.normal(size=points.shape)
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


def compare(
    items: int, dim: int, classes: str, kind: str, rounds: int, queries: int | None = None
) -> tuple[list[float], list[float]]:
    """Return the CPU seconds of ours and of the plain loop, taking turns."""
    from stt_bench.evaluation import retrieval_metrics

    rng = np.random.default_rng(0)
    y = labels_of(classes, items, rng)
    x = points_of(kind, y, dim, rng)
    asked, apart = np.arange(items), {}
    if queries is not None and queries < items:
        asked = np.sort(rng.choice(items, queries, replace=False))
        apart = {
            "gallery": x,
            "gallery_labels": y,
            "query_ids": asked,
            "gallery_ids": np.arange(items),
        }
    sides = {
        "ours": lambda: retrieval_metrics(x[asked], y[asked], **apart, ks=KS),
        "plain": lambda: plain_loop(x, y, asked),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    found = {}
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.process_time()
            found[name] = side()
            seconds[name].append(time.process_time() - start)
        if sum(seconds["plain"]) > 30:
            break
    if kind in ("plain", "noise", "tight", "tighter", "outlier"):  # of ties the loop knows nothing
        for name, value in found["plain"].items():
            assert abs(found["ours"][name] - value) < 1e-6, (name, value, found["ours"][name])
    return seconds["ours"], seconds["plain"]


def drawn(count: int, seed: int) -> Iterator[tuple[int, int, str, str]]:
    """Yield `count` shapes at random, all sizes in equal shares of their logarithm."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        items = round(np.exp(rng.uniform(np.log(1_000), np.log(50_000))))
        dim = round(np.exp(rng.uniform(np.log(16), np.log(2_048))))
        classes = str(round(np.exp(rng.uniform(np.log(2), np.log(items // 2)))))
        name = rng.choice(["alike", "alike", "huge", "alone"])
        if name != "alike":
            classes = f"{name} {rng.uniform(0.05, 0.95):.2f}"
        yield items, dim, classes, str(rng.choice(KINDS))


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
            ours, plain = map(np.median, compare(*shape, rounds))
            row = (*shape, f"{ours:.2f}", f"{plain:.2f}", f"{ours / plain:.2f}")
            print(f"| {' | '.join(map(str, row))} |", flush=True)


def sample(count: int, seed: int, rounds: int, pairs: float) -> None:
    """Print the ratios of shapes at random, then the worst of them."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    compare(300, 8, "3", "plain", 1)  # imports and first calls
    rows = []
    with threadpool_limits(1):
        for shape in drawn(count, seed):
            queries = min(shape[0], max(1000, int(pairs / shape[0])))
            ours, plain = (min(one) for one in compare(*shape, rounds, queries))
            rows.append((ours / plain, ours, plain, queries, shape))
            print(f"{rows[-1][0]:.2f} {ours:.2f} {plain:.2f} {queries} {shape}", flush=True)
    rows.sort(key=lambda row: -row[0])
    print("\n| items | queries | D | classes | points | CPU s | plain loop | ratio |")
    print("|---:|---:|---:|---|---|---:|---:|---:|")
    for ratio, ours, plain, queries, (items, dim, classes, kind) in rows[:12]:
        row = (items, queries, dim, classes, kind, f"{ours:.2f}", f"{plain:.2f}", f"{ratio:.2f}")
        print(f"| {' | '.join(map(str, row))} |")


if __name__ == "__main__":
    given = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    given.add_argument("--shapes", type=int, default=40)
    given.add_argument("--seed", type=int, default=0)
    given.add_argument("--rounds", type=int, default=3)
    given.add_argument("--pairs", type=float, default=2e7)
    given.add_argument("--sizes", type=int, nargs="+", help="these shapes, not drawn ones")
    given.add_argument("--dims", type=int, nargs="+", default=[128])
    given.add_argument("--classes", nargs="+", default=["12"], help="such as 12 or 'huge 0.88'")
    given.add_argument("--kinds", nargs="+", choices=KINDS, default=["plain"])
    options = given.parse_args()
    if options.sizes:
        scan(options.sizes, options.dims, options.classes, options.kinds, options.rounds)
        sys.exit()
    sample(options.shapes, options.seed, options.rounds, options.pairs)
