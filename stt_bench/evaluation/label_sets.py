"""Labels of queries and gallery as numbers: one an item, or several."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from stt_bench.evaluation.checks import blocks, check_labels, check_same_kind

SEVERAL = (list, tuple, set, frozenset, np.ndarray)
TABLE = 2**22  # pairs of sets that are compared at once


class LabelSets(NamedTuple):
    """The label sets of Q queries and G gallery items, each distinct set a number.

    `queries` (Q,) and `gallery` (G,) number the sets. Where items have several labels, `members`
    (sets, labels) tells which labels a set holds and sets match if they share one; where it is
    None every set is one label and matches itself. `names` are the labels of the queries, one
    after another, and `owners` the query of each.
    """

    queries: np.ndarray
    gallery: np.ndarray
    members: csr_array | None
    names: np.ndarray
    owners: np.ndarray

    @property
    def number(self) -> int:
        """Return the number of sets."""
        return int(max(self.queries.max(), self.gallery.max())) + 1

    def matches(self, sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the sets that match each of `sets` (S,): places in `sets` and numbers, (T,)."""
        if self.members is None:
            return np.arange(len(sets)), sets
        found = []
        for part in blocks(len(sets), max(1, TABLE // self.number)):
            rows, columns = (self.members[sets[part]] @ self.members.T).nonzero()
            order = np.lexsort((columns, rows))
            found.append((rows[order] + part.start, columns[order]))
        if not found:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        rows, columns = (np.concatenate(column) for column in zip(*found, strict=True))
        return rows.astype(np.int64), columns.astype(np.int64)

    def match(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Tell whether set `left` (Q,) matches each of the sets `right` (Q, L)."""
        if self.members is None:
            return left[:, None] == right
        hits = np.empty(right.shape, dtype=bool)
        for part in blocks(len(left), max(1, TABLE // self.number)):
            sets, places = np.unique(left[part], return_inverse=True)
            table = np.zeros((len(sets), self.number), dtype=bool)
            table[self.matches(sets)] = True
            hits[part] = table[places[:, None], right[part]]
        return hits


def label_sets(
    labels: ArrayLike, queries: int, gallery_labels: ArrayLike | None, gallery: int
) -> LabelSets:
    """Return the checked labels; without `gallery_labels` the queries are the gallery.

    Labels of an item may be a list, tuple, set or array of integers or strings, empty for none.

    Raises:
        ValueError: they are no labels, of different kinds, or their number does not fit.
    """
    given = [("labels", labels, queries)]
    if gallery_labels is not None:
        given.append(("gallery_labels", gallery_labels, gallery))
    several = [_several(values) for _, values, _ in given]
    if not any(several):
        flat = [check_labels(*one) for one in given]
        if len(flat) > 1:
            check_same_kind("labels", flat[0], "gallery_labels", flat[1])
        _, codes = np.unique(np.concatenate(flat), return_inverse=True)
        own = codes[:queries]
        held = codes[queries:] if len(flat) > 1 else own
        return LabelSets(own, held, None, flat[0], np.arange(queries))
    parts = [_flat(*one) for one in given]
    kinds = [names for names, _ in parts if len(names)]
    if len(kinds) > 1:
        check_same_kind("labels", kinds[0], "gallery_labels", kinds[1])
    if not kinds:
        raise ValueError("labels are empty for every item: no query has a positive.")
    distinct, codes = np.unique(np.concatenate(kinds), return_inverse=True)
    starts = np.cumsum([0, *np.concatenate([counts for _, counts in parts]).tolist()]).tolist()
    numbers: dict[tuple[int, ...], int] = {}
    held_codes = codes.tolist()
    sets = np.array(
        [
            numbers.setdefault(tuple(sorted(set(held_codes[start:end]))), len(numbers))
            for start, end in pairwise(starts)
        ],
        dtype=np.int64,
    )
    columns = [label for one in numbers for label in one]
    ends = np.cumsum([0, *(len(one) for one in numbers)])
    members = csr_array(
        (np.ones(len(columns), dtype=np.int32), np.array(columns, dtype=np.int64), ends),
        shape=(len(numbers), len(distinct)),
    )
    own = sets[:queries]
    counts = np.diff(ends)[own]
    held_labels = [label for one in _rows(members, own) for label in one]
    owners = np.repeat(np.arange(queries), counts)
    held = sets[queries:] if len(parts) > 1 else own
    return LabelSets(own, held, members, distinct[np.array(held_labels, dtype=np.int64)], owners)


def _several(values: Any) -> bool:
    """Tell whether an item has a list of labels."""
    if isinstance(values, np.ndarray):
        values = values.tolist() if values.dtype == object and values.ndim == 1 else ()
    return isinstance(values, list | tuple) and any(isinstance(one, SEVERAL) for one in values)


def _flat(name: str, values: Any, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of all items, one after another, and how many each has."""
    if not _several(values):
        return check_labels(name, values, length), np.ones(length, dtype=np.int64)
    if len(values) != length:
        raise ValueError(f"{name} has {len(values)} entries for {length} rows.")
    odd = next((i for i, one in enumerate(values) if not isinstance(one, SEVERAL)), None)
    if odd is not None:
        raise ValueError(
            f"{name} must be one label for every item or a list of labels for every item: "
            f"row {odd} is {values[odd]!r:.80}."
        )
    flat = [label for one in values for label in one]
    counts = np.array([len(one) for one in values], dtype=np.int64)
    if not flat:
        return np.empty(0, dtype=np.int64), counts
    try:
        return check_labels(name, flat, len(flat)), counts
    except ValueError as error:
        raise ValueError(f"{str(error).replace(': row', ': label')}") from None


def _rows(members: csr_array, sets: np.ndarray) -> list[list[int]]:
    """Return the labels of each of the sets."""
    labels, ends = members.indices.tolist(), members.indptr.tolist()
    return [labels[ends[one] : ends[one + 1]] for one in sets.tolist()]
