"""Pairs of images that are the same picture: near hashes first, then their pixels.

A hash is the signs, about their median, of the 8 × 8 lowest cosine frequencies of the grey image at
32 × 32 pixels, 64 bits (the mean grey is the first, and always 0). Two near hashes are the same
picture where their thumbnails correlate once the coarse shading is taken off: each pixel less the
mean of the 5 × 5 around it. See `near_duplicates` for the bounds and what they let through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stt_bench.benchmark.datasets.threads import Progress

SIDE = 32
BITS, BITS_PLAIN = 12, 6
BOUND, BOUND_PLAIN = 0.9, 0.99
_COARSE = 16
_CUT = (0, 1, 2)  # of 32 pixels, off either end of a side
_EVEN = 0.4  # share of pixels of one grey, within 2 levels, from which an image is plain
_FLAT = 2.0  # standard deviation of grey levels below which an image shows nothing
_BLOCK = (256, 4096)  # hashes compared at once: they stay in the processor's cache
_PAIRS = 4096  # pairs whose pixels are compared at once
_IMAGES = 4096  # images that are looked at at once


@dataclass(frozen=True)
class Thumbnails:
    """Grey images at 32 × 32 pixels, uint8 (N, 32, 32), and which of them were small, (N,)."""

    pixels: np.ndarray
    small: np.ndarray

    @cached_property
    def plain(self) -> np.ndarray:
        """Return (N,) which images are small, or mostly of one grey: drawings, cut-out things."""
        return self.small | (_by_block(_share_of_one_grey, self.pixels) >= _EVEN)

    @cached_property
    def flat(self) -> np.ndarray:
        """Return (N,) which images show nothing to compare."""
        return _by_block(lambda some: some.std(axis=(1, 2)), self.pixels) < _FLAT


def _by_block(work: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray) -> np.ndarray:
    """Return what `work` returns for all images; it gets some at a time, to save memory."""
    starts = range(0, len(pixels), _IMAGES)
    return np.concatenate([work(pixels[start : start + _IMAGES]) for start in starts])


def _share_of_one_grey(pixels: np.ndarray) -> np.ndarray:
    """Return (n,) the largest share of pixels within 2 levels of one grey."""
    count = len(pixels)
    own = np.arange(count)[:, None] * 256 + pixels.reshape(count, -1)
    counts = np.bincount(own.ravel(), minlength=count * 256).reshape(count, 256)
    below = np.pad(counts.cumsum(axis=1), ((0, 0), (3, 2)), mode="edge")
    below[:, :3] = 0
    return (below[:, 5:] - below[:, :-5]).max(axis=1) / pixels[0].size


def similar_pairs(
    thumbnails: Thumbnails,
    rows: Sequence[int],
    others: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> list[tuple[int, int, float]]:
    """Return the pairs (row, other, correlation) of images that are the same picture.

    Args:
        thumbnails: of all images; a pair of one image with itself is none.
        rows: places in them.
        others: places that the rows are compared with; None: with one another, each pair once.
        progress: called now and then with how many rows are done, and how many there are.
    """
    flat, plain = thumbnails.flat, thumbnails.plain
    a = _without(flat, rows)
    b = a if others is None else _without(flat, others)
    pixels = thumbnails.pixels
    hashes = hashes_of(pixels[b])
    found: dict[tuple[int, int], float] = {}
    for mirrored in (False, True):
        own = pixels[a][:, :, ::-1] if mirrored else pixels[a]
        for near in _near(hashes_of(own), hashes, plain[a], plain[b], progress):
            for start in range(0, len(near), _PAIRS):
                i, j = near[start : start + _PAIRS].T
                keep = a[i] < b[j] if others is None else a[i] != b[j]
                i, j = i[keep], j[keep]
                is_plain = plain[a[i]] | plain[b[j]]
                score = _correlations(own[i], pixels[b[j]], is_plain)
                same = score >= np.where(is_plain, BOUND_PLAIN, BOUND)
                for x, y, value in zip(a[i[same]], b[j[same]], score[same], strict=True):
                    pair = (int(x), int(y))
                    found[pair] = max(float(value), found.get(pair, 0.0))
    return [(x, y, found[x, y]) for x, y in sorted(found)]


def _without(flat: np.ndarray, places: Sequence[int]) -> np.ndarray:
    chosen = np.array(places, dtype=int)
    return chosen[~flat[chosen]]


def hashes_of(pixels: np.ndarray) -> np.ndarray:
    """Return the uint64 (N,) hashes of thumbnails (N, 32, 32)."""
    return _by_block(_hashes, pixels) if len(pixels) else np.empty(0, dtype=np.uint64)


def _hashes(pixels: np.ndarray) -> np.ndarray:
    place = (np.arange(SIDE) + 0.5) * np.pi / SIDE
    cosines = np.cos(np.arange(8)[:, None] * place)
    parts = (cosines @ pixels.astype(np.float64) @ cosines.T).reshape(len(pixels), 64)
    above = parts > np.median(parts[:, 1:], axis=1, keepdims=True)
    above[:, 0] = False
    return np.packbits(above, axis=1).view(np.uint64)[:, 0]


def _near(
    a: np.ndarray,
    b: np.ndarray,
    a_plain: np.ndarray,
    b_plain: np.ndarray,
    progress: Progress | None,
) -> Iterator[np.ndarray]:
    """Yield (n, 2) places of hashes that differ in few enough bits, of some rows of `a` a time."""
    for top in range(0, len(a), _BLOCK[0]):
        rows = slice(top, top + _BLOCK[0])
        some = []
        for left in range(0, len(b), _BLOCK[1]):
            columns = slice(left, left + _BLOCK[1])
            apart = np.bitwise_count(a[rows, None] ^ b[columns])
            all_plain = a_plain[rows].all() or b_plain[columns].all()
            i, j = np.nonzero(apart <= (BITS_PLAIN if all_plain else BITS))
            plain = a_plain[rows][i] | b_plain[columns][j]
            keep = ~plain | (apart[i, j] <= BITS_PLAIN)
            some.append(np.stack([i[keep] + top, j[keep] + left], axis=1))
        if some:
            yield np.concatenate(some)
        if progress is not None:
            progress(min(rows.stop, len(a)), len(a))


def _correlations(a: np.ndarray, b: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """Return (n,) how alike thumbnails are, (n, 32, 32) each: the best over crops but of plain."""
    scores = np.empty(len(a))
    scores[plain] = _product(_detail(a[plain], SIDE), _detail(b[plain], SIDE))
    if plain.all():
        return scores
    a, b = a[~plain], b[~plain]
    whole = _detail(a, _COARSE), _detail(b, _COARSE)
    best = _product(*whole)
    for down in _WINDOWS:
        for across in _WINDOWS:
            for one, other in ((whole[0], b), (whole[1], a)):
                best = np.maximum(best, _product(one, _detail(other, _COARSE, down, across)))
    scores[~plain] = best
    return scores


def _resampling(low: int, high: int) -> np.ndarray:
    """Return (16, 32) the matrix that averages the pixels from low to high to 16."""
    edges = np.linspace(low, high, _COARSE + 1)
    pixels = np.arange(SIDE)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.clip(covered, 0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _mean_of_five(side: int) -> np.ndarray:
    """Return (side, side) the matrix that averages each pixel with two either way, to the edge."""
    here = np.arange(side)[:, None]
    mean = np.zeros((side, side), dtype=np.float32)
    np.add.at(mean, (here, np.clip(here + np.arange(-2, 3), 0, side - 1)), 1 / 5)
    return mean


_MEANS = {side: _mean_of_five(side) for side in (_COARSE, SIDE)}
_WHOLE = _resampling(0, SIDE)
_WINDOWS = [_resampling(low, SIDE - cut) for low in _CUT for cut in _CUT]


def _detail(
    pixels: np.ndarray, side: int, down: np.ndarray = _WHOLE, across: np.ndarray = _WHOLE
) -> np.ndarray:
    """Return the pixels less the mean around them, as unit vectors (n, side²)."""
    values = pixels.astype(np.float32)
    if side < SIDE:
        values = down @ values @ across.T
    mean = _MEANS[side]
    detail = (values - mean @ values @ mean.T).reshape(len(values), side * side)
    detail -= detail.mean(axis=1, keepdims=True)
    return detail / np.maximum(np.linalg.norm(detail, axis=1, keepdims=True), 1e-9)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", a, b)
