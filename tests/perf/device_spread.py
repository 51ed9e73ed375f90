"""How far a training on a GPU is from one on a CPU, and from itself: weights and MAP@R.

Rows of `digits_retrieval`, by a short recipe, each seed trained in float32 on the CPU, twice in
float32 on the GPU, and there in TF32, bfloat16 and float16. Printed are whether both trainings in
float32 gave the same bytes, the largest difference of a weight from the CPU's as a share of the
largest weight of its tensor, and MAP@R in percent: the CPU's, and the mean and the largest
difference from it. The spread of MAP@R between seeds on the CPU stands beside it.

    python tests/perf/device_spread.py [--device cuda] [--seeds 5] [--rows softmax,hard_triplet]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import safetensors.numpy

from stt_bench.benchmark.embedding.embed import embed
from stt_bench.benchmark.store.embedding_set import read_embedding_set
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.devices import device_name, resolve_device
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.train import train
from stt_bench.evaluation import on_device, retrieval_metrics

QUIET = Reporter(quiet=True)
TABLE = "digits_retrieval"
RECIPE = ("optimizer.lr=0.0003", "train.steps=100")
PRECISIONS = ("float32", "float32 again", "tf32", "bfloat16", "float16")


def trained(row: str, seed: int, device: str, precision: str, folder: Path) -> Run:
    """Train and embed a row."""
    settings = [f"train.device={device}", f"train.precision={precision}", *RECIPE]
    run = run_of(load_table(TABLE, settings, only=[row]), row, seed, folder)
    train(run, QUIET)
    embed(run, QUIET)
    return run


def map_at_r(run: Run) -> float:
    """Return MAP@R in percent; ranks are those of float64 on any device."""
    found = read_embedding_set(run.embeddings())
    with on_device("cpu"):
        metrics = retrieval_metrics(np.array(found.embeddings), found.labels, ks=[1])
    return 100 * float(metrics["map@r"])


def apart(run: Run, other: Run) -> float:
    """Return the largest difference of a weight as a share of the largest of its tensor."""
    one, two = (safetensors.numpy.load_file(each.weights) for each in (run, other))
    return max(
        float(np.abs(one[name] - two[name]).max() / max(np.abs(one[name]).max(), 1e-30))
        for name in one
    )


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--device", default="cuda")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--rows", default="softmax,hard_triplet,softmax_hard_triplet")
    given = options.parse_args()
    print(f"{device_name(resolve_device(given.device))}; {given.seeds} seeds of {TABLE}\n")
    head = ["row", "trained in", "same bytes twice", "weights apart", "MAP@R, CPU", "± of seeds"]
    head += ["mean difference", "largest"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in given.rows.split(","):
        table: dict[str, list[tuple[float, float]]] = {name: [] for name in PRECISIONS}
        base, same = [], True
        with tempfile.TemporaryDirectory() as where:
            for seed in range(given.seeds):
                cpu = trained(row, seed, "cpu", "float32", Path(where) / "cpu")
                base.append(map_at_r(cpu))
                first: bytes | None = None
                for name in PRECISIONS:
                    folder = Path(where) / name.replace(" ", "-")
                    there = trained(row, seed, given.device, name.split()[0], folder)
                    table[name].append((apart(cpu, there), map_at_r(there) - base[-1]))
                    if name == "float32":
                        first = there.weights.read_bytes()
                    elif name == "float32 again":
                        same = same and first == there.weights.read_bytes()
        for name, found in table.items():
            weights, points = np.array(found).T
            cells = [row, name, str(same) if "again" in name else "", f"{weights.max():.1e}"]
            cells += [f"{np.mean(base):.2f}", f"{np.std(base, ddof=1):.2f}"]
            cells += [f"{points.mean():+.2f}", f"{np.abs(points).max():.2f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
