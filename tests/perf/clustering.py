"""What k-means costs at the size of Stanford Online Products, beside FAISS and scikit-learn.

The data are those of `synthetic.py`. All three start from the same random rows and do the same
number of iterations; NMI is that against the classes. Then the whole job as `clustering_metrics`
does it (from random rows, or from k-means++) is compared with scikit-learn's default (k-means++),
which is stopped after --limit seconds.

    python tests/perf/clustering.py [--items 60502] [--clusters 11316] [--dim 512]
        [--iterations 20] [--threads 2] [--noise 0.9] [--limit 300] [--skip faiss,kmeans++]
    python tests/perf/clustering.py --crossover [--items 12000] [--dim 512]

The second finds from how many clusters on our own k-means is quicker: both from the same random
rows to the end of at most 50 iterations, in turns, in CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from sklearn.cluster import KMeans
from synthetic import SOP_CLASSES, SOP_ITEMS, embeddings
from threadpoolctl import threadpool_limits

from stt_bench.evaluation import retrieval_metrics
from stt_bench.evaluation.clustering import _agreement
from stt_bench.evaluation.kmeans import kmeans
from stt_bench.evaluation.kmeans_start import random_rows


def by_faiss(points: np.ndarray, init: np.ndarray, iterations: int) -> np.ndarray:
    """Cluster with FAISS from the given centroids."""
    import faiss

    most = {"max_points_per_centroid": len(points), "min_points_per_centroid": 1}
    found = faiss.Kmeans(points.shape[1], len(init), niter=iterations, **most)
    found.train(points, init_centroids=init)
    return found.index.search(points, 1)[1].ravel()


def by_scikit_learn(points: np.ndarray, init: np.ndarray, iterations: int) -> np.ndarray:
    """Cluster with scikit-learn from the given centroids."""
    return KMeans(len(init), init=init, n_init=1, tol=0, max_iter=iterations).fit_predict(points)


def by_default(
    points: np.ndarray, clusters: int, threads: int, sender: multiprocessing.connection.Connection
) -> None:
    """Cluster with scikit-learn as it comes, and send seconds and clusters."""
    with threadpool_limits(threads):
        start = time.perf_counter()
        own = KMeans(clusters, random_state=0).fit_predict(points)
    sender.send((time.perf_counter() - start, own))


def with_limit(
    points: np.ndarray, clusters: int, threads: int, limit: float
) -> tuple[float, np.ndarray] | None:
    """Return seconds and clusters of scikit-learn's default, or None after the limit."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    arguments = (points, clusters, threads, sender)
    process = context.Process(target=by_default, args=arguments, daemon=True)
    process.start()
    result = receiver.recv() if receiver.poll(limit) else None
    process.terminate()
    process.join()
    return result


def timed(job: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Return the seconds of a job and its result."""
    start = time.perf_counter()
    result = job()
    return time.perf_counter() - start, result


def crossover(items: int, dim: int) -> None:
    """Compare ours with scikit-learn from few clusters to many."""
    torch.set_num_threads(1)
    print(f"{items} items, {dim} dimensions, CPU seconds of one thread\n")
    print("| clusters | ours | scikit-learn | ours ÷ scikit-learn | same cluster |")
    print("|---:|---:|---:|---:|---:|")
    for clusters in (5, 25, 100, 200, 300, 400, 500, 1000):
        points, _ = embeddings(items, clusters, dim, 0.9)
        init = random_rows(points, clusters, 0)
        jobs: list[Callable[[], np.ndarray]] = [
            lambda points=points, init=init: kmeans(points, len(init), init=init, device="cpu")[0],
            lambda points=points, init=init: by_scikit_learn(points, init, 50),
        ]
        seconds: list[list[float]] = [[], []]
        found = [np.empty(0), np.empty(0)]
        with threadpool_limits(1):
            for _ in range(3):
                for number, job in enumerate(jobs):
                    start = time.process_time()
                    found[number] = job()
                    seconds[number].append(time.process_time() - start)
        ours, theirs = (float(np.median(one)) for one in seconds)
        same = float((found[0] == found[1]).mean())
        row = (str(clusters), f"{ours:.2f}", f"{theirs:.2f}", f"{ours / theirs:.2f}", f"{same:.3f}")
        print(f"| {' | '.join(row)} |", flush=True)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--items", type=int, default=SOP_ITEMS)
    options.add_argument("--clusters", type=int, default=SOP_CLASSES)
    options.add_argument("--dim", type=int, default=512)
    options.add_argument("--iterations", type=int, default=20)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--noise", type=float, default=0.9)
    options.add_argument("--device", default="cpu")
    options.add_argument("--limit", type=float, default=300)
    options.add_argument("--skip", default="", help="faiss, kmeans++ or both, with a comma")
    options.add_argument("--recall", action="store_true", help="measure Recall@1 of the data too")
    options.add_argument("--crossover", action="store_true", help="few clusters to many")
    given = options.parse_args()
    if given.crossover:
        crossover(given.items, given.dim)
        return
    skipped = given.skip.split(",")
    torch.set_num_threads(given.threads)
    points, labels = embeddings(given.items, given.clusters, given.dim, given.noise)
    print(f"{given.items} items, {given.clusters} clusters, {given.dim} dimensions, ", end="")
    print(f"{given.threads} threads, device {given.device}, noise {given.noise}")
    if given.recall:
        print(f"Recall@1 {retrieval_metrics(points, labels, ks=(1,))['recall@1']:.4f}")

    def show(name: str, seconds: float, own: np.ndarray, first: tuple[float, float] | None) -> None:
        nmi = _agreement(labels, own)[0]
        ratio, apart = (seconds / first[0], nmi - first[1]) if first else (1.0, 0.0)
        print(f"| {name} | {seconds:.1f} | {ratio:.1f} | {nmi:.4f} | {apart:+.4f} |", flush=True)

    print("\n| k-means | seconds | ÷ ours | NMI | − ours |\n| --- | ---: | ---: | ---: | ---: |")
    init = random_rows(points, given.clusters, 0)
    steps = given.iterations
    same: dict[str, Callable[[], np.ndarray]] = {
        "ours": lambda: kmeans(
            points, given.clusters, iterations=steps, init=init, device=given.device
        )[0],
        "scikit-learn": lambda: by_scikit_learn(points, init, steps),
        "FAISS": lambda: by_faiss(points, init, steps),
    }
    if "faiss" in skipped:
        del same["FAISS"]
    with threadpool_limits(given.threads):
        first = None
        for name, job in same.items():
            seconds, own = timed(job)
            show(f"{name}, same random rows, {steps} iterations", seconds, own, first)
            first = first or (seconds, _agreement(labels, own)[0])
        whole = {}
        for start in ("random", "k-means++"):
            job = partial(kmeans, points, given.clusters, init=start, device=given.device)
            whole[start] = timed(lambda job=job: job()[0])
    base = whole["random"][0], _agreement(labels, whole["random"][1])[0]
    show("ours, as it comes (random rows)", *whole["random"], None)
    show("ours, k-means++", *whole["k-means++"], base)
    if "kmeans++" in skipped:
        return
    result = with_limit(points, given.clusters, given.threads, given.limit)
    if result:
        show("scikit-learn, as it comes (k-means++)", *result, base)
    else:
        ratio = given.limit / base[0]
        print(
            f"| scikit-learn, as it comes (k-means++): stopped unfinished "
            f"| > {given.limit:.0f} | > {ratio:.1f} | | |"
        )


if __name__ == "__main__":
    main()
