"""A million embeddings on disk, in float16: exact search for a sample, an index for all of them.

The embeddings are made first, block by block and from a seed, in a temporary folder; classes are of
five items. Each measurement is `stt-bench eval` in a process of its own, one after another, with
its seconds and its peak memory: with the pages of the embeddings that lie mapped in it, which
the system takes back when it needs them, and its own, libraries included. Exact search is by both
distances, an index by Euclidean distance.

    python tests/perf/million.py [--items 1000000] [--dim 512] [--queries 5000] [--threads 1]
        [--parts exact,ivf,ivfpq,hnsw] [--probes 16] [--memory 1024] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 10_000
EACH = 5
NOISE = 0.9


def write(folder: Path, items: int, dim: int) -> None:
    """Write `x.npy` (N, D) float16, unit rows, and `y.csv`; no two blocks are held at once.

    As in `synthetic.py`: classes about their means, both with a spectrum that falls.
    """
    matrix = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float16, (items, dim))
    spectrum = np.arange(1, dim + 1, dtype=np.float32) ** -0.6
    for number, start in enumerate(range(0, items, BLOCK)):
        rng = np.random.default_rng([0, number])
        count = min(BLOCK, items - start)
        means = rng.standard_normal((-(-count // EACH), dim), dtype=np.float32)
        rows = np.repeat(means, EACH, axis=0)[:count]
        rows += NOISE * rng.standard_normal(rows.shape, dtype=np.float32)
        rows *= spectrum
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        matrix[start : start + count] = rows
    matrix.flush()
    labels = "\n".join(str(item // EACH) for item in range(items))
    (folder / "y.csv").write_text(f"label\n{labels}\n")


def measured(folder: Path, options: list[str], threads: int) -> dict[str, Any]:
    """Return what `stt-bench eval` prints, with `seconds` and `gib`."""
    given = ["--embeddings", str(folder / "x.npy"), "--labels", str(folder / "y.csv")]
    command = [sys.executable, __file__, "--worker", str(threads), *given, *options]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        return {"said": (done.stderr.strip().splitlines() or ["nothing"])[-1][:200]}
    shown, _, used = done.stdout.rpartition("\n\n")
    return {**json.loads(shown), **json.loads(used), "seconds": seconds}


def work(threads: int, arguments: list[str]) -> None:
    """Run the command in this process and print what it took, as JSON."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    from stt_bench.benchmark.cli.main import main

    own = [0.0]
    threading.Thread(target=watch, args=(own,), daemon=True).start()
    sys.argv = ["stt-bench", "eval", *arguments, "--quiet"]
    code = 0
    with threadpool_limits(threads):
        try:
            main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    peaks = {"gib": used.ru_maxrss / 2**20, "own": own[0]}
    print("\n\n" + json.dumps({"cpu": cpu, **peaks}))
    sys.exit(code)


def watch(most: list[float]) -> None:
    """Note the most memory, in GiB, that is the process's own and not a file's, on Linux."""
    status = Path("/proc/self/status")
    while status.exists():
        (now,) = (row for row in status.read_text().splitlines() if row.startswith("RssAnon"))
        most[0] = max(most[0], int(now.split()[1]) / 2**20)
        time.sleep(0.1)


def line(name: str, found: dict[str, Any]) -> None:
    """Print a line of a markdown table, in percent."""
    if "said" in found:
        print(f"| {name} | {found['said']} |", flush=True)
        return
    cells = [name, f"{found['seconds']:.0f}", f"{found['cpu']:.0f}"]
    cells += [f"{found['gib']:.2f}", f"{found['own']:.2f}"]
    for metric in ("recall@1", "map@r"):
        text = f"{100 * found[metric]:.2f}"
        if (own := f"standard_error_{metric}") in found:
            text += f" ± {100 * found[own]:.2f}"
        if (own := f"error_{metric}") in found:
            text += f" ({100 * found[own]:+.2f})"
        cells.append(text)
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Make the data, measure and print."""
    if sys.argv[1:2] == ["--worker"]:
        work(int(sys.argv[2]), sys.argv[3:])
        return
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--items", type=int, default=1_000_000)
    options.add_argument("--dim", type=int, default=512)
    options.add_argument("--queries", type=int, default=5_000)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--parts", default="exact,ivfpq")
    options.add_argument("--probes", default="")
    options.add_argument("--memory", default="1024")
    options.add_argument("--folder", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        start = time.perf_counter()
        write(folder, given.items, given.dim)
        size = (folder / "x.npy").stat().st_size / 2**30
        print(f"{size:.2f} GiB written in {time.perf_counter() - start:.0f} s\n", flush=True)
        print("| | seconds | CPU s | peak GiB | its own | Recall@1 | MAP@R |")
        print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
        for part in given.parts.split(","):
            chosen = ["--queries", str(given.queries), "--distance", "euclidean"]
            if part == "exact":
                chosen += ["--memory", given.memory]
            else:
                chosen += ["--approximate", part, "--no-clustering"]
                if given.probes and part != "hnsw":
                    chosen += ["--probes", given.probes]
            line(part, measured(folder, chosen, given.threads))


if __name__ == "__main__":
    main()
