"""Exact k-means for many clusters: Lloyd's iterations, without what cannot have changed."""

import numpy as np
import torch
from numpy.typing import ArrayLike

from stt_bench.evaluation.backends import full_precision, torch_device
from stt_bench.evaluation.callback import ProgressCallback, quietly
from stt_bench.evaluation.checks import check_choice, check_count, check_matrix
from stt_bench.evaluation.frames import rounding_share
from stt_bench.evaluation.kmeans_start import STARTS, TILE, first_rows

ITERATIONS = 50

# More than the relative error of a distance that is summed from float32 differences.
ROUNDING = 1e-6

# What the sum of squares of a row may be: room for (‖x‖ + ‖c‖)² in float32.
LARGEST = float(np.finfo(np.float32).max) / 8


def kmeans(
    points: ArrayLike,
    clusters: int,
    *,
    seed: int = 0,
    iterations: int = ITERATIONS,
    init: str | ArrayLike = "random",
    device: str | torch.device | None = None,
    progress: ProgressCallback = quietly,
) -> tuple[np.ndarray, np.ndarray]:
    """Cluster the points by Lloyd's iterations and return each point's cluster and the centroids.

    An iteration moves every centroid to the mean of its points and every point to its nearest
    centroid; where two are equally near, always to the same one (to the lowest-numbered of the
    first centroids). It ends early once no point moves.
    An empty cluster takes the point farthest from its own centroid, as in scikit-learn, unless
    every point lies on its centroid.

    Distances come from float32 matrix products; a point moves only if the other centroid is
    nearer by the differences themselves. So the result is that of the plain iterations, but
    where two squared distances differ by less than float32 can tell, about 1e-6 of
    (‖x‖ + ‖c‖)². The same input, seed, machine and number of threads give the same bytes. See
    `Lloyd` for the bounds that save most of the work; memory grows with the input alone,
    not with N × K.

    Args:
        points: (N, D) finite real numbers whose squares float32 can hold.
        clusters: K >= 1; fewer are made where the points have fewer distinct rows.
        seed: by which rows are chosen as the first centroids, no two of them equal; >= 0.
        iterations: at most this many, >= 1.
        init: how they are chosen: `random`, or `k-means++`, greedy as in scikit-learn; or the
            first centroids themselves, (K, D).
        device: of torch; that of `stt_bench.evaluation.on_device` by default.
        progress: is told how many iterations are done, and how many there are at most.

    Returns:
        The cluster of every point, (N,) int64, and the centroids, (K, D) float32.

    Raises:
        ValueError: for NaN, infinite or too large numbers, shapes that do not fit, a count too
            small, or arguments of a wrong type.

    Example:
        >>> own, centroids = kmeans([[0.0], [1.0], [9.0]], 2, init=[[0.0], [9.0]])
        >>> own.tolist(), centroids.ravel().tolist()
        ([0, 0, 1], [0.5, 9.0])
    """
    rows = _float32_rows("points", points)
    clusters = check_count("clusters", clusters)
    iterations = check_count("iterations", iterations)
    seed = check_count("seed", seed, least=0)
    device = torch_device() if device is None else torch.device(device)
    if isinstance(init, str):
        start = first_rows(rows, clusters, check_choice("init", init, STARTS), seed, device)
    else:
        start = _float32_rows("init", init)
        if start.shape != (clusters, rows.shape[1]):
            raise ValueError(
                f"init must have shape {(clusters, rows.shape[1])}, not {start.shape}."
            )
    with full_precision():
        lloyd = Lloyd(rows, start, device)
        lloyd.run(iterations, progress)
    return lloyd.own.cpu().numpy(), lloyd.centroids.cpu().numpy()


def _float32_rows(name: str, values: ArrayLike) -> np.ndarray:
    matrix = check_matrix(name, values)
    largest = max(float(matrix.max()), -float(matrix.min()))
    if largest > (LARGEST / matrix.shape[1]) ** 0.5:
        raise ValueError(
            f"{name} holds numbers as large as {largest:.3g}, whose squares are beyond float32: "
            "scale all by one factor, which changes no cluster."
        )
    return np.ascontiguousarray(matrix, dtype=np.float32)


