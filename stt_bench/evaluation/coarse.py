"""The coarse search: which rows of a gallery part are nearest, by distances of bounded error.

Distances are those of a `CoarseFrame`: squared, or 1 − x·y with `inner_product`. All searchers
keep within the frame's error bound, so all lead to the same ranks; they differ in speed alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stt_bench.evaluation.backends import full_precision
from stt_bench.evaluation.checks import blocks, evenly
from stt_bench.evaluation.exact import exact_distances, row_squares

# The smallest of a row are looked for in the groups with the smallest minima.
GROUP = 16
# Groups are worth it where so many times fewer values are looked at one by one.
GROUPS_WORTH = 2
# Where a larger share of a row is wanted, a GPU is quicker to sort all of it.
SORTED_SHARE = 1 / 8
PLACES = 2**20  # of lists that are merged or sorted at once
FLOAT32_COUNTS = 2**24  # up to here float32 holds every integer
DENSE_PAIRS = 2**20

Found = Iterator[tuple[slice, np.ndarray, np.ndarray]]


@dataclass
class Part:
    """Consecutive points of the gallery, as a searcher wants them."""

    length: int
    rows: Any
    bias: Any = None
    weights: Any = None
    index: Any = None

    def __len__(self) -> int:
        """Return the number of points."""
        return self.length

    def items(self, chosen: Tensor) -> np.ndarray:
        """Return how many items the points of each row stand for, (Q,), given 1 or 0 for each."""
        with full_precision():
            counts = chosen.to(self.weights.dtype) @ self.weights
        return counts.cpu().numpy().astype(np.int64)


@dataclass
class Queries:
    """Framed rows (Q, D), and what is to be added to their products: (Q, 1), on the device."""

    rows: np.ndarray
    lengths: Any = None

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.rows)


class TorchSearch:
    """Coarse distances by matrix products, a tile of queries × gallery at a time.

    `copies` is how many times a loaded part holds its float32 rows, `precision` that of the
    distances.
    """

    copies = 1
    precision: type[np.floating] = np.float32

    def __init__(
        self, inner_product: bool, tile_bytes: int, device: str | torch.device = "cpu"
    ) -> None:
        """Search on `device` with tables of at most `tile_bytes`."""
        self.inner_product = inner_product
        self.tile_bytes = tile_bytes
        self.device = torch.device(device)
        self.kind = torch.float64 if self.precision is np.float64 else torch.float32

    def load(self, rows: np.ndarray, sizes: np.ndarray) -> Part:
        """Prepare framed gallery rows that stand for `sizes` items each.

        They come filled up to whole groups (`CoarseFrame.rows`), or are copied to be so; what is
        filled up is infinitely far.
        """
        count = len(sizes)
        filled = -count % GROUP
        if len(rows) == count and filled:
            rows = np.pad(rows, ((0, filled), (0, 0)))
        lengths = np.ones(len(rows), rows.dtype)
        if not self.inner_product:  # as near as the products are
            np.einsum("nd,nd->n", rows, rows, out=lengths)
        lengths[count:] = np.inf
        counted = torch.float32 if sizes.sum() <= FLOAT32_COUNTS else torch.float64
        gallery, bias, weights = (
            torch.from_numpy(padded).to(self.device, kind)
            for padded, kind in (
                (rows, self.kind),
                (lengths, self.kind),
                (np.pad(sizes, (0, len(rows) - count)), counted),
            )
        )
        return Part(count, gallery, bias, weights)

    def queries(self, rows: np.ndarray) -> Queries:
        """Prepare framed query rows."""
        lengths = np.zeros(len(rows)) if self.inner_product else row_squares(rows)
        return Queries(rows, torch.from_numpy(lengths[:, None]).to(self.device, self.kind))

    def nearest(self, queries: Queries, part: Part, count: int) -> Found:
        """Yield blocks of queries with the distances and places of their `count` nearest rows.

        Distances and places are (Q, count), in no order.
        """
        for block, table in self._tiles(queries, part):
            values, places = _smallest(table, count)
            values += queries.lengths[block]
            yield block, values.cpu().numpy(), places.cpu().numpy()

    def nearer(
        self, queries: Queries, part: Part, low: np.ndarray, high: np.ndarray
    ) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
        """Count the items below `low`, and list the pairs from `low` to `high`.

        Yields:
            a block of queries, their counts, and of each listed pair the query's place in the
            block and the point's place in the part.
        """
        for block, table in self._tiles(queries, part, copies=4):
            table += queries.lengths[block]
            floor, ceiling = (
                torch.from_numpy(bound[block]).to(self.device)[:, None] for bound in (low, high)
            )
            pairs = ((table <= ceiling) & (table >= floor)).nonzero().cpu().numpy()
            below = part.items(torch.lt(table, floor, out=table))
            yield block, below, pairs[:, 0], pairs[:, 1]

    def counts(
        self, queries: Queries, part: Part, at: np.ndarray
    ) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yield blocks of queries and how many items are nearer than `at` (Q,), and up to it."""
        for block, table in self._tiles(queries, part, copies=4):
            table += queries.lengths[block]
            limit = torch.from_numpy(at[block]).to(self.device)[:, None]
            through = part.items(table <= limit)
            yield block, part.items(torch.lt(table, limit, out=table)), through

    def distances(self, queries: Queries, part: Part) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield blocks of queries and their distances to the whole part, (Q, len(part))."""
        for block, table in self._tiles(queries, part):
            table += queries.lengths[block]
            yield block, table.cpu().numpy()[:, : len(part)]

    def _tiles(
        self, queries: Queries, part: Part, copies: int = 1, room: Tensor | None = None
    ) -> Iterator[tuple[slice, Tensor]]:
        """Yield blocks of queries and their distances to the part, less the queries' lengths.

        They lie in `room`, (Q, filled part), or all blocks in the same place.
        """
        step = max(1, self.tile_bytes // (self.kind.itemsize * len(part.rows) * copies))
        step = evenly(len(queries), step)
        shape = step, len(part.rows)
        apart = room is not None
        if room is None:
            room = torch.empty(shape, device=self.device, dtype=self.kind)
        for block in blocks(len(queries), step):
            rows = torch.from_numpy(queries.rows[block]).to(self.device)
            with full_precision():
                table = torch.addmm(
                    part.bias,
                    rows,
                    part.rows.T,
                    alpha=-1.0 if self.inner_product else -2.0,
                    out=room[block] if apart else room[: len(rows)],
                )
            yield block, table


class DenseSearch:
    """Exact float64 distances to whole parts: the plain way, for comparison."""

    copies = 2
    precision = np.float64

    def __init__(self, distance: str) -> None:
        """Take the rows of an `ExactFrame`."""
        self.distance = distance

    def queries(self, rows: np.ndarray) -> Queries:
        """Keep the float64 rows."""
        return Queries(rows)

    def load(self, rows: np.ndarray, sizes: np.ndarray) -> Part:
        """Keep the float64 rows."""
        return Part(len(rows), rows)

    def nearest(self, queries: Queries, part: Part, count: int) -> Found:
        """Yield blocks of queries with the distances of all rows of the part: `count` of them."""
        for block in blocks(len(queries), max(1, DENSE_PAIRS // count)):
            table = exact_distances(queries.rows[block], part.rows, self.distance)
            yield block, table, np.broadcast_to(np.arange(count), table.shape)


def nearest_of_parts(
    searcher: TorchSearch | DenseSearch,
    rows: np.ndarray,
    parts: Iterable[tuple[slice, Part]],
    width: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the `width` nearest points of all parts and their distances, ascending.

    Shapes (Q, width) of `rows` (Q, D); a part is known by its place in the gallery.
    """
    values = np.full((len(rows), width), np.inf, dtype=searcher.precision)
    points = np.zeros((len(rows), width), dtype=np.int64)
    held = searcher.queries(rows)
    few = max(1, PLACES // width)
    for place, part in parts:
        for block, near, places in searcher.nearest(held, part, min(width, len(part))):
            if place.start == 0 and near.shape[1] == width:
                values[block], points[block] = near, places
                continue
            for some in blocks(len(near), few):
                to = slice(block.start + some.start, block.start + some.stop)
                both = np.concatenate([values[to], near[some]], axis=1)
                kept = np.argpartition(both, width - 1, axis=1)[:, :width]
                values[to] = np.take_along_axis(both, kept, axis=1)
                both = np.concatenate([points[to], places[some] + place.start], axis=1)
                points[to] = np.take_along_axis(both, kept, axis=1)
    for some in blocks(len(rows), few):
        order = np.argsort(values[some], axis=1)
        values[some] = np.take_along_axis(values[some], order, axis=1)
        points[some] = np.take_along_axis(points[some], order, axis=1)
    return values, points


def _smallest(table: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` smallest values of every row, and their places.

    They lie in the `count` groups with the smallest minima: each of these holds a value that is
    no larger than any value of the other groups.
    """
    width = table.shape[1]
    if count > SORTED_SHARE * width:
        if table.device.type == "cpu":  # a selection, a fifth of the time of a sort
            return torch.topk(table, count, 1, largest=False, sorted=False)
        values, places = table.sort(1)
        return values[:, :count], places[:, :count]
    groups = width // GROUP
    if count > groups or GROUPS_WORTH * (groups + GROUP * count) > width:
        return torch.topk(table, count, 1, largest=False, sorted=False)
    table = table.view(-1, GROUP, groups)
    chosen = table.amin(1).topk(count, 1, largest=False, sorted=False).indices
    members = table.gather(2, chosen[:, None].expand(-1, GROUP, -1)).flatten(1)
    values, at = members.topk(count, 1, largest=False, sorted=False)
    return values, at // count * groups + chosen.gather(1, at % count)
