"""Retrieval of an embedding set under one distance: the scores of every query, and by class."""

from __future__ import annotations

from typing import Any

import numpy as np

from stt_bench.benchmark.config.evaluation_section import EvaluationConfig
from stt_bench.benchmark.scoring.rules import (
    queries_and_gallery,
    with_expanded_queries,
    without_junk,
)
from stt_bench.benchmark.store.class_records import ClassRetrieval
from stt_bench.benchmark.store.distances import Distance
from stt_bench.benchmark.store.embedding_set import EmbeddingSet
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.evaluation import (
    NoPositiveError,
    QueryScores,
    class_values,
    reranked_scores,
    retrieval_scores,
    verification_metrics,
)
from stt_bench.evaluation.measures import USUAL

# Decimals that a record keeps: the sums of C classes still give their metric to 1e-9.
_OF_SUMS, _OF_VALUES = 9, 7


def scores_of_queries(
    embedded: EmbeddingSet, config: EvaluationConfig, distance: Distance, reporter: Reporter
) -> QueryScores:
    """Return the retrieval metrics of every query of a set without junk.

    Raises:
        ValueError: they cannot be measured by this distance.
    """
    sets = with_expanded_queries(queries_and_gallery(embedded, config), config)
    how: dict[str, Any] = {
        "ks": tuple(config.ks),
        "metrics": (*USUAL, *config.metrics),
        "map_at_k": config.map_at_k,
        "distance": distance,
        "memory_mib": config.memory_mib,
    }
    with reporter.bar(f"retrieval, {distance}", len(sets["labels"])) as bar:
        if config.rerank is not None:
            settings = config.rerank.model_dump()
            return reranked_scores(**sets, **how, **settings, progress=bar.of)
        return retrieval_scores(
            **sets, **how, backend=config.backend, sample=config.queries, progress=bar.of
        )


def retrieval_of(
    embedded: EmbeddingSet, config: EvaluationConfig, distance: Distance, reporter: Reporter
) -> tuple[dict[str, float], QueryScores]:
    """Return the means over queries, or classes, beside the scores; and verification, if asked for.

    Verification is of all pairs by the plain distance: nothing joins queries or makes lists anew.

    Raises:
        ValueError: they cannot be measured by this distance.
    """
    scores = scores_of_queries(embedded, config, distance, reporter)
    metrics = scores.metrics("class" if config.class_average else "query")
    if config.verification is None:
        return metrics, scores
    with reporter.bar(f"verification, {distance}", 1) as bar:
        pairs = verification_metrics(
            **queries_and_gallery(embedded, config),
            fars=config.verification,
            distance=distance,
            memory_mib=config.memory_mib,
            progress=bar.of,
        )
    return metrics | pairs, scores


def shares_of_classes(
    embedded: EmbeddingSet, config: EvaluationConfig, distance: Distance, reporter: Reporter
) -> ClassRetrieval | None:
    """Return the share of each class in Recall@1, if K has 1, and MAP@R; None without such a thing.

    That is where one class alone has any, where items have several labels, and where lists follow
    from neighbours of neighbours: without a class all of them would have to be made again. A sample
    of the queries has some of no class.
    """
    if config.reorders or config.label_separator is not None or config.queries is not None:
        return None
    try:
        with reporter.bar(f"classes left out, {distance}", 1) as bar:
            found = class_values(
                **queries_and_gallery(without_junk(embedded, config), config),
                ks=(1,),
                distance=distance,
                weighting="class" if config.class_average else "auto",
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
                if name == "map@r" or (name == "recall@1" and 1 in config.ks)
            },
        }
    )


def some_query_has_a_positive(embedded: EmbeddingSet, config: EvaluationConfig) -> bool:
    """Tell whether retrieval can be measured at all, of a set without junk."""
    both = embedded.roles == "both"
    _, codes = np.unique(embedded.labels, return_inverse=True)
    queries = np.bincount(codes, both | (embedded.roles == "query"))
    gallery = np.bincount(codes, both | (embedded.roles == "gallery"))
    found = bool((queries * gallery > np.bincount(codes, both)).any())
    if config.label_separator is None and (config.query_groups is None or not found):
        return found
    sets = queries_and_gallery(embedded, config)
    for name in ("embeddings", "gallery"):  # what the vectors are does not matter
        if name in sets:
            sets[name] = np.zeros((len(sets[name]), 1))
    try:
        retrieval_scores(**sets, ks=(1,), metrics=("recall",))
    except NoPositiveError:
        return False
    return True
