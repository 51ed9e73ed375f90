"""What exact retrieval metrics cost: seconds and peak memory, beside FAISS and other libraries.

Each job runs in a process of its own, on the same synthetic embeddings (`synthetic.py`), one after
another; the peak is that of the whole process, libraries and embeddings included. A job that takes
less than five seconds is done up to nine times, and the median counts. Four parts:

- `sop`: Recall@{1,10,100,1000}, R-Precision, MAP@R and MRR of 60,502 × 512, for each backend,
  beside a bare FAISS flat search for the 1,000 nearest and the bare matrix product, which
  compute no metric; with --backends torch-cuda,faiss-gpu on a GPU;
- `peers`: Recall@1, R-Precision and MAP@R at the size of CUB-200-2011's test split (5,924 × 512)
  and of 20,000 × 512, beside pytorch-metric-learning's AccuracyCalculator with its default k and
  with k="max_bin_count", and open-metric-learning (Recall@1, Precision@R and its own MAP@R);
- `growth`: ours from 10,000 to 160,000 items beside the bare matrix product, with --plot as a
  picture; the embeddings are read memory-mapped, the search has 256 MiB.

- `shapes`: few large classes, many small ones, a huge one, duplicates, an outlier, beside a plain
  loop of one argsort a query (`retrieval_shapes.py`), in CPU seconds of one thread.

A job that is not done after --limit seconds is stopped, one whose library is not installed is
left out; both are said.

    python tests/perf/retrieval.py [sop] [peers] [growth] [shapes] [--threads 2] [--limit 900]
        [--plot growth.png] [--backends torch-cpu,faiss-cpu] [--sizes 10000,20000]
        [--dims 16,512] [--classes 2,6,50,half,huge,alone] [--points plain,noise,twice] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from retrieval_shapes import scan
from synthetic import SOP_CLASSES, SOP_ITEMS, embeddings

GROWTH = (10_000, 20_000, 40_000, 80_000, 160_000)
NOISE = 0.9


def ours(x: np.ndarray, y: np.ndarray, ks: list[int], backend: str) -> dict[str, float]:
    """Return our metrics."""
    from stt_bench.evaluation import retrieval_metrics

    return retrieval_metrics(x, y, ks=ks, backend=backend)


def product(x: np.ndarray, y: np.ndarray, device: str) -> dict[str, float]:
    """Multiply all embeddings with all, and do nothing with it: what no exact search can beat."""
    import torch

    rows = torch.from_numpy(np.array(x)).to(device)
    room = torch.empty((min(1024, len(rows)), len(rows)), device=device)
    for block in rows.split(1024):
        torch.mm(block, rows.T, out=room[: len(block)])
    room[0, 0].item()  # waits for a GPU
    return {}


def faiss_flat(x: np.ndarray, y: np.ndarray, count: int) -> dict[str, float]:
    """Search the nearest items, and do nothing with them."""
    import faiss

    rows = np.ascontiguousarray(x)
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(rows)
    for start in range(0, len(rows), 4096):
        index.search(rows[start : start + 4096], count)
    return {}


def pytorch_metric_learning(x: np.ndarray, y: np.ndarray, k: str | None) -> dict[str, float]:
    """Return the metrics of AccuracyCalculator."""
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    calculator = AccuracyCalculator(include=names, k=k, device=torch.device("cpu"))
    rows = torch.from_numpy(np.array(x))
    found = calculator.get_accuracy(rows, torch.from_numpy(y))
    return dict(zip(("recall@1", "r_precision", "map@r"), map(found.get, names), strict=True))


def open_metric_learning(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return the metrics of open-metric-learning, which takes one k for all queries."""
    import torch
    from oml.functional.knn import batched_knn
    from oml.metrics import calc_retrieval_metrics_rr
    from oml.retrieval.retrieval_results import RetrievalResults

    ids, most = torch.arange(len(y)), int(np.bincount(y).max()) - 1
    found = batched_knn(
        torch.from_numpy(np.array(x)), ids, ids, top_n=most, labels_gt=torch.from_numpy(y)
    )
    lists = RetrievalResults(distances=found[0], retrieved_ids=found[1], gt_ids=found[2])
    scores = calc_retrieval_metrics_rr(
        lists, map_top_k=(most,), precision_top_k=(most,), cmc_top_k=(1,), verbose=False
    )
    return {"recall@1": float(scores["cmc"][1])}


