"""The nearest items of query images, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from stt_bench.benchmark.datasets import ItemTable, Split, load_items
from stt_bench.benchmark.datasets.groups import ids_of
from stt_bench.benchmark.datasets.image_set import image_set
from stt_bench.benchmark.datasets.transforms import center_crop, prepare
from stt_bench.benchmark.embedding.embed import check_takes_images, embed, embed_queries
from stt_bench.benchmark.inspection.queries import item_of, open_image
from stt_bench.benchmark.inspection.thumbnails import rows_of, shown
from stt_bench.benchmark.inspection.two_images import distances_between
from stt_bench.benchmark.store.embedding_set import EmbeddingSet, read_embedding_set
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.system.png import drawn_figure, label, title
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.system.text import decimals

_CELL = 1.2  # inches a picture
_LONGEST_LABEL = 20
_DRAWN = 50  # queries, and answers of each: a picture has at most 65,536 pixels a side
_RIGHT, _WRONG, _QUERY = "#2e7d32", "#c0504d", "#1f4e79"


@dataclass(frozen=True)
class Query:
    """An image asked about; id and label are None where it is no item of the dataset."""

    name: str
    image: Image.Image
    id: str | None
    label: str | None


def find_neighbors(
    run: Run,
    names: Sequence[str],
    reporter: Reporter,
    *,
    k: int,
    split: Split,
    to: Path,
) -> pd.DataFrame:
    """Find the nearest items of a split for each query image, and draw them.

    Searched are the items of the split that may be answers (role ``gallery`` or ``both``), by the
    run's own distance; a query that is one of them is left out of its own answers. Items at equal
    distances come in the order of the item table.

    Args:
        run: A trained run; the split is embedded first if it is not yet.
        names: Image files, or ids of items of the run's dataset.
        reporter: Shows the progress.
        k: Answers a query.
        split: Where to search.
        to: The picture, of the first 50 queries and 50 answers each.

    Returns:
        The columns query, rank (from 1), id, label and distance.

    Raises:
        BenchError: an image cannot be found or read, or the run is of vectors, or not trained to
            its end.
    """
    check_takes_images(run)
    items = load_items(run.experiment.data)
    queries = _open_queries(list(dict.fromkeys(names)), items)
    embedded = read_embedding_set(embed(run, reporter, split=split, items=items))
    vectors = embed_queries(run, {query.name: query.image for query in queries}, reporter)
    found = nearest(queries, vectors, embedded, run.experiment.evaluation.distance, k)
    drawn = found[found["rank"] <= _DRAWN]
    _draw(drawn, queries[:_DRAWN], items, split, run, to)
    return found


def nearest(
    queries: Sequence[Query], vectors: np.ndarray, embedded: EmbeddingSet, distance: str, k: int
) -> pd.DataFrame:
    """Return the k nearest items of (Q, D) query embeddings; see `find_neighbors`."""
    gallery = np.flatnonzero(np.isin(embedded.roles, ("gallery", "both")))
    table = distances_between(vectors, embedded.embeddings[gallery], distance)
    parts = []
    for query, distances in zip(queries, table, strict=True):
        others = np.flatnonzero(embedded.ids[gallery] != (query.id or ""))
        order = others[np.argsort(distances[others], kind="stable")[:k]]
        parts.append(
            pd.DataFrame(
                {
                    "query": query.name,
                    "rank": np.arange(1, len(order) + 1),
                    "id": embedded.ids[gallery[order]],
                    "label": embedded.labels[gallery[order]],
                    "distance": distances[order],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _open_queries(names: Sequence[str], items: ItemTable) -> list[Query]:
    frame = items.frame.assign(id=ids_of(items.frame)).set_index("path")
    queries = []
    for name in names:
        image = open_image(name, lambda: items)
        own = item_of(name, image, items)
        known = (None, None) if own is None else (frame["id"][own], frame["label"][own])
        queries.append(Query(name, image, *known))
    return queries


def _draw(
    found: pd.DataFrame,
    queries: Sequence[Query],
    items: ItemTable,
    split: Split,
    run: Run,
    path: Path,
) -> None:
    """Draw a row of pictures a query, as the network sees them; the frame tells right or wrong."""
    config = run.experiment.input
    images = image_set(items, split, config, training=False)
    columns = 1 + int(found["rank"].to_numpy().max(initial=0))
    width = _CELL * columns
    heading = title(f"{run.name}: nearest of {split}", width, 9)
    height = (_CELL + 0.35) * len(queries) + 0.15 * (heading.count("\n") + 2)
    with drawn_figure(path, width, height) as figure:
        figure.suptitle(heading, fontsize=9, parse_math=False)
        grid = figure.subplots(len(queries), columns, squeeze=False)
        for axis in grid.flat:
            axis.set_axis_off()
        for query, axes in zip(queries, grid, strict=True):
            own = center_crop(prepare(query.image, config), config.size)
            _picture(axes[0], own.numpy(), query.label or Path(query.name).name, "query", _QUERY)
            answers = found[found["query"] == query.name]
            pixels = images.batch(rows_of(answers["id"], items.split(split))).numpy()
            columns_of = (axes[1:], pixels, answers["label"], answers["distance"])
            for axis, image, name, distance in zip(*columns_of, strict=False):
                same = _RIGHT if name == query.label else _WRONG
                _picture(
                    axis, image, name, decimals(distance, 3), "0.6" if query.label is None else same
                )


def _picture(axis, image: np.ndarray, name: str, text: str, colour: str) -> None:  # type: ignore[no-untyped-def]
    axis.set_axis_on()
    axis.imshow(shown(image), cmap="gray", vmin=0, vmax=255)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set(color=colour, linewidth=2)
    axis.set_xlabel(f"{label(name, _LONGEST_LABEL)}\n{text}", fontsize=6, parse_math=False)
