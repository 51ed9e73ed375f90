"""Who queries whom, and what a rule keeps out of lists: from an embedding set and its columns."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from stt_bench.benchmark.config.evaluation_section import EvaluationConfig
from stt_bench.benchmark.datasets.item_rules import metadata_hash
from stt_bench.benchmark.datasets.items import ItemTable
from stt_bench.benchmark.datasets.rule_columns import group_codes, junk_flags, labels_apart
from stt_bench.benchmark.store.embedding_set import EmbeddingSet, read_embedding_set
from stt_bench.benchmark.store.protocol import COLUMNS
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.evaluation import expanded_queries


def columns_of_rules(embedded: EmbeddingSet, config: EvaluationConfig) -> dict[str, str]:
    """Return the protocol's entry on the columns that rules read: their sha256; or no entry.

    Raises:
        BenchError: the items have no such column.
    """
    named = config.columns
    if not named:
        return {}
    content = [embedded.ids.tolist(), *(embedded.column(name).tolist() for name in named)]
    return {COLUMNS: hashlib.sha256(json.dumps(content).encode()).hexdigest()}


def has_other_metadata(run: Run, items: ItemTable) -> bool:
    """Tell whether a run's test embeddings lie there beside other further columns of the items."""
    try:
        meta = read_embedding_set(run.embeddings()).meta
    except BenchError:
        return False
    return meta.get("metadata_sha256") != metadata_hash(items.frame)


def without_junk(embedded: EmbeddingSet, config: EvaluationConfig) -> EmbeddingSet:
    """Return the items that are no junk: it is neither found nor asked for.

    Raises:
        BenchError: the column is missing, a cell of it is neither true nor false, or all is junk.
    """
    return embedded if config.junk is None else embedded.rows(not_junk(embedded, config))


def not_junk(embedded: EmbeddingSet, config: EvaluationConfig) -> np.ndarray:
    """Return the places of the items that are no junk; raises as `without_junk`."""
    if config.junk is None:
        return np.arange(len(embedded.ids))
    cells = embedded.column(config.junk).tolist()
    flags = junk_flags(config.junk, cells, embedded.ids.tolist())
    return np.flatnonzero(~flags)


def queries_and_gallery(embedded: EmbeddingSet, config: EvaluationConfig) -> dict[str, Any]:
    """Return the arguments of `retrieval_metrics` that say who queries whom, by which rule.

    The set holds no junk (`without_junk`).

    Raises:
        BenchError: the items have no column of the name of `query_groups`.
    """
    labels = labels_apart(embedded.labels, config.label_separator)
    groups = groups_of(embedded, config)
    if np.all(embedded.roles == "both"):
        found: dict[str, Any] = {"embeddings": embedded.embeddings, "labels": labels}
        if groups is not None:
            found |= {"query_groups": groups, "groups_apply_to": config.groups_apply_to}
        return found
    query, gallery = (
        _places(np.isin(embedded.roles, (role, "both"))) for role in ("query", "gallery")
    )
    found = {
        "embeddings": embedded.embeddings[query],
        "labels": labels[query],
        "query_ids": embedded.ids[query],
        "gallery": embedded.embeddings[gallery],
        "gallery_labels": labels[gallery],
        "gallery_ids": embedded.ids[gallery],
    }
    if groups is not None:
        found |= {
            "query_groups": groups[query],
            "gallery_groups": groups[gallery],
            "groups_apply_to": config.groups_apply_to,
        }
    return found


def with_expanded_queries(sets: dict[str, Any], config: EvaluationConfig) -> dict[str, Any]:
    """Return the same arguments with queries that their nearest items have joined, if asked for.

    Raises:
        ValueError: the embeddings cannot be compared by cosine.
    """
    if config.query_expansion is None:
        return sets
    how: dict[str, Any] = {"k": config.query_expansion.k, "alpha": config.query_expansion.alpha}
    if "gallery" in sets:
        names = ("gallery", "query_ids", "gallery_ids")
        joined = expanded_queries(sets["embeddings"], **{n: sets[n] for n in names}, **how)
        return sets | {"embeddings": joined}
    own = np.arange(len(sets["embeddings"]))
    apart = {
        "embeddings": expanded_queries(sets["embeddings"], **how),
        "query_ids": own,
        "gallery": sets["embeddings"],
        "gallery_labels": sets["labels"],
        "gallery_ids": own,
    }
    if "query_groups" in sets:
        apart["gallery_groups"] = sets["query_groups"]
    return sets | apart


def groups_of(embedded: EmbeddingSet, config: EvaluationConfig) -> np.ndarray | None:
    """Return the `group_codes` of all items; None where there is no rule.

    Raises:
        BenchError: the items have no column of the name of `query_groups`.
    """
    if config.query_groups is None:
        return None
    return group_codes(embedded.column(config.query_groups))


def without_a_group(embedded: EmbeddingSet, config: EvaluationConfig) -> str:
    """Say how many items the rule of groups leaves alone, if any, and which is the first."""
    if config.query_groups is None or config.query_groups not in embedded.metadata:
        return ""
    empty = np.flatnonzero(embedded.column(config.query_groups) == "")
    if not len(empty):
        return ""
    more = f" and {len(empty) - 1:,} more" if len(empty) > 1 else ""
    return (
        f"{config.query_groups} is empty of item '{embedded.ids[empty[0]]}'{more}: without a "
        "group an item is taken out of no list"
    )


def _places(wanted: np.ndarray) -> np.ndarray | slice:
    """Return where a mask is true: as a slice, which copies nothing, where there are no gaps."""
    places = np.flatnonzero(wanted)
    if len(places) and places[-1] - places[0] + 1 == len(places):
        return slice(places[0], places[-1] + 1)
    return places
