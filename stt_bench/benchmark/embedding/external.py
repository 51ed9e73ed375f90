"""Anybody's embeddings and labels, read as an embedding set."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from stt_bench.benchmark.datasets.csv_lists import read_listing
from stt_bench.benchmark.embedding.hdf5 import SUFFIXES, read_hdf5
from stt_bench.benchmark.store.embedding_set import EmbeddingSet, read_array
from stt_bench.benchmark.system.errors import BenchError


def read_foreign_set(embeddings: Path, labels: Path) -> EmbeddingSet:
    """Read anybody's embeddings and a csv of labels in the same order.

    The embeddings are an (N, D) ``.npy`` file, or the dataset ``emb`` of an HDF5 file. The csv has
    a header with ``label`` and, if wanted, ``id`` and ``role`` (query, gallery, both); or it has no
    header and one column, or the two columns ``class,path``.

    Raises:
        BenchError: a file is missing or malformed, an item has no label, or the two are of
            different lengths or, where both name the items, of different items.
    """
    array, own_ids = (
        read_hdf5(embeddings) if embeddings.suffix in SUFFIXES else (read_array(embeddings), None)
    )
    try:
        with labels.open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream, skipinitialspace=True) if any(row)]
    except FileNotFoundError:
        raise BenchError(f"{labels}: there is no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BenchError(f"{labels}: cannot be read as csv ({error})") from None
    if not rows:
        raise BenchError(f"{labels}: is empty; one label a line is expected")
    header = [cell.strip() for cell in rows[0]]
    if "label" in header:
        rows = rows[1:]
    elif len(header) == 1:
        header = ["label"]
    elif len(header) == 2:
        header, rows = ["id", "label"], read_listing(labels)[["path", "label"]].to_numpy().tolist()
    else:
        raise BenchError(
            f"{labels}, line 1: a header with 'label' (and 'id', 'role'), a single column, "
            f"or lines class,path are expected, found {','.join(header)}"
        )
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise BenchError(
                f"{labels}: entry {number} has {len(row)} fields, the header has {len(header)}"
            )
    if len(rows) != len(array):
        raise BenchError(
            f"{embeddings} has {len(array)} rows but {labels} has {len(rows)} labels; "
            "they must be the same items in the same order"
        )
    columns = {name: np.array([row[i].strip() for row in rows]) for i, name in enumerate(header)}
    unlabelled = np.flatnonzero(columns["label"] == "")
    if len(unlabelled):
        raise BenchError(
            f"{labels}: entry {unlabelled[0] + 1} has no label ({len(unlabelled)} such): metrics "
            "need the label of every item"
        )
    roles = columns.get("role", np.full(len(rows), "both"))
    wrong = np.flatnonzero(~np.isin(roles, ("query", "gallery", "both")))
    if len(wrong):
        raise BenchError(
            f"{labels}: entry {wrong[0] + 1} has role '{roles[wrong[0]]}'; "
            "valid: query, gallery, both"
        )
    ids = columns.get("id", np.arange(len(rows)).astype(str))
    if own_ids is not None and "id" in columns and (own_ids != ids).any():
        first = int((own_ids != ids).argmax())
        raise BenchError(
            f"{embeddings} and {labels} are not the same items in the same order: entry "
            f"{first + 1} is {own_ids[first]} there and {ids[first]} here; sort the csv"
        )
    return EmbeddingSet(array, columns["label"], ids, roles, None, {})
