"""The exact float64 distances that decide every rank, and a float32 frame that bounds them."""

import numpy as np
from scipy.spatial.distance import cdist

from evaluation.checks import ROWS_AT_ONCE, blocks

DISTANCES = ("euclidean", "cosine")


def exact_distances(left: np.ndarray, right: np.ndarray, distance: str) -> np.ndarray:
    """Return the (Q, G) float64 distances between the rows of two float64 matrices.

    ``euclidean`` is squared, Σ(x−y)², which ranks alike and keeps integer grids exact;
    ``cosine`` is 1 − x·y and takes rows from :class:`Points`, which normalises them.

    Both kernels sum one pair at a time in the order of its coordinates' storage, so a pair has
    the same bits in whatever block it is computed.  A matrix product promises no such thing, and
    equal distances would then stop being equal.
    """
    if distance == "cosine":
        return 1.0 - np.einsum("qd,gd->qg", left, right)
    return cdist(left, right, "sqeuclidean")


class Points:
    """The rows of a float32 matrix, read as float64 points; normalised for ``cosine``.

    Only the rows asked for are converted.  A zero row stays zero, so its cosine similarity to
    everything is 0.
    """

    def __init__(self, matrix: np.ndarray, distance: str) -> None:
        """Keep ``matrix`` (N, D) and, for ``cosine``, the norm of each row."""
        self.matrix = matrix
        self.distance = distance
        self.norms: np.ndarray | None = None
        if distance == "cosine":
            norms = np.concatenate(
                [row_norms(matrix[rows]) for rows in blocks(len(matrix), ROWS_AT_ONCE)]
            )
            self.norms = np.where(norms > 0, norms, 1.0)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.matrix)

    @property
    def dimension(self) -> int:
        """Return the number of coordinates of a row."""
        return int(self.matrix.shape[1])

    def rows(self, index: slice | np.ndarray) -> np.ndarray:
        """Return the float64 rows at ``index``."""
        rows = self.matrix[index].astype(np.float64, order="C")
        if self.norms is not None:
            rows /= self.norms[index][:, None]
        return rows


class CoarseFrame:
    """Where float32 compares points fast, with a proven bound on how far it can be off.

    The points are moved by the gallery's mean and scaled by a power of two to
    coordinates in [−1, 1]: that keeps float32 from overflowing and the bound small, and changes
    no rank.  With ``inner_product`` they are unit rows, compared by 1 − x·y, and left alone.
    Distances in the frame are exact distances times ``unit``.
    """

    def __init__(self, queries: Points, gallery: Points, inner_product: bool) -> None:
        """Fit the frame to the queries and the gallery."""
        self.inner_product = inner_product
        self.shift = np.zeros(gallery.dimension)
        self.scale = self.reach = 1.0
        if not self.inner_product:
            # A mean about the first row is exact where all rows are equal: they land on 0.
            first = gallery.rows(slice(1))[0]
            for rows in blocks(len(gallery), ROWS_AT_ONCE):
                self.shift += (gallery.rows(rows) - first).sum(axis=0) / len(gallery)
            self.shift += first
            gallery_widest, gallery_reach = self._extent(gallery)
            widest, _ = self._extent(queries) if queries is not gallery else (0.0, 0.0)
            exponent = int(np.frexp(max(widest, gallery_widest))[1])
            self.scale = float(np.ldexp(1.0, -exponent))
            self.reach = gallery_reach * self.scale
        self.unit = self.scale**2

    def _extent(self, points: Points) -> tuple[float, float]:
        """Return the largest coordinate and the largest norm, about the shift."""
        widest = reach = 0.0
        for rows in blocks(len(points), ROWS_AT_ONCE):
            moved = points.rows(rows) - self.shift
            widest = max(widest, float(np.abs(moved).max()))
            reach = max(reach, float(row_norms(moved).max()))
        return widest, reach

    def rows(self, points: Points, index: slice | np.ndarray) -> np.ndarray:
        """Return the float32 rows at ``index``, in the frame."""
        return ((points.rows(index) - self.shift) * self.scale).astype(np.float32)

    def distances(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return the (Q, G) float32 distances between rows of the frame."""
        table = left @ right.T
        if self.inner_product:
            return np.subtract(1.0, table, out=table)
        table *= -2.0
        table += np.einsum("nd,nd->n", left, left)[:, None]
        table += np.einsum("nd,nd->n", right, right)
        return table

    def errors(self, rows: np.ndarray) -> np.ndarray:
        """Bound |float32 − exact| in the frame, between each of ``rows`` and any gallery row.

        A float32 dot product of x and y is off by at most γ(D)·‖x‖·‖y‖, where
        γ(n) = n·u / (1 − n·u) and u = 2⁻²⁴ (Higham, *Accuracy and Stability of Numerical
        Algorithms*, section 3.1), in whatever order it is summed.  ‖x‖² + ‖y‖² − 2x·y is thus
        off by γ(D)·(‖x‖ + ‖y‖)²; the differences summed directly, by less.  The additions, the
        rounding of the coordinates to float32 and the exact pass itself add under 8u; D + 16
        covers them.  The last term covers underflow.
        """
        terms = rows.shape[1] + 16
        gamma = terms * 2.0**-24 / (1.0 - terms * 2.0**-24)
        norms = row_norms(rows)
        size = np.ones_like(norms) if self.inner_product else (norms + self.reach) ** 2
        return gamma * size + terms * 2.0**-120


def row_norms(rows: np.ndarray) -> np.ndarray:
    """Return the float64 norm of every row."""
    rows = rows.astype(np.float64, copy=False)
    return np.sqrt(np.einsum("nd,nd->n", rows, rows))
