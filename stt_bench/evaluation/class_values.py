"""What each test class contributes to a retrieval metric, the rest of the gallery held to account.

The test classes are each other's gallery: a class makes the queries of others harder or easier.
Class means do not show that, so that intervals from them are too short. A leave-class-out value
counts a class with all it does:

    v_c = θ + (C − 1) · (mean over c of θ₍₋c₎ − θ₍₋c₎)

with θ the metric and θ₍₋c₎ the metric without class c, as queries and in the gallery. The v_c
average to θ itself; they are the pseudo-values of the jackknife (Efron and Stein, 1981) about θ
instead of the bias-corrected value, which would be that of another gallery.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from stt_bench.evaluation.callback import ProgressCallback, quietly
from stt_bench.evaluation.checks import blocks, check_choice, check_count, check_ks
from stt_bench.evaluation.left_out import Lists, groups_of, without_each
from stt_bench.evaluation.nearest import NO_RANK, NearestItems
from stt_bench.evaluation.ranking import TieGroups, ranked_list_metrics
from stt_bench.evaluation.retrieval import MEMORY_MIB, MIB, MOST_MIB
from stt_bench.evaluation.ruled_gallery import RuledGallery
from stt_bench.evaluation.space import Rules, search_space, without_junk

MOST_CLASSES = 1000
GROUPS = 256
WEIGHTINGS = ("query", "class", "auto")
_FEW = 100
_UNEVEN_FEW, _UNEVEN = 0.5, 0.7  # coefficients of variation


@dataclass(frozen=True)
class ClassValues:
    """The share of each class, or group of classes, in the metrics.

    `groups` (C,) are labels, or numbers of groups where there are more than 1,000 classes;
    `counts` (C,) the queries that have a positive; `weighting` tells whether the metric is
    averaged over queries or over classes; `names` are the M metrics; `sums` (C, M) are the sums
    of the queries' metrics, and `values` (C, M) the leave-class-out values.
    """

    groups: np.ndarray
    counts: np.ndarray
    weighting: str
    names: tuple[str, ...]
    sums: np.ndarray
    values: np.ndarray


def class_values(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    gallery: ArrayLike | None = None,
    gallery_labels: ArrayLike | None = None,
    query_ids: ArrayLike | None = None,
    gallery_ids: ArrayLike | None = None,
    query_groups: ArrayLike | None = None,
    gallery_groups: ArrayLike | None = None,
    groups_apply_to: str = "label",
    junk: ArrayLike | None = None,
    ks: Sequence[int] = (1,),
    distance: str = "euclidean",
    weighting: str = "auto",
    memory_mib: int = MEMORY_MIB,
    progress: ProgressCallback = quietly,
) -> ClassValues:
    """Return the leave-class-out values of Recall@K, R-Precision and MAP@R.

    Takes the arguments of `retrieval_metrics`, of which MRR is left out: it needs whole lists.
    Only classes with a query that has a positive are left out; other items of the gallery stay.

    Args:
        embeddings: (N, D).
        labels: (N,).
        gallery: (G, D), if it is another set than the queries.
        gallery_labels: (G,).
        query_ids: (N,).
        gallery_ids: (G,).
        query_groups: (N,), as in `retrieval_metrics`, and so the next three.
        gallery_groups: (G,).
        groups_apply_to: `label` or `all`.
        junk: (G,).
        ks: the cut-offs of Recall@K.
        distance: `euclidean` or `cosine`.
        weighting: `query`: the metric is the mean over queries; `class`: the mean over classes of
            their means; `auto`: see `chosen_weighting`.
        memory_mib: memory for the working tables.
        progress: is told how many queries are done, and how many there are.

    Raises:
        ValueError: as `retrieval_metrics`; fewer than two classes have a query with a positive; or
            items have several labels, so that no class stands apart from the others.

    Example:
        >>> found = class_values([[0.0], [1.0], [5.0], [6.0], [5.6]], [1, 1, 2, 2, 1], ks=[])
        >>> found.names, found.counts.tolist()
        (('r_precision', 'map@r'), [3, 2])
        >>> found.values.mean(0).round(3).tolist(), (found.sums.sum(0) / 5).round(3).tolist()
        ([0.2, 0.2], [0.2, 0.2])
    """
    check_choice("weighting", weighting, WEIGHTINGS)
    cutoffs = check_ks(ks)
    memory = min(check_count("memory_mib", memory_mib), MOST_MIB) * MIB
    rules = Rules(query_groups, gallery_groups, junk, groups_apply_to)
    if junk is not None:
        gallery, gallery_labels, gallery_ids, rules = without_junk(
            gallery, gallery_labels, gallery_ids, rules
        )
    space = (embeddings, labels, gallery, gallery_labels, query_ids, gallery_ids, distance)
    queries, held, sets = search_space(*space)
    ruled = held
    if query_groups is not None or gallery_groups is not None:
        _, ruled, _ = search_space(*space, rules)
    relevant = ruled.relevant
    wanted = np.flatnonzero(relevant > 0)
    names, code_of_query = np.unique(sets.names[wanted], return_inverse=True)
    groups, group_of_class = hashed_groups(names)
    if len(groups) < 2:
        raise ValueError(
            "Leave-class-out values need two classes that have a query and a positive."
        )
    class_sizes = np.bincount(code_of_query)
    if weighting == "auto":
        weighting = chosen_weighting(np.bincount(group_of_class[code_of_query]))
    weights = 1 / class_sizes[code_of_query] if weighting == "class" else np.ones(len(wanted))

    own = group_of_class[code_of_query]
    of_label = np.full(int(max(held.query_labels.max(), held.item_labels.max())) + 1, -1)
    of_label[held.query_labels[wanted]] = own
    of_item = of_label[held.item_labels].astype(np.int16)  # -1: of no class that is left out
    largest = int(np.bincount(of_item[of_item >= 0], minlength=1).max())
    reach = np.maximum(relevant[wanted], max(cutoffs, default=1))

    # Of equal items of one class the first stands for all: their lists are alike.
    first = copy_of = np.arange(len(wanted))
    if ruled is held and gallery is None:
        first, copy_of = _first_of(held.own[wanted] * len(of_label) + held.query_labels[wanted])
    share = np.bincount(copy_of, weights)
    search = NearestItems(queries, held)
    base = np.zeros((len(first), len(cutoffs) + 2))
    change = np.zeros((len(groups), len(cutoffs) + 2))
    for part in blocks(len(first), max(1, memory // (32 * len(of_item)))):
        asked, counts = wanted[first[part]], reach[first[part]]
        depth = int((counts + ruled.removed[asked]).max()) + largest
        ranks, items = search.ranks(asked, depth)
        if isinstance(ruled, RuledGallery):
            ranks, items = _ruled(ruled, asked, ranks, items)
        lists = Lists(
            ranks,
            items >= 0,
            (items >= 0) & (held.item_labels[items] == held.query_labels[asked][:, None]),
            np.where(items >= 0, of_item[items], np.int16(-1)),
            relevant[asked],
            counts,
        )
        rows, found = groups_of(lists)
        if len(rows):
            base[part.start + rows] = _metrics(found, lists.relevant[rows], cutoffs)
        for left_out, changed, groups_left in without_each(lists, own[first[part]], rows, found):
            now = _metrics(groups_left, lists.relevant[changed], cutoffs)
            places = part.start + changed
            change[left_out] += share[places] @ (now - base[places])
        progress(part.stop, len(first))
    base = base[copy_of]

    def summed(columns: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(own, one, len(groups)) for one in columns.T], axis=1)

    total = np.bincount(own, weights)
    weighted = summed(base * weights[:, None])
    left = (weighted.sum(axis=0) - weighted + change) / (total.sum() - total)[:, None]
    theta = weighted.sum(axis=0) / total.sum()
    values = theta + (len(groups) - 1) * (left.mean(axis=0) - left)
    metrics = (*(f"recall@{k}" for k in cutoffs), "r_precision", "map@r")
    return ClassValues(groups, np.bincount(own), weighting, metrics, summed(base), values)


def _first_of(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each distinct key first stands, (U,) ascending, and which of them each is."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse]


def _ruled(
    gallery: RuledGallery, queries: np.ndarray, ranks: np.ndarray, items: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return lists (Q, K) without what the rule takes out, at whose end stands no item."""
    gone = gallery.takes(queries, items) | (items < 0)
    ranks, items = np.where(gone, np.int32(NO_RANK), ranks), np.where(gone, -1, items)
    order = np.argsort(ranks, axis=1, kind="stable")
    return np.take_along_axis(ranks, order, axis=1), np.take_along_axis(items, order, axis=1)


