"""The checked arguments of a search: queries, gallery, and what is in whose list."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from stt_bench.evaluation.checks import (
    NoPositiveError,
    as_array,
    check_choice,
    check_labels,
    check_matrix,
    check_same_kind,
)
from stt_bench.evaluation.exact import DISTANCES, Points, points_to_rank
from stt_bench.evaluation.gallery import Gallery
from stt_bench.evaluation.label_sets import LabelSets, label_sets
from stt_bench.evaluation.ruled_gallery import RULES, RuledGallery


class Rules(NamedTuple):
    """What keeps items out of lists, as `retrieval_metrics` takes it."""

    query_groups: ArrayLike | None = None
    gallery_groups: ArrayLike | None = None
    junk: ArrayLike | None = None
    groups_apply_to: str = "label"


def search_space(
    embeddings: ArrayLike,
    labels: ArrayLike,
    gallery: ArrayLike | None,
    gallery_labels: ArrayLike | None,
    query_ids: ArrayLike | None,
    gallery_ids: ArrayLike | None,
    distance: str,
    rules: Rules | None = None,
) -> tuple[Points, Gallery, LabelSets]:
    """Return the checked queries, the gallery, and the labels; some query has a positive.

    Without `rules` every item has one label.
    """
    check_choice("distance", distance, DISTANCES)
    sets = sets_of(embeddings, labels, gallery, gallery_labels, query_ids, gallery_ids, rules)
    if sets.gallery is None:
        (queries,) = points_to_rank(distance, sets.queries)
        held, size = queries, None
    else:
        queries, held = points_to_rank(distance, sets.queries, sets.gallery)
        size = len(held)
    if rules is None and sets.labels.members is not None:
        raise ValueError("labels must be one label for every item here, not a list of labels.")
    return queries, gallery_of(held, sets.labels, sets.own_rows, rules, size), sets.labels


class Sets(NamedTuple):
    """Queries and gallery as they were given, checked.

    `queries` (Q, D), `gallery` (G, D) or None where the queries are the gallery, the `labels` of
    both, and for each query its `own_rows` (Q,) in the gallery, or -1.
    """

    queries: np.ndarray
    gallery: np.ndarray | None
    labels: LabelSets
    own_rows: np.ndarray


def sets_of(
    embeddings: ArrayLike,
    labels: ArrayLike,
    gallery: ArrayLike | None,
    gallery_labels: ArrayLike | None,
    query_ids: ArrayLike | None,
    gallery_ids: ArrayLike | None,
    rules: Rules | None = None,
) -> Sets:
    """Return the checked queries and gallery with their labels.

    Raises:
        ValueError: they do not fit each other.
    """
    queries = check_matrix("embeddings", embeddings)
    size = len(queries)
    if gallery is None:
        only_with_a_gallery(query_ids, gallery_ids, rules, gallery_labels)
        return Sets(queries, None, label_sets(labels, size, None, size), np.arange(size))
    if gallery_labels is None:
        raise ValueError("gallery needs gallery_labels.")
    held = check_matrix("gallery", gallery)
    if held.shape[1] != queries.shape[1]:
        raise ValueError(
            f"gallery has {held.shape[1]} dimensions and embeddings has {queries.shape[1]}."
        )
    own_rows = own_rows_of(query_ids, gallery_ids, size, len(held))
    return Sets(queries, held, label_sets(labels, size, gallery_labels, len(held)), own_rows)


def only_with_a_gallery(
    query_ids: ArrayLike | None,
    gallery_ids: ArrayLike | None,
    rules: Rules | None,
    gallery_labels: ArrayLike | None = None,
    *,
    missing: str = "gallery",
) -> None:
    """Refuse what has no meaning where the queries are the gallery, for want of an argument."""
    for name, value in [
        ("gallery_labels", gallery_labels),
        ("query_ids", query_ids),
        ("gallery_ids", gallery_ids),
        ("gallery_groups", rules and rules.gallery_groups),
        ("junk", rules and rules.junk),
    ]:
        if value is not None:
            raise ValueError(f"{name} needs {missing}.")


def gallery_of(
    held: Points,
    sets: LabelSets,
    own_rows: np.ndarray,
    rules: Rules | None,
    gallery: int | None,
    *,
    apart: bool = False,
) -> Gallery:
    """Return the gallery of items, of which some query has a positive.

    Args:
        held: the items' points.
        sets: the labels.
        own_rows: (Q,) the item that a query is, or -1.
        rules: what keeps items out of lists.
        gallery: how many items there are; None where the queries are the gallery.
        apart: keep each point by itself, whatever its labels.
    """
    groups, junk = None, None
    if rules is not None:
        check_choice("groups_apply_to", rules.groups_apply_to, RULES)
        groups = _groups(rules, len(sets.queries), gallery)
        junk = None if rules.junk is None else _junk(rules.junk, len(held))
    searched: Gallery
    if groups is None and junk is None and sets.members is None and not apart:
        searched = Gallery(held, sets.gallery, sets.queries, own_rows)
    else:
        rule = "label" if rules is None else rules.groups_apply_to
        searched = RuledGallery(held, sets, own_rows, groups, rule, junk)
    if not searched.relevant.any():
        left = " that a rule or junk leaves in" if groups is not None or junk is not None else ""
        raise NoPositiveError(
            f"No query has a positive: no other item of the gallery{left} has its label."
        )
    return searched


def _groups(
    rules: Rules, queries: int, gallery: int | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the groups of queries and items as integers from 0; `gallery` is None for one set."""
    asked, held = rules.query_groups, rules.gallery_groups
    if asked is None and held is None:
        return None
    if asked is None or (held is None and gallery is not None):
        raise ValueError("query_groups and gallery_groups go together.")
    own = check_labels("query_groups", asked, queries)
    if held is None or gallery is None:
        _, codes = np.unique(own, return_inverse=True)
        return codes, codes
    theirs = check_labels("gallery_groups", held, gallery)
    check_same_kind("query_groups", own, "gallery_groups", theirs)
    _, codes = np.unique(np.concatenate([own, theirs]), return_inverse=True)
    return codes[:queries], codes[queries:]


