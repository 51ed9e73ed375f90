"""What a query costs by a narrow search and by a wide one, and which one is taken.

Microseconds of one thread a query, least of `--rounds` turns: `narrow` and `wide` are forced on all
queries, `ours` chooses by the prices of `stt_bench/evaluation/search.py`. Of a wrong choice the
last column tells: `ours` over the better of the two, the search of some queries both ways included.

    python tests/perf/search_prices.py [--sizes 1000 4000 12000] [--dims 16 128 600] [--rounds 3]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from retrieval_shapes import KS, labels_of, points_of
from threadpoolctl import threadpool_limits

from stt_bench.evaluation import coarse, retrieval_metrics
from stt_bench.evaluation.search import NeighborSearch

OURS = NeighborSearch._most, NeighborSearch._narrow_pays


def _always(pays: bool) -> tuple[Callable[..., float], Callable[..., bool]]:
    return lambda search: coarse.SORTED_SHARE * len(search.gallery.points), lambda *_: pays


def main() -> None:
    """Print a table of prices."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--sizes", type=int, nargs="+", default=[1000, 4000, 12000])
    options.add_argument("--dims", type=int, nargs="+", default=[16, 128, 600])
    options.add_argument("--each", type=int, nargs="+", default=[5, 40, 100], help="items a class")
    options.add_argument("--kind", default="plain")
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    torch.set_num_threads(1)
    ways = {"narrow": _always(True), "wide": _always(False), "ours": OURS}
    print("| items | D | items a class | narrow | wide | ours | over the better |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for size in given.sizes:
        for dim in given.dims:
            for each in given.each:
                rng = np.random.default_rng(0)
                y = labels_of(str(size // each), size, rng)
                x = points_of(given.kind, y, dim, rng)
                seconds: dict[str, list[float]] = {name: [] for name in ways}
                for _ in range(given.rounds):
                    for name, (most, pays) in ways.items():
                        NeighborSearch._most = most  # type: ignore[method-assign]
                        NeighborSearch._narrow_pays = pays  # type: ignore[method-assign]
                        start = time.process_time()
                        retrieval_metrics(x, y, ks=KS)
                        seconds[name].append(time.process_time() - start)
                least = {name: min(values) / size * 1e6 for name, values in seconds.items()}
                over = least["ours"] / min(least["narrow"], least["wide"])
                cells = " | ".join(f"{least[name]:.0f}" for name in ways)
                print(f"| {size} | {dim} | {each} | {cells} | {over:.2f} |", flush=True)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
