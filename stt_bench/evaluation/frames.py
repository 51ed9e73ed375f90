"""Frames in which points are compared fast, with a proven bound on what that loses."""

from copy import copy

import numpy as np

from stt_bench.evaluation.checks import blocks
from stt_bench.evaluation.exact import Points, row_norms

MIDDLE_ROWS = 101
FEW_ROWS = 4
FLOAT32_DIGITS = 22  # bits of the whole numbers that a float32 product holds on a grid
# Between these float32 holds squares, and sums of some.
LEAST_SQUARED, MOST_SQUARED = 2.0**-40, 2.0**40
BLOCK = 2**16  # coordinates that a processor keeps at hand


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
        self.step = 0.0  # of the grid, in the frame, where it is exact
        if not self.inner_product:
            # The middle of some rows: an outlier moves it little, and equal rows land on 0.
            some = np.linspace(0, len(gallery) - 1, min(len(gallery), MIDDLE_ROWS)).astype(int)
            ordered = np.sort(gallery.rows(some), axis=0)  # a fifth of the time of np.median
            self.shift = (ordered[(len(some) - 1) // 2] + ordered[len(some) // 2]) / 2
            self.shift = self.shift.astype(self.moved_in).astype(np.float64)
            gallery_widest, gallery_reach = self._extent(gallery)
            widest, _ = self._extent(queries) if queries is not gallery else (0.0, 0.0)
            exponent = int(np.frexp(max(widest, gallery_widest))[1])
            self.scale = float(np.ldexp(1.0, -min(max(exponent, -126), 126)))
            self.reach = gallery_reach * self.scale
        self.unit = self.scale**2

    def widened(self, queries: Points, gallery: Points, spare_bits: int) -> "CoarseFrame":
        """Return the frame in float64, or in float32 where that is exact and has bits to spare.

        It is exact, if the points lie on a grid that allows it: there products are whole numbers,
        and those of up to 52 − `spare_bits` bits are exact.
        """
        if self.exact and 49 - spare_bits >= FLOAT32_DIGITS:
            return self
        wide = copy(self)
        wide.precision = np.float64
        return self._grid(queries, gallery, 49 - spare_bits) or wide

    def sharpened(self, queries: Points, gallery: Points) -> "CoarseFrame":
        """Return the frame, exact if the points lie on a grid so coarse that float32 allows it.

        Such are codes of ±1, and embeddings of few distinct values.
        """
        grid = self._grid(queries, gallery, FLOAT32_DIGITS)
        if grid is None:
            return self
        grid.precision = np.float32
        return grid

    def moved_to(self, center: np.ndarray) -> "CoarseFrame":
        """Return the frame about another point (D,): it is sharper for what lies near that."""
        near = copy(self)
        near.shift = center.astype(self.moved_in).astype(np.float64)
        far = float(row_norms((near.shift - self.shift)[None] * self.scale)[0])
        near.reach = (self.reach + far) * (1 + 2.0**-40)
        return near

    def _grid(self, queries: Points, gallery: Points, digits: int) -> "CoarseFrame | None":
        """Return an exact frame in float64, or None where products need more than `digits` bits."""
        bits = (digits - gallery.dimension.bit_length()) // 2
        if self.inner_product or bits <= 0:
            return None
        grid = copy(self)
        grid.precision, grid.exact = np.float64, True
        step = np.ldexp(1.0 / self.scale, -bits)
        grid.shift = np.rint(self.shift / step) * step
        grid.step = float(np.ldexp(1.0, -bits))
        sets = (gallery,) if queries is gallery else (queries, gallery)
        return grid if all(_on_grid(points, step) for points in sets) else None

    def _extent(self, points: Points) -> tuple[float, float]:
        """Return the largest coordinate and a bound on the norms, about the shift."""
        widest = reach = 0.0
        shift = self.shift.astype(self.moved_in)
        # Float32 takes half the time; it may be off by this.
        spare = 1 + rounding_share(points.dimension)
        for rows in points.blocks():
            with np.errstate(over="ignore"):  # what float32 cannot hold is moved in float64 below
                moved = points.narrowest(rows) - shift
            far = max(float(moved.max()), -float(moved.min()))
            if LEAST_SQUARED < far < MOST_SQUARED:
                norm = float(np.sqrt(np.einsum("nd,nd->n", moved, moved).max())) * spare
            else:
                moved = points.rows(rows) - self.shift
                far = max(float(moved.max()), -float(moved.min()))
                norm = float(row_norms(moved).max())
            widest, reach = max(widest, far), max(reach, norm)
        return widest, reach

    def rows(self, points: Points, index: slice | np.ndarray, group: int = 1) -> np.ndarray:
        """Return the rows at `index`, in the frame and its precision.

        Rows of zeros fill them up to whole groups.
        """
        places = range(len(points))[index] if isinstance(index, slice) else index
        filled = len(places) + -len(places) % group
        framed = np.empty((filled, points.dimension), dtype=self.precision)
        framed[len(places) :] = 0
        kind = np.result_type(self.moved_in, self.precision)
        for part in blocks(len(places), max(1, BLOCK // points.dimension)):
            some = places[part]
            rows = points.narrowest(
                slice(some.start, some.stop) if isinstance(some, range) else some
            )
            moved = framed[part]
            if (wider := np.result_type(rows, kind)) != framed.dtype:
                moved = np.empty(rows.shape, wider)
            moved[:] = rows
            shift = self.shift.astype(moved.dtype)
            if self.scale < 1:  # in this order nothing overflows
                moved *= self.scale
                moved -= shift * self.scale
            else:
                moved -= shift
                moved *= self.scale
            if moved.dtype != framed.dtype:
                framed[part] = moved
        return framed

    def errors(self, rows: np.ndarray, largest: np.ndarray | None = None) -> np.ndarray:
        """Bound |coarse − exact| in the frame, between each of `rows` and any gallery row.

        ‖x‖² + ‖y‖² − 2x·y is off by γ (‖x‖ + ‖y‖)² at most, γ being `rounding_share`; the
        differences summed directly, by less. The last term covers underflow.

        Up to a coarse distance v, (Q,) `largest`, the bound is smaller than that for the farthest
        y: ‖y‖ ≤ ‖x‖ + s with s² the exact distance, and s² − v ≤ γ (2‖x‖ + s)² bounds s.
        """
        if self.exact:
            return np.zeros(len(rows))
        norms = row_norms(rows)
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

    def errors_by_distance(self, rows: np.ndarray) -> tuple[np.ndarray, float]:
        """Return A (Q,) and b, so that a coarse distance v to any gallery row is off by A + b·v.

        What `errors` returns for v is smaller: there s ≤ 2h + √q, and (a + c)² ≤ 2a² + 2c².
        """
        if self.exact:
            return np.zeros(len(rows)), 0.0
        norms = row_norms(rows)
        share = rounding_share(rows.shape[1], self.precision)
        tiny = (rows.shape[1] + 16) * 2.0**-120
        if self.inner_product or share >= 1 / 2:
            return self.errors(rows), 0.0
        slope = 2 * share * (1 + 2.0**-39) / (1 - share)
        near = 2 * norms * (1 + 2 * share / (1 - share))
        start = 2 * share * (1 + 2.0**-39) * near**2
        return start + slope * (tiny + 4 * share * norms**2) + tiny, slope


class ExactFrame:
    """The points as they are, whose distances need no bound."""

    unit = 1.0
    exact = True

    def rows(self, points: Points, index: slice | np.ndarray, group: int = 1) -> np.ndarray:
        """Return the float64 rows at `index`; nothing is filled up here."""
        return points.rows(index)

    def errors(self, rows: np.ndarray, largest: np.ndarray | None = None) -> np.ndarray:
        """Return 0 for each row."""
        return np.zeros(len(rows))


def _on_grid(points: Points, step: float) -> bool:
    """Tell whether all coordinates are whole multiples of `step`, a power of two."""
    few = slice(0, min(len(points), FEW_ROWS))  # tell at once of most points that they are not
    for index in (few, *points.blocks()):
        steps = points.rows(index) / step
        if not np.array_equal(steps, np.rint(steps)):
            return False
    return True


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
