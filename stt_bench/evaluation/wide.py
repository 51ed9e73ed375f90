"""Long lists: the nearest points by float64 distances, sorted as integers that carry the point.

A float32 product cannot order a list that holds a good part of the gallery: neighbours lie closer
than its error. A float64 product can, at twice the cost. The last bits of each distance, which the
bound allows to be lost, give way to the number of its point: one sort of integers then does what
sorting, and carrying the points along, would do.
"""

from collections.abc import Iterable

import numpy as np
import torch

from stt_bench.evaluation import coarse
from stt_bench.evaluation.checks import blocks
from stt_bench.evaluation.coarse import Part, TorchSearch

NUMBERS_AT_ONCE = 2**15  # what a processor keeps at hand
# Where the rest of a row is more than this share and so many, it is put aside before the sort.
REST_SHARE, REST_LEAST = 0.42, 1000
WORTH_CUTTING = 7 / 8  # of a list: the end of a shorter one is looked for, which takes time too
TILE_BYTES = 2**24  # as wide as a product needs to be quick


class WideSearch(TorchSearch):
    """Distances by float64 matrix products, or by float32 ones that are exact."""

    def __init__(
        self,
        inner_product: bool,
        tile_bytes: int,
        device: str | torch.device = "cpu",
        precision: type[np.floating] = np.float64,
    ) -> None:
        """Search on `device` with tables of at most `tile_bytes`; in float32 if that is exact."""
        self.precision = precision
        self.copies = np.dtype(precision).itemsize // 4
        super().__init__(inner_product, min(tile_bytes, TILE_BYTES), device)

    def keys(
        self, rows: np.ndarray, parts: Iterable[tuple[slice, Part]], width: int, points: int
    ) -> np.ndarray:
        """Return the keys of the `width` nearest of all `points`, ascending: (Q, width) int64."""
        low = (1 << key_bits(points)) - 1
        room = np.empty((len(rows), width + -width % coarse.GROUP), dtype=np.int64)
        lists = room[:, :width]
        held = self.queries(rows)
        lengths = held.lengths.cpu().numpy().astype(np.float64)
        seen = 0
        for place, part in parts:
            numbers = np.arange(place.start, place.stop)
            last = place.stop == points
            whole = len(part) == width == points  # the keys are made where they are to lie
            there = whole and self.kind == torch.float64 and self.device.type == "cpu"
            tiles = torch.from_numpy(room.view(np.float64)) if there else None
            for block, table in self._tiles(held, part, room=tiles):
                tile = table.cpu().numpy()[:, : len(part)]
                for some in blocks(len(tile), max(1, NUMBERS_AT_ONCE // len(part))):
                    to = slice(block.start + some.start, block.start + some.stop)
                    keys = lists[to] if whole else np.empty(tile[some].shape, dtype=np.int64)
                    np.add(tile[some], lengths[to], out=keys.view(np.float64))
                    keys &= 2**63 - 1 - low  # without its sign, a distance below 0 is nearer to it
                    keys |= numbers
                    if seen:
                        keys = np.concatenate([lists[to, :seen], keys], axis=1)
                    count = keys.shape[1]
                    rest = count - width
                    if rest > (max(REST_LEAST, REST_SHARE * count) if last else 0):
                        keys.partition(width - 1, axis=1)
                        keys = keys[:, :width]
                    if last:
                        keys.sort(axis=1)
                    if not whole:
                        lists[to, : min(width, count)] = keys[:, :width]
            seen = min(width, place.stop)
        return lists


def nearest_keys(keys: np.ndarray, last: int | None, points: int) -> np.ndarray:
    """Return the keys (Q, width), ascending, up to the ties of the place `last`, and one more."""
    if last is None:
        return keys
    farthest = keys[:, last] | ((1 << key_bits(points)) - 1)
    beyond = keys[:, last + 1 :] <= farthest[:, None]
    width = last + 2 + int(np.count_nonzero(beyond, axis=1).max())
    return keys[:, :width] if width < WORTH_CUTTING * keys.shape[1] else keys


def split_keys(keys: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances and the numbers of the points that keys hold.

    A distance is rounded down, by less than `lost_share` of itself.
    """
    low = (1 << key_bits(points)) - 1
    return (keys & ~low).view(np.float64), keys & low


def key_bits(points: int) -> int:
    """Return how many bits hold the number of a point."""
    return max(1, (points - 1).bit_length())


def lost_share(points: int) -> float:
    """Return what share of a distance its key may have lost."""
    return 2.0 ** (key_bits(points) - 52)
