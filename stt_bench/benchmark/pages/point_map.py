"""Maps of test embeddings, a point an item, with its picture on hover and on focus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import to_hex

from stt_bench.benchmark.datasets.image_set import ImageSet
from stt_bench.benchmark.inspection.maps import class_colours
from stt_bench.benchmark.inspection.projection import TITLES, Method, project
from stt_bench.benchmark.pages.looked_at import SEED, LookedAt
from stt_bench.benchmark.pages.section import Section, rendered
from stt_bench.benchmark.pages.thumbs import Sprite, small_pictures, sprite_within
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.evaluation.exact import Points

POINTS = 500
_SIZE = 600  # of the plane, in its own units
_MARGIN = 14
_NUMBERED = 100  # classes that bear their number on the map; more are told by their points alone
_TILE = 48


@dataclass(frozen=True)
class Point:
    """An item on the map: its place, class number, and whose it is."""

    x: str
    y: str
    kind: int


@dataclass(frozen=True)
class RowMap:
    """The map of one row: the points in the items' order, and where each class has its number."""

    label: str
    points: list[Point]
    numbers: list[tuple[str, str, int]]


def map_section(
    looked: Sequence[LookedAt],
    images: ImageSet | None,
    told: Sequence[str],
    budget: int,
    *,
    method: Method = "tsne",
    most: int = POINTS,
) -> Section:
    """Return maps of the rows' embeddings of the same items, and one sprite of their pictures.

    Args:
        looked: the rows.
        images: of the test split, or None where there is none to show.
        told: sentences on what is not there.
        budget: bytes that the sprite may take; its tiles become smaller to fit, or it is left out.
        method: how the plane is found.
        most: items drawn, with a seed, from a larger test split.
    """
    told = list(told)
    maps: list[RowMap] = []
    sprite: Sprite | None = None
    ids: list[str] = []
    labels, names = np.empty(0, dtype=str), np.empty(0, dtype=str)
    if looked:
        embedded = looked[0].embedded
        total = len(embedded.ids)
        rows = np.sort(np.random.default_rng(SEED).permutation(total)[:most])
        ids, labels = embedded.ids[rows].tolist(), embedded.labels[rows]
        names = np.unique(embedded.labels)
        kinds = np.searchsorted(names, labels)
        for one in looked:
            try:
                points = Points(
                    one.embedded.embeddings, one.run.experiment.evaluation.distance
                ).rows(rows)
                maps.append(row_map(one.row.label, project(points, method, SEED), kinds))
            except BenchError as error:
                told.append(f"{one.row.label} has no map: {error}.")
        if images is not None and maps:
            sprite = sprite_within(small_pictures(images, ids, _TILE), budget)
    colours = [to_hex(colour) for colour in class_colours(len(names))]
    html = rendered(
        "map.html",
        told=told,
        method=TITLES[method],
        maps=maps,
        ids=ids,
        labels=labels.tolist(),
        total=len(looked[0].embedded.ids) if looked else 0,
        names=names.tolist(),
        colours=colours,
        numbered=len(names) <= _NUMBERED,
        sprite=sprite,
        without=images is not None and bool(maps) and sprite is None,
        size=_SIZE,
    )
    return Section("map", "Map of the embeddings", html)


def row_map(label: str, points: np.ndarray, kinds: np.ndarray) -> RowMap:
    """Return (N, 2) points scaled into the plane, upwards as they are, and the classes' medians."""
    low, high = points.min(axis=0), points.max(axis=0)
    scale = (_SIZE - 2 * _MARGIN) / max(float((high - low).max()), np.finfo(float).tiny)
    placed = (points - (low + high) / 2) * scale * (1, -1) + _SIZE / 2
    told = [(f"{x:.1f}", f"{y:.1f}") for x, y in placed.tolist()]
    medians = {kind: np.median(placed[kinds == kind], axis=0) for kind in np.unique(kinds).tolist()}
    return RowMap(
        label,
        [Point(*at, kind) for at, kind in zip(told, kinds.tolist(), strict=True)],
        [(f"{x:.0f}", f"{y:.0f}", kind) for kind, (x, y) in medians.items()],
    )