def without_junk(
    gallery: ArrayLike | None,
    gallery_labels: ArrayLike | None,
    gallery_ids: ArrayLike | None,
    rules: Rules,
) -> tuple[ArrayLike | None, ArrayLike | None, ArrayLike | None, Rules]:
    """Return a gallery, its labels and ids, and the rules, without the junk.

    Raises:
        ValueError: the junk does not fit the gallery.
    """
    if gallery is None:
        raise ValueError("junk needs gallery.")
    matrix = check_matrix("gallery", gallery)
    assert rules.junk is not None
    kept = np.flatnonzero(~_junk(rules.junk, len(matrix)))

    def some(name: str, values: ArrayLike | None) -> ArrayLike | None:
        return None if values is None else check_labels(name, values, len(matrix))[kept]

    groups = some("gallery_groups", rules.gallery_groups)
    return (
        matrix[kept],
        some("gallery_labels", gallery_labels),
        some("gallery_ids", gallery_ids),
        rules._replace(gallery_groups=groups, junk=None),
    )


def _junk(junk: ArrayLike, length: int) -> np.ndarray:
    """Return which items of the gallery are junk, (G,)."""
    flags = as_array("junk", junk)
    if flags.dtype != bool:
        raise ValueError(f"junk must hold True or False for every item, not {flags.dtype}.")
    if flags.shape != (length,):
        raise ValueError(f"junk must have shape ({length},) as the gallery, not {flags.shape}.")
    if flags.all():
        raise ValueError("junk leaves no item in the gallery.")
    return flags


def own_rows_of(
    query_ids: ArrayLike | None, gallery_ids: ArrayLike | None, queries: int, gallery: int
) -> np.ndarray:
    """Return for each query the gallery row of its own id, -1 where there is none."""
    if query_ids is None and gallery_ids is None:
        return np.full(queries, -1)
    if query_ids is None or gallery_ids is None:
        raise ValueError("query_ids and gallery_ids go together.")
    wanted = check_labels("query_ids", query_ids, queries)
    held = check_labels("gallery_ids", gallery_ids, gallery)
    check_same_kind("query_ids", wanted, "gallery_ids", held)
    for name, ids in (("query_ids", wanted), ("gallery_ids", held)):
        distinct, counts = np.unique(ids, return_counts=True)
        if len(distinct) < len(ids):
            raise ValueError(f"{name} repeats '{distinct[counts.argmax()]}'.")
    order = np.argsort(held)
    places = np.minimum(np.searchsorted(held, wanted, sorter=order), gallery - 1)
    rows = order[places]
    return np.where(held[rows] == wanted, rows, -1)
