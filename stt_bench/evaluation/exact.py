"""The exact float64 distances that decide every rank, and a frame that bounds them fast."""

from collections.abc import Iterator
from copy import copy

import numpy as np

from stt_bench.evaluation.checks import blocks

DISTANCES = ("euclidean", "cosine")

# Numbers about 2 to the power of ± this are compared as they are.
USUAL_EXPONENT = 60
# Numbers below 2 to the power of minus this have squares below float64.
LEAST_EXPONENT = 500
MIDDLE_ROWS = 101


def exact_pairs(left: np.ndarray, right: np.ndarray, distance: str) -> np.ndarray:
    """Return the (M,) float64 distances between row i of `left` and row i of `right`.

    `euclidean` is squared, Σ(x−y)², which ranks alike and keeps integer grids exact;
    `cosine` is 1 − x·y and takes rows from `Points`, which normalises them; below 1/16 it is
    ‖x − y‖²/2, which is the same for unit rows and keeps the digits that 1 − x·y loses. Either
    argument may be one row, compared with every row of the other.

    The kernel sums one pair at a time in the order of its coordinates' storage, so a pair has
    the same bits in whatever block it is computed. A matrix product promises no such thing, and
    equal distances would then stop being equal.
    """
    if distance == "cosine":
        left, right = np.broadcast_arrays(left, right)
        distances = 1.0 - np.einsum("md,md->m", left, right)
        near = np.flatnonzero(distances < 1 / 16)
        distances[near] = exact_pairs(left[near], right[near], "euclidean") / 2
        return distances
    differences = left - right
    return np.einsum("md,md->m", differences, differences)


def exact_distances(left: np.ndarray, right: np.ndarray, distance: str) -> np.ndarray:
    """Return the (Q, G) distances between all rows, pair by pair as in `exact_pairs`."""
    return np.stack([exact_pairs(row[None], right, distance) for row in left])


