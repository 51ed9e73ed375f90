"""Which Softmax row a row is compared with: the one that agrees in everything but the loss."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from stt_bench.benchmark.leaderboards.rows import Row

_OF_RETRIEVAL = {"model.embedding_dim"}  # which a classifier does not know
_NO_HEAD = {"model.head": "none", "model.normalize": False, "model.features": "pooled"}


class Baseline(NamedTuple):
    """The baseline of a row, or what the nearest Softmax row would have to be like.

    `differs` names settings, as (field, the row's value, the Softmax row's).
    """

    row: Row | None
    nearest: Row | None
    differs: list[tuple[str, Any, Any]]


def baseline_of(
    row: Row, rows: Sequence[Row], metric: str = "map@r", tuned: Collection[str] = ()
) -> Baseline:
    """Return the Softmax row that agrees with a row in everything that is not the loss.

    That is the data, the input, the network with its head, frozen layers, batch norm and
    normalisation, the sampler, the optimiser, the phases (their lengths and learning rates), the
    steps, and how the evaluated embeddings are made; for accuracy, not the size of the
    embedding. Softmax rows and untrained ones have none. Where several agree it is the
    first; where none does, `nearest` is the one that differs in the fewest settings.

    For accuracy a two-head row agrees with Softmax without a head, too: both classifiers stand on
    the pooled features.

    Settings that an equal search has chosen for every row, `tuned` by their dotted names, need not
    agree: what is compared then is each loss at its own best.
    """
    softmax = [other for other in rows if is_softmax(other) and metric in other.scores]
    if is_softmax(row) or row.experiment.train.steps == 0:
        return Baseline(None, None, [])
    by_difference = [(differences(row, other, metric, tuned), other) for other in softmax]
    if not by_difference:
        return Baseline(None, None, [])
    differs, nearest = min(by_difference, key=lambda one: len(one[0]))
    return Baseline(None if differs else nearest, nearest, differs)


def best_softmax(rows: Sequence[Row], metric: str) -> Row | None:
    """Return the trained Softmax row with the highest mean; of several, the first."""
    softmax = [row for row in rows if is_softmax(row) and metric in row.scores]
    return max(softmax, key=lambda row: row.scores[metric].mean, default=None)


def is_softmax(row: Row) -> bool:
    """Tell whether a row is Softmax alone, and trained."""
    return row.experiment.is_softmax and row.experiment.train.steps > 0


def differences(
    row: Row, other: Row, metric: str, tuned: Collection[str] = ()
) -> list[tuple[str, Any, Any]]:
    """Return in which settings two rows differ, but for the loss: (field, ours, the other's)."""
    ours, theirs = row.conditions, other.conditions
    left_out = set(tuned)
    if metric.endswith("accuracy"):
        left_out |= _OF_RETRIEVAL
        if _classifies_features(row) and theirs.items() >= _NO_HEAD.items():
            ours = {**ours, **_NO_HEAD}
    if ours["model.head"] != theirs["model.head"]:  # which says it
        left_out = left_out | {"model.embedding_dim"}
    return [
        (name, ours.get(name), theirs.get(name))
        for name in dict.fromkeys([*ours, *theirs])
        if name not in left_out and ours.get(name) != theirs.get(name)
    ]


def _classifies_features(row: Row) -> bool:
    return row.experiment.softmax_head and row.experiment.softmax_on == "features"
