"""How far a batch that processes share is from one process: loss, gradients and weights.

Every registered loss, with memory, second head, phases, batch norm, chunks and sample weights,
trains a small network in float64 for three steps: a P×K batch, the same with sample weights, and a
uniform batch of 17 images, which 2, 3 and 5 processes cannot divide evenly. Printed is the largest
deviation of any row, as a share of the largest number of its kind.

    python tests/perf/shared_batches.py [--processes 2,3,5] [--rows margin,center]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

TESTS = Path(__file__).parents[1] / "benchmark"
sys.path[:0] = [str(TESTS), str(TESTS / "training")]

from forked import forked  # noqa: E402
from test_sharing import ROWS, Trained, trained  # noqa: E402


def apart(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Return the largest difference of two lists of arrays as a share of the largest number."""
    most = max(np.abs(array).max() for array in one)
    return float(max(np.abs(a - b).max() for a, b in zip(one, other, strict=True)) / most)


def deviations(alone: Trained, shared: Trained) -> tuple[float, float, float]:
    """Return those of the losses, of the gradients of every step, and of the final weights."""
    return (
        apart([np.array(alone.losses)], [np.array(shared.losses)]),
        apart(alone.gradients, shared.gradients),
        apart(list(alone.weights.values()), list(shared.weights.values())),
    )


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--processes", default="2,3,5")
    options.add_argument("--rows", default=",".join(ROWS))
    given = options.parse_args()
    rows = {name: ROWS[name] for name in given.rows.split(",")}
    alone = {name: trained(row) for name, row in rows.items()}
    print(f"{len(rows)} rows, largest deviation from one process (and the row that has it)")
    for size in map(int, given.processes.split(",")):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            every = forked(size, Path(folder), lambda _: {n: trained(r) for n, r in rows.items()})
        found = [(name, deviations(alone[name], one[name])) for one in every for name in rows]
        told = []
        for place, what in enumerate(("loss", "gradient", "weights")):
            name, most = max(found, key=lambda entry: entry[1][place])
            told.append(f"{what} {most[place]:.1e} ({name})")
        print(f"{size} processes: {', '.join(told)}; {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
