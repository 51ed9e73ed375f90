"""What leave-class-out values cost: CPU seconds beside retrieval alone, and beside the plain way.

The plain way measures the set without each class in turn; of many classes it is timed for ten, and
reckoned for all. Synthetic embeddings (`synthetic.py`), and one set that is a single point.

    python tests/perf/left_out_classes.py [--rounds 3] [--dim 64] [--noise 0.9]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from synthetic import embeddings

from stt_bench.evaluation import class_values, retrieval_metrics

SETS = {"10 × 300": (3_000, 10), "10 × 1,000": (10_000, 10), "100 × 60": (6_000, 100)}
SETS |= {"1,000 × 12": (12_000, 1_000)}
TIMED = 10


def spent(function: Callable[..., Any], *arguments: Any) -> float:
    """Return the CPU seconds of a call."""
    start = time.process_time()
    function(*arguments, ks=(1,), distance="cosine")
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--dim", type=int, default=64)
    options.add_argument("--noise", type=float, default=0.9)
    given = options.parse_args()
    print(
        "| classes × items | retrieval, s | with each class left out, s | ÷ retrieval | ÷ plain |"
    )
    print("|---|---:|---:|---:|---:|")
    for title, (items, classes) in {**SETS, "10 × 1,000, one point": (10_000, 0)}.items():
        x, y = embeddings(items, classes or 10, given.dim, given.noise)
        x = x if classes else np.ones_like(x)
        left_out = np.unique(y)[:TIMED]
        seconds = np.empty((given.rounds, 3))
        for row in seconds:
            plain = [spent(retrieval_metrics, x[y != one], y[y != one]) for one in left_out]
            row[:] = (
                spent(retrieval_metrics, x, y),
                spent(class_values, x, y),
                np.mean(plain) * len(np.unique(y)),
            )
        alone, ours, plain = np.median(seconds, axis=0)
        print(
            f"| {title} | {alone:.2f} | {ours:.2f} | {ours / alone:.1f} | {ours / plain:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
