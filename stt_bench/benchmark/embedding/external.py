"""External embeddings: those of any model, with a csv of labels, read as an embedding set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from stt_bench.benchmark.datasets.csv_lists import COLUMNS, Columns, read_item_list
from stt_bench.benchmark.datasets.item_rules import as_metadata, metadata_of
from stt_bench.benchmark.datasets.list_columns import written
from stt_bench.benchmark.datasets.splits import train_and_test
from stt_bench.benchmark.datasets.vectors import SUFFIXES, Vectors, read_vectors
from stt_bench.benchmark.store.embedding_set import EmbeddingSet
from stt_bench.benchmark.system.arrays import read_array
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.system.text import counted


def read_external_set(
    embeddings: Path,
    labels: Path,
    reporter: Reporter | None = None,
    *,
    columns: Columns | None = None,
    array: str | None = None,
) -> EmbeddingSet:
    """Read anybody's embeddings and a csv of labels in the same order.

    The embeddings are an (N, D) ``.npy`` file, the dataset ``emb`` of an HDF5 file, or columns of
    a Parquet file (`read_vectors`), which may be the list of labels, too. The csv has a header with
    ``label`` and, if wanted, ``id`` (or ``path``), ``split`` (or ``is_train``), and ``role`` (or
    ``is_query`` and ``is_gallery``); or it has no header and one column, or ``class,path``. With a
    split the test items are measured; the embeddings may then be those of all items or those of the
    test items alone. What is not used is told. `columns` says what the columns are where their
    names do not: ``{"label": "kind"}``; `array` names the dataset of an HDF5 file (else
    ``emb``), or the column of lists of a Parquet file.

    Raises:
        BenchError: a file is missing or malformed, an item has no label, the two are of different
            lengths or, where both name the items, of different items, or the gallery has one class.
    """
    named = embeddings.suffix.lower() in SUFFIXES or array is not None
    found = read_vectors(embeddings, array) if named else Vectors(read_array(embeddings))
    vectors, own_ids = found.array, found.ids
    frame, notes, _ = read_item_list(
        labels,
        known=("id", *COLUMNS),
        required=("label",),
        headerless={1: ("label",), 2: ("label", "path")},
        formats="a csv of labels has a header with label (and id, path, split, role), or no header "
        "and a label or class,path a line; else name its column by "
        + written({} if columns is None else columns, {"label": "NAME"}),
        columns=columns,
        without=found.columns if labels.resolve() == embeddings.resolve() else (),
    )
    tested, told = _tested(labels, frame)
    if len(vectors) not in (len(frame), len(tested)):
        parts = f", {len(tested)} of them to be measured" if len(tested) < len(frame) else ""
        raise BenchError(
            f"{embeddings} has {len(vectors)} rows but {labels} has {len(frame)} labels{parts}; "
            f"they must be the same items in the same order{_header_taken(vectors, frame, columns)}"
        )
    rows = None
    if len(vectors) == len(frame) and len(tested) < len(frame):
        places = tested.index.to_numpy()
        rows, vectors, own_ids = (
            places,
            vectors[places],
            None if own_ids is None else own_ids[places],
        )
    ids = _column(tested, "id", "path")
    if own_ids is not None and ids is not None and (own_ids != ids).any():
        first = int((own_ids != ids).argmax())
        raise BenchError(
            f"{embeddings} and {labels} are not the same items in the same order: entry "
            f"{first + 1} is {own_ids[first]} there and {ids[first]} here; sort the csv"
        )
    roles = _column(tested, "role")
    roles = np.full(len(tested), "both") if roles is None else roles
    _check_classes(labels, tested["label"][roles != "query"])
    for note in [*notes, *(f"{labels}: {one}" for one in told)]:
        (reporter or Reporter(quiet=True)).say(f"note: {note}")
    return EmbeddingSet(
        vectors,
        tested["label"].to_numpy(dtype=str),
        (tested.index.to_numpy() + 1).astype(str) if ids is None else ids,
        roles,
        None,
        {},
        pd.DataFrame({name: as_metadata(tested[name]) for name in metadata_of(tested)}),
        listed_in=labels,
        places=rows,
    )


def _header_taken(array: np.ndarray, frame: pd.DataFrame, columns: Columns | None) -> str:
    """Say how a header of other names comes to be a label."""
    if len(frame) != len(array) + 1:
        return ""
    first = frame["label"].iloc[0]
    how = written({} if columns is None else columns, {"label": first})
    return f" (if the first label, '{first}', is a header, say so by {how})"


def _tested(labels: Path, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the items that are measured: those of the test split, if there are splits."""
    kept, notes = train_and_test(frame)
    if "split" not in kept:
        return kept, notes
    tested = kept[kept["split"] == "test"]
    if tested.empty:
        raise BenchError(
            f"{labels}: its column split has no test items, and these are measured: name them test "
            "or val, or leave the column out"
        )
    if len(tested) < len(kept):
        others = counted(len(kept) - len(tested), "train item")
        notes.append(f"{counted(len(tested), 'test item')} measured, {others} not")
    return tested, notes


def _column(frame: pd.DataFrame, *names: str) -> np.ndarray | None:
    """Return the first of the named columns that there is."""
    return next((frame[name].to_numpy(dtype=str) for name in names if name in frame), None)


def _check_classes(labels: Path, gallery: pd.Series) -> None:
    if gallery.nunique() == 1:
        raise BenchError(
            f"{labels}: all items that can be found are of the class '{gallery.iloc[0]}', so that "
            "every retrieval metric is 100 whatever the embeddings are: add items of other classes"
        )
