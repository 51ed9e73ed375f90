"""Evaluation: from an embedding set to a result record."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.config import EvaluationConfig
from benchmark.datasets.listings import read_listing
from benchmark.embed import EmbeddingSet, read_array, read_embedding_set
from benchmark.errors import BenchError
from benchmark.hdf5 import SUFFIXES, read_hdf5
from benchmark.machine import versions
from benchmark.progress import Reporter
from benchmark.protocol import fingerprint, protocol_of
from benchmark.records import ClassScores, Listing, Record, Training, record_path
from benchmark.runs import Run
from evaluation import (
    chosen_backend,
    classification_metrics,
    clustering_metrics,
    confusion_matrix,
    retrieval_metrics,
)


def evaluate(run: Run, results: Path, reporter: Reporter) -> Record:
    """Measure a run's test embeddings and write its record below ``results/records``.

    Raises:
        BenchError: the run has no test embeddings, or they are damaged.
    """
    folder = run.embeddings("test")
    if not (folder / "meta.json").exists():
        raise BenchError(f"{run.folder} has no test embeddings; run `stt-bench embed` first")
    embedded, facts = read_embedding_set(folder), run.facts()
    if embedded.meta["checkpoint_sha256"] != facts["checkpoint_sha256"]:
        raise BenchError(f"{folder} was embedded with other weights; run `stt-bench embed` again")
    protocol = protocol_of(run.experiment, facts)
    if embedded.meta["protocol_fingerprint"] != fingerprint(protocol):
        raise BenchError(
            f"{folder} was embedded otherwise than run.json says; run `stt-bench embed`"
        )
    backend = chosen_backend()
    reporter.say(f"{run.name}: evaluate {len(embedded.embeddings):,} embeddings with {backend}")
    metrics = measure(embedded, run.experiment.evaluation, where=str(folder))
    record = Record(
        table=run.table,
        row=run.row,
        seed=run.seed,
        listing=Listing.model_validate(run.listing),
        metrics=metrics,
        experiment=run.experiment.model_copy(
            update={"data": run.experiment.data.model_copy(update={"root": None})}
        ),
        config_digest=run.experiment.digest(),
        protocol=protocol,
        protocol_fingerprint=fingerprint(protocol),
        data_hash=facts["data_hash"],
        checkpoint_sha256=facts["checkpoint_sha256"],
        embeddings_sha256=embedded.meta["embeddings_sha256"],
        training=Training.model_validate(
            {k: facts[k] for k in Training.model_fields if k in facts}
        ),
        versions=facts["versions"],
        evaluated_with={"backend": backend, **versions()},
        per_class=_per_class(embedded),
    )
    record.save(record_path(results, run.table, run.row, run.seed))
    return record


def measure(
    embedded: EmbeddingSet, config: EvaluationConfig, *, where: str = "embeddings"
) -> dict[str, float]:
    """Return all metrics of an embedding set.

    Retrieval is leave-one-out where every item has the role ``both``, else from the queries to the
    gallery; clustering is over all items; accuracy where the set holds class scores. A set with
    class scores in which no query has a positive has no retrieval metrics, and 0 queries.
    """
    try:
        metrics = {"queries": 0.0}
        if embedded.logits is None or _some_query_has_a_positive(embedded):
            metrics = retrieval_metrics(
                **_queries_and_gallery(embedded), ks=tuple(config.ks), distance=config.distance
            )
        if config.clustering:
            metrics |= clustering_metrics(
                embedded.embeddings,
                embedded.labels,
                restarts=config.restarts,
                distance=config.distance,
            )
        if embedded.logits is not None:
            metrics |= classification_metrics(embedded.logits, _targets(embedded))
    except (ValueError, TypeError) as error:
        raise BenchError(f"{where}: {error}") from None
    return {name: float(value) for name, value in metrics.items()}


def _targets(embedded: EmbeddingSet) -> np.ndarray:
    """Return (N,) the columns of the class scores that the items' labels belong to."""
    order = {name: index for index, name in enumerate(embedded.meta["classes"])}
    return np.array([order[label] for label in embedded.labels])


def _per_class(embedded: EmbeddingSet) -> ClassScores | None:
    if embedded.logits is None:
        return None
    counts = confusion_matrix(embedded.logits, _targets(embedded))
    return ClassScores.of(embedded.meta["classes"], counts)


def _some_query_has_a_positive(embedded: EmbeddingSet) -> bool:
    both = embedded.roles == "both"
    _, codes = np.unique(embedded.labels, return_inverse=True)
    queries = np.bincount(codes, both | (embedded.roles == "query"))
    gallery = np.bincount(codes, both | (embedded.roles == "gallery"))
    return bool((queries * gallery > np.bincount(codes, both)).any())


def _queries_and_gallery(embedded: EmbeddingSet) -> dict[str, Any]:
    if np.all(embedded.roles == "both"):
        return {"embeddings": embedded.embeddings, "labels": embedded.labels}
    query = np.flatnonzero(np.isin(embedded.roles, ("query", "both")))
    gallery = np.flatnonzero(np.isin(embedded.roles, ("gallery", "both")))
    return {
        "embeddings": embedded.embeddings[query],
        "labels": embedded.labels[query],
        "query_ids": embedded.ids[query],
        "gallery": embedded.embeddings[gallery],
        "gallery_labels": embedded.labels[gallery],
        "gallery_ids": embedded.ids[gallery],
    }


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
