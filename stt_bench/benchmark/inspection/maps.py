"""Maps of a run's embeddings: points coloured by class, thumbnails, TensorBoard's projector."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np

from stt_bench.benchmark.datasets import Split, load_items
from stt_bench.benchmark.datasets.image_set import image_set
from stt_bench.benchmark.embedding.embed import check_takes_images, embed
from stt_bench.benchmark.inspection.projection import TITLES, Method, project
from stt_bench.benchmark.inspection.projector import write_projector
from stt_bench.benchmark.inspection.thumbnails import rows_of, thumbnails
from stt_bench.benchmark.store.embedding_set import read_embedding_set
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.system.outputs import check_output
from stt_bench.benchmark.system.png import add_legend, drawn_figure, save_png
from stt_bench.benchmark.system.png import title as title_of
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.evaluation.exact import Points

_CANVAS = 2400  # pixels a side of the picture with thumbnails
_WIDTH = 9.0  # inches of the map
_LEGEND = 20  # classes that a legend names; more are numbered
_NUMBERED = 100  # classes that are numbered; more are told by colour alone


def draw_map(
    run: Run,
    reporter: Reporter,
    *,
    method: Method,
    split: Split,
    sample: int,
    with_thumbnails: bool,
    seed: int,
    to: Path | None,
    force: bool,
) -> list[Path]:
    """Draw a map of a split's embeddings and write TensorBoard's projector files.

    The map shows distances as the run's evaluation does: with ``cosine`` of unit-length rows.

    Args:
        run: A trained run; the split is embedded first if it is not yet.
        reporter: Shows the progress.
        method: How the plane is found.
        split: Whose embeddings.
        sample: Items at most, drawn uniformly from the split whatever their class.
        with_thumbnails: A second picture (``…-thumbnails.png``), of the images themselves.
        seed: Of the sample and the method.
        to: The picture; ``maps/SPLIT-METHOD.png`` in the run's folder if None.
        force: Overwrite a file that is not ours.

    Returns:
        What was written: pictures, then the folder ``projector`` in the run's.

    Raises:
        BenchError: the run is of vectors or not trained to its end, or its embeddings give no map,
            or a picture would overwrite a file that is not ours.
    """
    check_takes_images(run)
    force = force or to is None
    to = to or run.folder / "maps" / f"{split}-{method}.png"
    of_images = to.with_name(f"{to.stem}-thumbnails{to.suffix}")
    for file in [to, of_images] if with_thumbnails else [to]:
        check_output(file, force=force)
    items = load_items(run.experiment.data)
    embedded = read_embedding_set(embed(run, reporter, split=split, items=items))
    total = len(embedded.ids)
    rows = np.random.default_rng(seed).permutation(total)[:sample]
    labels, ids = embedded.labels[rows], embedded.ids[rows]
    reporter.say(f"{run.name}: {TITLES[method]} of {len(rows):,} embeddings")
    points = project(
        Points(embedded.embeddings, run.experiment.evaluation.distance).rows(rows), method, seed
    )
    title = f"{run.name}, {TITLES[method]} of {len(rows):,} of {total:,} {split} embeddings"
    draw_points(points, labels, title, to)
    images = image_set(items, split, run.experiment.input, training=False)
    pictures = thumbnails(images, rows_of(ids, items.split(split)))
    written = [to]
    if with_thumbnails:
        written.append(of_images)
        save_png(place_thumbnails(points, pictures), of_images)
    projector = run.folder / "projector"
    write_projector(projector, run.name, embedded.embeddings[rows], labels, ids, pictures)
    return [*written, projector]


def draw_points(points: np.ndarray, labels: np.ndarray, title: str, path: Path) -> None:
    """Draw (N, 2) points coloured by class.

    Up to 20 classes have a legend; up to 100 bear their number (in the order of their names) where
    their median is.
    """
    names, classes = np.unique(labels, return_inverse=True)
    colours = class_colours(len(names))
    with drawn_figure(path, _WIDTH, 7.0) as figure:
        axis = figure.subplots()
        area = max(4.0, min(40.0, 20_000 / len(points)))
        axis.scatter(points[:, 0], points[:, 1], c=colours[classes], s=area, lw=0)
        figure.suptitle(title_of(title, _WIDTH, 10), fontsize=10, parse_math=False)
        axis.set(xticks=[], yticks=[], aspect="equal", box_aspect=1)
        axis.set_adjustable("datalim")
        if len(names) <= _LEGEND:
            dots = [axis.scatter([], [], color=colour) for colour in colours]
            entries = list(zip(dots, names, strict=True))
            add_legend(figure, entries, loc="outside right center", fontsize=8, frameon=False)
        elif len(names) <= _NUMBERED:
            axis.set_xlabel("numbers: classes in the order of their names", fontsize=8)
            for number in range(len(names)):
                x, y = np.median(points[classes == number], axis=0)
                axis.text(
                    x, y, str(number + 1), fontsize=8, weight="bold", ha="center", va="center"
                )


def class_colours(number: int) -> np.ndarray:
    """Return (C, 3) colours in [0, 1]: matplotlib's own up to 20 classes, else spread over hues."""
    from matplotlib import colormaps

    if number <= _LEGEND:
        palette = colormaps["tab10" if number <= 10 else "tab20"]
        return np.array([palette(index)[:3] for index in range(number)])
    golden = (5**0.5 - 1) / 2  # neighbours in name are far apart in hue
    return np.array([colorsys.hsv_to_rgb(i * golden % 1, 0.7, 0.85) for i in range(number)])


def place_thumbnails(points: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """Return the (S, S, 3) picture of (N, T, T, 3) thumbnails placed at their (N, 2) points.

    In the order given, a thumbnail that would overlap one already placed is left out.
    """
    side = pictures.shape[1]
    low, high = points.min(axis=0), points.max(axis=0)
    scale = (_CANVAS - side) / max(float((high - low).max()), np.finfo(float).tiny)
    corners = np.rint((points - (low + high) / 2) * scale + (_CANVAS - side) / 2).astype(int)
    corners[:, 1] = _CANVAS - side - corners[:, 1]  # upwards, as in the other picture
    canvas = np.full((_CANVAS, _CANVAS, 3), 255, dtype=np.uint8)
    placed = np.empty((0, 2), dtype=int)
    for corner, picture in zip(corners, pictures, strict=True):
        if (np.abs(placed - corner) < side).all(axis=1).any():
            continue
        placed = np.vstack([placed, corner])
        left, top = corner
        canvas[top : top + side, left : left + side] = picture
    return canvas