class Points:
    """The rows of a real matrix, read as float64 points.

    They are normalised for `cosine`, in float64 and whatever their size, for exact ranks (training
    has `stt_bench.unit_length`); a zero row stays zero, so its cosine similarity to everything
    is 0. Only the rows asked for are read and converted: the matrix may be a memory
    map of any size.

    `kind` is the narrowest of float32 and float64 that holds the matrix as it is, or wider.
    """

    def __init__(
        self,
        matrix: np.ndarray,
        distance: str,
        kind: type[np.floating] = np.float32,
        exponent: int = 0,
    ) -> None:
        """Keep `matrix` (N, D) and, for `cosine`, the norm of each row.

        Points are the rows times 2 to the power −`exponent`, which `cosine` needs not.
        """
        self.matrix = matrix
        self.distance = distance
        self.kind = np.result_type(kind, kind_of(matrix)).type
        self.kept: np.ndarray | None = None
        self.exponents: np.ndarray | None = None
        self.norms: np.ndarray | None = None
        self.holds_zero = False
        if distance == "cosine":
            if self.kind is np.float64:  # whose squares may be beyond float64
                widest = np.concatenate([np.abs(self._read(r)).max(axis=1) for r in self.blocks()])
                self.exponents = np.frexp(widest)[1]
            norms = np.concatenate([row_norms(self._read(rows)) for rows in self.blocks()])
            self.norms = np.where(norms > 0, norms, 1.0)
            self.holds_zero = not norms.all()
        elif exponent:
            self.exponents = np.full(len(matrix), exponent)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.matrix if self.kept is None else self.kept)

    @property
    def dimension(self) -> int:
        """Return the number of coordinates of a row."""
        return int(self.matrix.shape[1])

    def blocks(self) -> Iterator[slice]:
        """Cut the rows into slices of about 2 MiB of float64 coordinates."""
        return blocks(len(self), max(1, 2**18 // self.dimension))

    def rows(self, index: slice | np.ndarray) -> np.ndarray:
        """Return the float64 rows at `index`."""
        return self.narrowest(index).astype(np.float64, copy=False)

    def narrowest(self, index: slice | np.ndarray) -> np.ndarray:
        """Return the rows at `index`, in `kind` where that loses nothing."""
        if self.kept is not None:
            index = self.kept[index]
        rows = self._read(index)
        return rows if self.norms is None else rows / self.norms[index][:, None]

    def _read(self, index: slice | np.ndarray) -> np.ndarray:
        rows = np.ascontiguousarray(self.matrix[index], dtype=self.kind)
        return rows if self.exponents is None else np.ldexp(rows, -self.exponents[index][:, None])

    def distinct(self) -> tuple["Points", np.ndarray]:
        """Return the points without repeated rows, and the place in them of every row, (N,).

        Repeats are found by a 64-bit hash of the coordinates and confirmed by comparing them.
        """
        words = self.dimension * np.dtype(self.kind).itemsize // 4
        weights = 2 * np.random.default_rng(0).integers(1, 2**63, words, dtype=np.uint64) + 1
        hashes = np.concatenate(
            [self._read(r).view(np.uint32).astype(np.uint64) @ weights for r in self.blocks()]
        )
        _, first, places = np.unique(hashes, return_index=True, return_inverse=True)
        repeated = np.flatnonzero(first[places] != np.arange(len(self)))
        for part in blocks(len(repeated), max(1, 2**22 // self.dimension)):
            rows = repeated[part]
            if np.any(self._read(rows) != self._read(first[places[rows]])):
                return self, np.arange(len(self))
        if not len(repeated):
            return self, np.arange(len(self))
        order = np.argsort(first)  # rows keep their order, so that a memory map is read forwards
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        fewer = copy(self)
        fewer.kept = first[order]
        return fewer, rank[places]


def points_of(distance: str, *matrices: np.ndarray) -> list[Points]:
    """Return the points of matrices that are to be compared, of one kind and one scale.

    For `cosine` they are compared as `euclidean` where no row is zero: of unit rows ‖x − y‖² is
    2 (1 − x·y), with the same ranks, and coordinates that all rows share cost no digits.

    Raises:
        ValueError: for `euclidean`, some rows are so large that the others have no distances.
    """
    kind = np.result_type(*map(kind_of, matrices)).type
    exponent = 0
    if kind is np.float64 and distance == "euclidean":
        # Far from 1 their squares would be beyond float64, or float32 in a frame.
        widest = np.concatenate([_widest(matrix) for matrix in matrices])
        exponent = int(np.frexp(widest.max())[1])
        exponent = exponent if abs(exponent) > USUAL_EXPONENT else 0
        if exponent and np.any((widest > 0) & (widest < np.ldexp(1.0, exponent - LEAST_EXPONENT))):
            raise ValueError(
                f"embeddings holds numbers up to {widest.max():.0e}, beside which float64 loses "
                f"rows of {widest[widest > 0].min():.0e}: correct them, or use the distance cosine."
            )
    points = [Points(matrix, distance, kind, exponent) for matrix in matrices]
    if distance == "cosine" and not any(one.holds_zero for one in points):
        for one in points:
            one.distance = "euclidean"
    return points


def kind_of(matrix: np.ndarray) -> type[np.floating]:
    """Return float32 if it holds whatever the matrix holds, else float64."""
    return np.float32 if np.can_cast(matrix.dtype, np.float32) else np.float64


def _widest(matrix: np.ndarray) -> np.ndarray:
    """Return the largest absolute number of every row, (N,)."""
    parts = blocks(len(matrix), max(1, 2**20 // matrix.shape[1]))
    return np.concatenate([np.abs(matrix[rows].astype(np.float64)).max(axis=1) for rows in parts])


class CoarseFrame:
    """Where points are compared fast, in float32 or float64, with a proven bound on the error.

    The points are moved by the gallery's median and scaled by a power of two to coordinates in
    about [−1, 1]: that keeps float32 from overflowing and the bound small, and changes no rank.
    With `inner_product` they are unit rows, compared by 1 − x·y, and left alone. Distances in the
    frame are exact distances times `unit`.
    """

    def __init__(
        self,
        queries: Points,
        gallery: Points,
        inner_product: bool,
    ) -> None:
        """Fit a float32 frame to the queries and the gallery."""
        self.inner_product = inner_product
        self.precision: type[np.floating] = np.float32
        self.exact = False
        # Float32 points are moved in float32, by a float32 vector: they are rounded once.
        self.moved_in = np.result_type(queries.kind, gallery.kind).type
        self.shift = np.zeros(gallery.dimension)
        self.scale = self.reach = 1.0
        if not self.inner_product:
            # The middle of some rows: an outlier moves it little, and equal rows land on 0.
            some = np.linspace(0, len(gallery) - 1, min(len(gallery), MIDDLE_ROWS)).astype(int)
            self.shift = np.median(gallery.rows(some), axis=0)
            self.shift = self.shift.astype(self.moved_in).astype(np.float64)
            gallery_widest, gallery_reach = self._extent(gallery)
            widest, _ = self._extent(queries) if queries is not gallery else (0.0, 0.0)
            exponent = int(np.frexp(max(widest, gallery_widest))[1])
            self.scale = float(np.ldexp(1.0, -min(max(exponent, -126), 126)))
            self.reach = gallery_reach * self.scale
        self.unit = self.scale**2

    def widened(self, queries: Points, gallery: Points, spare_bits: int) -> "CoarseFrame":
        """Return the frame in float64; exact, if the points lie on a grid that allows it.

        On a grid products are whole numbers: of up to 52 − `spare_bits` bits, they are exact.
        """
        wide = copy(self)
        wide.precision = np.float64
        bits = (49 - spare_bits - gallery.dimension.bit_length()) // 2
        if not self.inner_product and bits > 0:
            grid = copy(wide)
            step = np.ldexp(1.0 / self.scale, -bits)
            grid.shift = np.rint(self.shift / step) * step
            if all(grid._holds(points, step * self.scale) for points in (queries, gallery)):
                grid.exact = True
                return grid
        return wide

    def _holds(self, points: Points, step: float) -> bool:
        """Tell whether all coordinates in the frame are multiples of `step`."""
        return all(
            np.array_equal(rows, np.rint(rows))
            for rows in (self.rows(points, index) / step for index in points.blocks())
        )

    def _extent(self, points: Points) -> tuple[float, float]:
        """Return the largest coordinate and the largest norm, about the shift."""
        widest = reach = 0.0
        for rows in points.blocks():
            moved = points.rows(rows) - self.shift
            widest = max(widest, float(moved.max()), -float(moved.min()))
            reach = max(reach, float(row_norms(moved).max()))
        return widest, reach

    def rows(self, points: Points, index: slice | np.ndarray) -> np.ndarray:
        """Return the rows at `index`, in the frame and its precision."""
        places = np.arange(len(points))[index]
        framed = np.empty((len(places), points.dimension), dtype=self.precision)
        kind = np.result_type(self.moved_in, self.precision)
        for part in blocks(len(places), max(1, 2**20 // points.dimension)):
            rows = points.narrowest(places[part])
            rows = rows.astype(np.result_type(rows, kind), copy=False)
            shift = self.shift.astype(rows.dtype)
            if self.scale < 1:  # in this order nothing overflows
                framed[part] = rows * self.scale - shift * self.scale
            else:
                framed[part] = (rows - shift) * self.scale
        return framed

    def errors(self, rows: np.ndarray, largest: np.ndarray | None = None) -> np.ndarray:
        """Bound |coarse − exact| in the frame, between each of `rows` and any gallery row.

        ‖x‖² + ‖y‖² − 2x·y is off by γ (‖x‖ + ‖y‖)² at most, γ being `rounding_share`; the
        differences summed directly, by less. The last term covers underflow.

        Up to a coarse distance v, (Q,) `largest`, the bound is smaller than that for the farthest
        y: ‖y‖ ≤ ‖x‖ + s with s² the exact distance, and s² − v ≤ γ (2‖x‖ + s)² bounds s.
        """
        norms = row_norms(rows)
        if self.exact:
            return np.zeros_like(norms)
        share = rounding_share(rows.shape[1], self.precision)
        tiny = (rows.shape[1] + 16) * 2.0**-120
        if self.inner_product:
            return np.full_like(norms, share + tiny)
        size = norms + self.reach
        if largest is not None and share < 1 / 2:
            half, rest = 2 * share * norms, largest.clip(0) + tiny + 4 * share * norms**2
            farthest = (half + np.sqrt(half**2 + (1 - share) * rest)) / (1 - share)
            size = np.minimum(size, (2 * norms + farthest) * (1 + 2.0**-40))
        return share * size**2 + tiny


class ExactFrame:
    """The points as they are, whose distances need no bound."""

    unit = 1.0
    exact = True

    def rows(self, points: Points, index: slice | np.ndarray) -> np.ndarray:
        """Return the float64 rows at `index`."""
        return points.rows(index)

    def errors(self, rows: np.ndarray, largest: np.ndarray | None = None) -> np.ndarray:
        """Return 0 for each row."""
        return np.zeros(len(rows))


def rounding_share(dimension: int, precision: type[np.floating] = np.float32) -> float:
    """Return what a dot product of x and y may be off by, as a share of ‖x‖·‖y‖.

    That is γ(D) with γ(n) = n·u / (1 − n·u) and u = 2⁻²⁴ in float32, 2⁻⁵³ in float64 (Higham,
    *Accuracy and Stability of Numerical Algorithms*, section 3.1), in whatever order it is
    summed. The additions that make a distance of it, the rounding of the coordinates and the
    exact distance itself add under 8u: γ(D + 16) covers them. (In float64 the exact distance is
    itself a sum of D terms, off by another γ(D): the share is doubled.)
    """
    unit = float(np.finfo(precision).eps) / 2
    terms = (dimension + 16) * unit * (2 if precision is np.float64 else 1)
    return terms / (1.0 - terms)


def row_squares(rows: np.ndarray) -> np.ndarray:
    """Return the float64 sum of squares of every row."""
    squares = np.empty(len(rows))
    for part in blocks(len(rows), max(1, 2**19 // rows.shape[1])):
        wide = rows[part].astype(np.float64, copy=False)
        squares[part] = np.einsum("nd,nd->n", wide, wide)
    return squares


def row_norms(rows: np.ndarray) -> np.ndarray:
    """Return the float64 norm of every row."""
    return np.sqrt(row_squares(rows))
