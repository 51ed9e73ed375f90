"""Retrieval of an embedding set under one distance: the scores of every query, and by class."""

from __future__ import annotations

from typing import Any

import numpy as np

from stt_bench.benchmark.config.evaluation_section import EvaluationConfig
from stt_bench.benchmark.store.class_records import ClassRetrieval
from stt_bench.benchmark.store.distances import Distance
from stt_bench.benchmark.store.embedding_set import EmbeddingSet
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.evaluation import QueryScores, class_values, retrieval_scores

# Decimals that a record keeps: the sums of C classes still give their metric to 1e-9.
_OF_SUMS, _OF_VALUES = 9, 7


def scores_of_queries(
    embedded: EmbeddingSet, config: EvaluationConfig, distance: Distance, reporter: Reporter
) -> QueryScores:
    """Return the retrieval metrics of every query.

    Raises:
        ValueError: they cannot be measured by this distance.
    """
    sets = queries_and_gallery(embedded)
    with reporter.bar(f"retrieval, {distance}", len(sets["labels"])) as bar:
        return retrieval_scores(
            **sets,
            ks=tuple(config.ks),
            distance=distance,
            backend=config.backend,
            memory_mib=config.memory_mib,
            progress=bar.of,
        )


def shares_of_classes(
    embedded: EmbeddingSet, config: EvaluationConfig, distance: Distance, reporter: Reporter
) -> ClassRetrieval | None:
    """Return the share of each class in Recall@1 and MAP@R; None where one class alone has any."""
    try:
        with reporter.bar(f"classes left out, {distance}", 1) as bar:
            found = class_values(
                **queries_and_gallery(embedded),
                ks=(1,),
                distance=distance,
                memory_mib=config.memory_mib,
                progress=bar.of,
            )
    except ValueError:  # retrieval itself could be measured: one class alone has a positive
        return None
    return ClassRetrieval.model_validate(
        {
            "groups": found.groups.tolist(),
            "counts": found.counts.tolist(),
            "weighting": found.weighting,
            "metrics": {
                name: {
                    "sums": found.sums[:, place].round(_OF_SUMS).tolist(),
                    "values": found.values[:, place].round(_OF_VALUES).tolist(),
                }
                for place, name in enumerate(found.names)
                if name in ("recall@1", "map@r")
            },
        }
    )


def some_query_has_a_positive(embedded: EmbeddingSet) -> bool:
    """Tell whether retrieval can be measured at all."""
    both = embedded.roles == "both"
    _, codes = np.unique(embedded.labels, return_inverse=True)
    queries = np.bincount(codes, both | (embedded.roles == "query"))
    gallery = np.bincount(codes, both | (embedded.roles == "gallery"))
    return bool((queries * gallery > np.bincount(codes, both)).any())


def queries_and_gallery(embedded: EmbeddingSet) -> dict[str, Any]:
    """Return the arguments of `retrieval_metrics` that say who queries whom."""
    if np.all(embedded.roles == "both"):
        return {"embeddings": embedded.embeddings, "labels": embedded.labels}
    query, gallery = (
        _places(np.isin(embedded.roles, (role, "both"))) for role in ("query", "gallery")
    )
    return {
        "embeddings": embedded.embeddings[query],
        "labels": embedded.labels[query],
        "query_ids": embedded.ids[query],
        "gallery": embedded.embeddings[gallery],
        "gallery_labels": embedded.labels[gallery],
        "gallery_ids": embedded.ids[gallery],
    }


def _places(wanted: np.ndarray) -> np.ndarray | slice:
    """Return where a mask is true: as a slice, which copies nothing, where there are no gaps."""
    places = np.flatnonzero(wanted)
    if len(places) and places[-1] - places[0] + 1 == len(places):
        return slice(places[0], places[-1] + 1)
    return places