class Lloyd:
    """The state of k-means, and its two steps.

    Every point keeps the distance `near` to its own centroid and a lower bound `rest` on the
    distance to all others. When the centroids move, the triangle inequality bounds what may
    happen (Hamerly, 'Making k-means even faster', SDM 2010): a centroid that moved by less than
    rest − near is still farther than the own one. So points are sorted by rest − near and
    centroids by their movement, and each tile of points is compared with those centroids alone
    that moved far enough for its first point: all of them for a few points, few or none for most
    (Ding et al., 'Yinyang k-means', ICML 2015, bound groups of centroids to the same end).

    Bounds allow for rounding: a float32 product of (N, D) rows gives squared distances that are
    off by at most γ·(‖x‖ + ‖c‖)², γ being `stt_bench.evaluation.frames.rounding_share`.

    `compared` counts the pairs of a point and a centroid that were compared.
    """

    def __init__(self, points: np.ndarray, init: np.ndarray, device: torch.device) -> None:
        """Take float32 points (N, D) and first centroids (K, D); no cluster is assigned yet."""
        self.host = torch.from_numpy(points)
        self.points = self.host.to(device)
        self.centroids = torch.tensor(init, device=device)
        count, self.dimension = points.shape
        self.norms = torch.linalg.vector_norm(self.points, dim=1, dtype=torch.float64)
        self.own = torch.zeros(count, dtype=torch.int64, device=device)
        self.near = torch.empty(count, dtype=torch.float64, device=device)
        self.rest = torch.full_like(self.near, -torch.inf)
        self.moved = torch.full((len(init),), torch.inf, dtype=torch.float64, device=device)
        self.table = torch.empty(max(TILE, len(init)), device=device)
        self.compared = 0

    def run(self, iterations: int, progress: ProgressCallback = quietly) -> None:
        """Assign the points, then update and assign until nothing changes."""
        self._measure(torch.arange(len(self.own), device=self.own.device))
        before = torch.full_like(self.own, -1)
        self.assign()
        for done in range(iterations):
            if torch.equal(self.own, before):
                break
            progress(done, iterations)
            before = self.update(before)
            self.assign()
        progress(iterations, iterations)

    def update(self, before: torch.Tensor) -> torch.Tensor:
        """Move each centroid whose points are not those of `before`; return what they are now.

        The means are summed in float64 and in order, on the CPU: CUDA would sum in any order.
        """
        self._fill_empty_clusters()
        changed = self.own != before
        touched = torch.zeros_like(self.moved, dtype=torch.bool)
        touched[self.own[changed]] = True
        touched[before[changed & (before >= 0)]] = True
        rows = touched[self.own].nonzero().ravel()
        own = self.own[rows].cpu()
        sizes = torch.bincount(own, minlength=len(self.centroids))
        clusters = sizes.nonzero().ravel()
        slots = (sizes > 0).cumsum(0) - 1
        sums = torch.zeros(len(clusters), self.dimension, dtype=torch.float64)
        for part, to in zip(self._split(rows.cpu()), self._split(slots[own]), strict=True):
            sums.index_add_(0, to, self.host[part].double())
        means = (sums / sizes[clusters, None]).float().to(self.centroids.device)
        clusters = clusters.to(self.centroids.device)
        self.moved.zero_()
        self.moved[clusters] = _gaps(means, self.centroids[clusters]) * (1 + ROUNDING)
        self.centroids[clusters] = means
        self._measure(rows)
        return self.own.clone()

    def assign(self) -> None:
        """Move each point to its nearest centroid."""
        moved, order = self.moved.sort(descending=True, stable=True)
        centroids, places = self.centroids[order], order.argsort()
        squares = torch.linalg.vector_norm(centroids, dim=1, dtype=torch.float64).square()
        slack, rows = (self.rest - self.near * (1 + ROUNDING)).sort(stable=True)
        needed = torch.searchsorted(-moved, -slack, right=True).cpu().numpy()
        # Whoever needs most of them takes all, for a fresh bound.
        needed[2 * needed > len(order)] = len(order)
        start = 0
        while start < len(rows) and needed[start] > 0:
            count = int(needed[start])
            alike = int(np.searchsorted(-needed, -count / 2, side="right"))
            stop = min(alike, start + max(1, TILE // max(count, self.dimension)))
            if count < len(order):
                self.rest[rows[start:stop]] -= moved[count]
            else:
                self.rest[rows[start:stop]] = torch.inf
            self._compare(rows[start:stop], centroids[:count], squares[:count], order, places)
            start = stop
        self.rest[rows[start:]] -= moved[0]

    def _compare(
        self,
        rows: torch.Tensor,
        centroids: torch.Tensor,
        squares: torch.Tensor,
        order: torch.Tensor,
        places: torch.Tensor,
    ) -> None:
        """Compare points with the first centroids in `order`; `rest` is that of the others."""
        points, norms = self.points[rows], self.norms[rows]
        own, near = self.own[rows], self.near[rows]
        gamma = rounding_share(self.dimension)
        offset = norms.square() - gamma * (norms + squares.max().sqrt()).square() - 2.0**-100

        table = self.table[: len(rows) * len(centroids)].view(len(rows), len(centroids))
        torch.addmm(squares.float(), points, centroids.T, alpha=-2, out=table)
        self.compared += table.numel()
        place = places[own]
        inside = (place < len(centroids)).nonzero().ravel()
        table[inside, place[inside]] = torch.inf
        value, best = table.min(dim=1)
        bound = (value + offset).clamp(min=0).sqrt()

        maybe = (bound <= near).nonzero().ravel()
        other = order[best[maybe]]
        gaps = _gaps(points[maybe], self.centroids[other])
        nearer = (gaps < near[maybe]) | ((gaps == near[maybe]) & (other < own[maybe]))
        if nearer.any():
            moves, other = maybe[nearer], other[nearer]
            table[moves, best[moves]] = torch.inf
            second = (table.amin(dim=1) + offset).clamp(min=0).sqrt()
            bound[moves] = torch.minimum(second, near)[moves]
            self.own[rows[moves]], self.near[rows[moves]] = other, gaps[nearer]
        self.rest[rows] = torch.minimum(bound, self.rest[rows])

    def _fill_empty_clusters(self) -> None:
        """Give each empty cluster the farthest point that does not leave another one empty."""
        sizes = torch.bincount(self.own, minlength=len(self.centroids)).tolist()
        empty = [cluster for cluster, size in enumerate(sizes) if size == 0]
        if not empty:
            return
        for row in self.near.argsort(descending=True, stable=True).tolist():
            if not empty or self.near[row] == 0:
                return
            cluster = int(self.own[row])
            if sizes[cluster] > 1:
                sizes[cluster] -= 1
                self.own[row] = empty.pop(0)
                self.rest[row] = torch.minimum(self.rest[row], self.near[row])

    def _measure(self, rows: torch.Tensor) -> None:
        """Compute the distance of points from their own centroids."""
        for part in self._split(rows):
            self.near[part] = _gaps(self.points[part], self.centroids[self.own[part]])

    def _split(self, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return rows.split(max(1, TILE // self.dimension))


def _gaps(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the distance between each row of one matrix and the same row of another."""
    return torch.linalg.vector_norm(left - right, dim=1, dtype=torch.float64)