JOBS: dict[str, Callable[..., dict[str, float]]] = {
    "ours": ours,
    "product": product,
    "faiss": faiss_flat,
    "pml": pytorch_metric_learning,
    "oml": open_metric_learning,
}


def work(job: str, folder: Path, arguments: dict[str, Any], threads: int) -> None:
    """Do one job and print what it took, as JSON."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    x = np.load(folder / "x.npy", mmap_mode="r")
    y = np.load(folder / "y.npy")
    with threadpool_limits(threads):
        try:
            JOBS[job](x[:2000], y[:2000], **arguments)  # imports and first calls
        except ModuleNotFoundError as error:
            print(json.dumps({"said": f"{error.name} is not installed"}))
            return
        rounds: list[float] = []
        while not rounds or (sum(rounds) < 5 and len(rounds) < 9):
            start = time.perf_counter()
            metrics = JOBS[job](x, y, **arguments)
            rounds.append(time.perf_counter() - start)
    seconds = float(np.median(rounds))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "gib": peak, **metrics}))


class Bench:
    """Makes embeddings and runs jobs on them."""

    def __init__(self, threads: int, limit: float) -> None:
        """Keep the settings."""
        self.threads, self.limit = threads, limit
        self.folder = Path(tempfile.mkdtemp())

    def make(self, items: int, classes: int, dim: int = 512) -> None:
        """Write embeddings for the next jobs."""
        x, y = embeddings(items, classes, dim, NOISE)
        np.save(self.folder / "x.npy", x)
        np.save(self.folder / "y.npy", y)

    def run(self, job: str, **arguments: Any) -> dict[str, Any]:
        """Run a job in a process of its own; `said` tells why there is no result."""
        given = [job, str(self.folder), json.dumps(arguments), str(self.threads)]
        command = [sys.executable, __file__, "--worker", *given]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=self.limit, check=False
            )
        except subprocess.TimeoutExpired:
            return {"said": f"stopped after {self.limit:.0f} s"}
        if done.returncode == -signal.SIGKILL:
            return {"said": "killed by the system, out of memory"}
        if done.returncode:
            return {"said": done.stderr.strip().splitlines()[-1][:80]}
        return dict(json.loads(done.stdout.splitlines()[-1]))


def line(name: str, found: dict[str, Any], beside: dict[str, Any] | None = None) -> None:
    """Print a line of a markdown table."""
    if "said" in found:
        print(f"| {name} | {found['said']} | | | |", flush=True)
        return
    ratio = ""
    if beside and "seconds" in beside:
        ratio = f"{found['seconds'] / beside['seconds']:.2f}"
    recall = f"{100 * found['recall@1']:.2f}" if "recall@1" in found else "—"
    row = (name, f"{found['seconds']:.1f}", ratio, f"{found['gib']:.2f}", recall)
    print(f"| {' | '.join(row)} |", flush=True)


def head(title: str, ratio: str) -> None:
    """Print the head of a markdown table."""
    print(f"\n{title}\n\n| | seconds | {ratio} | peak GiB | Recall@1 |\n|---|---|---|---|---|")


def sop(bench: Bench, backends: list[str]) -> None:
    """All metrics at the size of Stanford Online Products."""
    bench.make(SOP_ITEMS, SOP_CLASSES)
    head(f"{SOP_ITEMS:,} × 512, K = 1, 10, 100, 1000", "÷ FAISS")
    flat = bench.run("faiss", count=1000)
    line("FAISS flat, the 1,000 nearest, no metric", flat)
    device = "cuda" if any("cuda" in name or "gpu" in name for name in backends) else "cpu"
    line(f"the matrix product alone, {device}", bench.run("product", device=device), flat)
    for backend in backends:
        line(
            f"stt-bench, {backend}", bench.run("ours", ks=[1, 10, 100, 1000], backend=backend), flat
        )


def peers(bench: Bench) -> None:
    """The metrics that all libraries have."""
    for items, classes in ((5_924, 100), (20_000, 2_000)):
        bench.make(items, classes)
        head(f"{items:,} × 512, {classes:,} classes", "÷ stt-bench")
        base = bench.run("ours", ks=[1], backend="auto")
        line("stt-bench", base, base)
        for name, k in (('k="max_bin_count"', "max_bin_count"), ("default k", None)):
            line(f"pytorch-metric-learning, {name}", bench.run("pml", k=k), base)
        line("open-metric-learning", bench.run("oml"), base)


def growth(bench: Bench, sizes: list[int], plot: Path | None) -> None:
    """Seconds and memory over the number of items."""
    print("\nGrowth, × 512, five items a class\n")
    print("| | seconds | ÷ the size before | the product alone | ÷ the product | peak GiB |")
    print("|---|---|---|---|---|---|")
    seconds, peaks = [], []
    for items in sizes:
        bench.make(items, items // 5)
        least = bench.run("product", device="cpu")["seconds"]
        found = bench.run("ours", ks=[1, 10, 100, 1000], backend="auto")
        if "said" in found:
            print(f"| {items:,} | {found['said']} | | {least:.1f} | | |", flush=True)
            break
        seconds.append(found["seconds"])
        peaks.append(found["gib"])
        step = f"{seconds[-1] / seconds[-2]:.2f}" if len(seconds) > 1 else ""
        row = [f"{items:,}", f"{seconds[-1]:.1f}", step, f"{least:.1f}"]
        row += [f"{seconds[-1] / least:.2f}", f"{peaks[-1]:.2f}"]
        print(f"| {' | '.join(row)} |", flush=True)
    if plot:
        draw(sizes[: len(seconds)], seconds, peaks, plot)


def draw(sizes: list[int], seconds: list[float], peaks: list[float], path: Path) -> None:
    """Draw the growth, beside N² and N."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    n = np.array(sizes, dtype=float)
    for panel, values, power, name in (
        (panels[0], seconds, 2, "seconds"),
        (panels[1], peaks, 1, "peak memory, GiB"),
    ):
        panel.loglog(n, values, "o-", label="measured")
        panel.loglog(n, values[-1] * (n / n[-1]) ** power, "--", color="grey", label=f"N^{power}")
        panel.set(xlabel="items, × 512", ylabel=name)
        panel.legend()
    figure.savefig(path, dpi=120)