def _metrics(groups: TieGroups, relevant: np.ndarray, ks: Sequence[int]) -> np.ndarray:
    return ranked_list_metrics(groups, relevant, ks)[:, :-1]  # without MRR


def hashed_groups(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the groups that stand for classes, and the group of each of the (C,) labels.

    Up to 1,000 classes each is a group of its own, named by its label. More are put into 256 by
    the SHA-256 of their labels, so that a class is in the same group in every run; groups that no
    class falls into are left out.
    """
    if len(labels) <= MOST_CLASSES:
        return labels, np.arange(len(labels))
    digests = [hashlib.sha256(str(label).encode()).digest() for label in labels.tolist()]
    numbers = np.array([int.from_bytes(digest[:8], "big") % GROUPS for digest in digests])
    return np.unique(numbers, return_inverse=True)


def chosen_weighting(counts: np.ndarray) -> str:
    """Return `class` for classes of very different sizes, else `query`.

    Very different: the coefficient of variation of the (C,) counts exceeds 0.7, or, of fewer than
    100 classes, 0.5. Intervals of the mean over queries are then too short, however many classes
    there are; those of the mean over classes are not.
    """
    most = _UNEVEN_FEW if len(counts) < _FEW else _UNEVEN
    return "class" if counts.std() > most * counts.mean() else "query"
