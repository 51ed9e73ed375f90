"""The exact float64 distances that decide every rank, and the points they are between."""

from collections.abc import Iterator
from copy import copy

import numpy as np

from stt_bench.evaluation.checks import blocks

DISTANCES = ("euclidean", "cosine")

# Numbers about 2 to the power of ± this are compared as they are.
USUAL_EXPONENT = 60
# Numbers below 2 to the power of minus this have squares below float64.
LEAST_EXPONENT = 500
FEW_WORDS = 16  # of a row, by which most rows differ from all others


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
        step: float = 1.0,
    ) -> None:
        """Keep `matrix` (N, D) and, for `cosine`, the norm of each row.

        Points are the rows times 2 to the power −`exponent`, which `cosine` needs not, and divided
        by `step`.
        """
        self.matrix = matrix
        self.step = step
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
        """Cut the rows into slices of about half a MiB of float64 coordinates."""
        return blocks(len(self), max(1, 2**16 // self.dimension))

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
        if self.step != 1:
            rows = rows / rows.dtype.type(self.step)
        return rows if self.exponents is None else np.ldexp(rows, -self.exponents[index][:, None])

    def distinct(self) -> tuple["Points", np.ndarray]:
        """Return the points without repeated rows, and the place in them of every row, (N,).

        Repeats are found by a 64-bit hash of the coordinates and confirmed by comparing them.
        """
        few = np.sort(self._hashes(FEW_WORDS))
        if np.all(few[1:] != few[:-1]):  # rows that start otherwise are others
            return self, np.arange(len(self))
        hashes = self._hashes(self.dimension * np.dtype(self.kind).itemsize // 4)
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

    def _hashes(self, words: int) -> np.ndarray:
        """Return a 64-bit hash of the first 32-bit words of every row, (N,)."""
        weights = 2 * np.random.default_rng(0).integers(1, 2**63, words, dtype=np.uint64) + 1
        parts = (self._read(rows).view(np.uint32)[:, :words] for rows in self.blocks())
        return np.concatenate([part.astype(np.uint64) @ weights[: part.shape[1]] for part in parts])


def points_of(distance: str, *matrices: np.ndarray, step: float = 1.0) -> list[Points]:
    """Return the points of matrices that are to be compared, of one kind and one scale.

    Coordinates are divided by `step`. For `cosine` they are compared as `euclidean` where no row is
    zero: of unit rows ‖x − y‖² is 2 (1 − x·y), with the same ranks, and coordinates that all rows
    share cost no digits.

    Raises:
        ValueError: for `euclidean`, some rows are so large that the others have no distances.
    """
    kind = np.result_type(*map(kind_of, matrices)).type
    exponent = 0
    if kind is np.float64 and distance == "euclidean" and step == 1:
        # Far from 1 their squares would be beyond float64, or float32 in a frame.
        widest = np.concatenate([_widest(matrix) for matrix in matrices])
        exponent = int(np.frexp(widest.max())[1])
        exponent = exponent if abs(exponent) > USUAL_EXPONENT else 0
        if exponent and np.any((widest > 0) & (widest < np.ldexp(1.0, exponent - LEAST_EXPONENT))):
            raise ValueError(
                f"embeddings holds numbers up to {widest.max():.0e}, beside which float64 loses "
                f"rows of {widest[widest > 0].min():.0e}: correct them, or use the distance cosine."
            )
    points = [Points(matrix, distance, kind, exponent, step) for matrix in matrices]
    if distance == "cosine" and not any(one.holds_zero for one in points):
        for one in points:
            one.distance = "euclidean"
    return points


def points_to_rank(distance: str, *matrices: np.ndarray) -> list[Points]:
    """Return what `points_of` does, but rows of one norm as they are, also for `cosine`.

    Those, as codes of ±1, have the same ranks by cosine as by Euclidean distance, and equal cosines
    stay equal where no row is divided; `norms` is None then. Codes of ±c are those of ±1, for the
    same reason: c² is rounded.
    """
    step = code_step(*matrices)
    points = points_of(distance, *matrices, step=step)
    if distance == "cosine" and not any(one.holds_zero for one in points):
        norms = np.concatenate([one.norms for one in points if one.norms is not None])
        if np.all(norms == norms[0]):
            return points_of("euclidean", *matrices, step=step)
    return points


def code_step(*matrices: np.ndarray) -> float:
    """Return c, if all coordinates are −c, 0 or c and c is no power of two, else 1."""
    step = 0.0
    for matrix in matrices:
        for rows in blocks(len(matrix), max(1, 2**16 // matrix.shape[1])):
            sizes = np.abs(matrix[rows].astype(np.float64))
            step = step or float(sizes.max())
            if not np.all((sizes == step) | (sizes == 0)):
                return 1.0
    return step if step and np.frexp(step)[0] != 1 / 2 else 1.0


def kind_of(matrix: np.ndarray) -> type[np.floating]:
    """Return float32 if it holds whatever the matrix holds, else float64."""
    return np.float32 if np.can_cast(matrix.dtype, np.float32) else np.float64


def _widest(matrix: np.ndarray) -> np.ndarray:
    """Return the largest absolute number of every row, (N,)."""
    parts = blocks(len(matrix), max(1, 2**20 // matrix.shape[1]))
    return np.concatenate([np.abs(matrix[rows].astype(np.float64)).max(axis=1) for rows in parts])


def row_squares(rows: np.ndarray) -> np.ndarray:
    """Return the float64 sum of squares of every row."""
    squares = np.empty(len(rows))
    for part in blocks(len(rows), max(1, 2**16 // rows.shape[1])):
        wide = rows[part].astype(np.float64, copy=False)
        squares[part] = np.einsum("nd,nd->n", wide, wide)
    return squares


def row_norms(rows: np.ndarray) -> np.ndarray:
    """Return the float64 norm of every row."""
    return np.sqrt(row_squares(rows))