def integers(text: str) -> list[int]:
    """Return the numbers of a list such as `16,512`."""
    return [int(one) for one in text.split(",") if one]


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--worker"]:
        job, folder, arguments, threads = sys.argv[2:]
        work(job, Path(folder), json.loads(arguments), int(threads))
        return
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("parts", nargs="*", default=["sop", "peers", "growth", "shapes"])
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--limit", type=float, default=900.0)
    options.add_argument("--plot", type=Path)
    options.add_argument("--backends", default="torch-cpu,faiss-cpu")
    options.add_argument("--sizes", default="")
    options.add_argument("--dims", default="16,512")
    options.add_argument("--classes", default="2,6,50,half,huge,alone")
    options.add_argument("--points", default="plain,noise,twice,signs,outlier")
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    bench = Bench(given.threads, given.limit)
    if "sop" in given.parts:
        sop(bench, given.backends.split(","))
    if "peers" in given.parts:
        peers(bench)
    if "growth" in given.parts:
        growth(bench, integers(given.sizes) or list(GROWTH), given.plot)
    if "shapes" in given.parts:
        sizes = integers(given.sizes) or [1_000, 5_000, 10_000]
        names, points = given.classes.split(","), given.points.split(",")
        scan(sizes, integers(given.dims), names, points, given.rounds)


if __name__ == "__main__":
    main()
