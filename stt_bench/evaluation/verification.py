"""Verification: is a pair of one label? The ROC over all pairs, TAR at FAR and equal error rate.

A pair is accepted where its distance is at most a threshold T. TAR is the share of accepted pairs
among those that share a label, FAR the share among the others, FRR = 1 − TAR. Nothing is sampled:
thresholds between two distances of positive pairs change FAR alone, so it is enough to count how
many negative pairs lie below, on and above each of these. Products in float64 tell all but those
too close to call, which are compared exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from stt_bench.evaluation.callback import ProgressCallback, quietly
from stt_bench.evaluation.checks import as_array, blocks, check_count
from stt_bench.evaluation.exact import Points, row_squares
from stt_bench.evaluation.frames import CoarseFrame
from stt_bench.evaluation.gallery import Gallery
from stt_bench.evaluation.levels import Level
from stt_bench.evaluation.lists import ListRanker
from stt_bench.evaluation.retrieval import MEMORY_MIB, MIB, MOST_MIB
from stt_bench.evaluation.space import Rules, search_space
from stt_bench.evaluation.wide import WideSearch

FARS = (1e-4, 1e-3, 1e-2)
PAIR_BYTES = 64  # what a positive pair takes while the thresholds are made


@dataclass(frozen=True)
class VerificationCurve:
    """How many pairs each threshold accepts.

    `thresholds` (V,) are the distinct distances of the positive pairs, ascending, squared for
    `euclidean`; `accepted` (V,) the positive pairs at most so far, `below` and `upto` (V,) the
    negative pairs nearer, and at most so far; `positives` and `negatives` are all pairs.
    """

    thresholds: np.ndarray
    accepted: np.ndarray
    below: np.ndarray
    upto: np.ndarray
    positives: int
    negatives: int

    def roc(self) -> tuple[np.ndarray, np.ndarray]:
        """Return FAR and TAR at the corners of the ROC, from (0, 0) to (1, 1), (2V + 2,).

        Pairs at one distance are accepted together, which makes a slope.
        """
        before = np.concatenate([[0], self.accepted[:-1]])
        far = np.stack([self.below, self.upto], axis=1).ravel() / self.negatives
        tar = np.stack([before, self.accepted], axis=1).ravel() / self.positives
        return np.concatenate([[0.0], far, [1.0]]), np.concatenate([[0.0], tar, [1.0]])

    def tar_at(self, far: float) -> float:
        """Return the largest TAR of a threshold whose FAR is at most `far`."""
        allowed = int(np.searchsorted(self.upto / self.negatives, far, side="right"))
        return float(self.accepted[allowed - 1] / self.positives) if allowed else 0.0

    def equal_error_rate(self) -> float:
        """Return FAR = FRR where straight lines between the corners of the ROC cross it."""
        far, tar = self.roc()
        excess = far + tar - 1
        after = int(np.argmax(excess >= 0))
        share = -excess[after - 1] / (excess[after] - excess[after - 1])
        return float(far[after - 1] + share * (far[after] - far[after - 1]))

    def area(self) -> float:
        """Return the area under the ROC: the chance that a positive pair is nearer, ties half."""
        counts = np.diff(self.accepted, prepend=0)
        farther = self.negatives - (self.below + self.upto) / 2
        return float((counts / self.positives) @ (farther / self.negatives))

    def metrics(self, fars: Sequence[float] = FARS) -> dict[str, float]:
        """Return the dictionary of `verification_metrics`."""
        return {
            **{f"tar@far={far:g}": self.tar_at(far) for far in check_fars(fars)},
            "eer": self.equal_error_rate(),
            "roc_auc": self.area(),
            "positive_pairs": self.positives,
            "negative_pairs": self.negatives,
        }


def verification_metrics(
    embeddings: ArrayLike, labels: ArrayLike, *, fars: Sequence[float] = FARS, **settings: Any
) -> dict[str, float]:
    """Return TAR at FAR, the equal error rate and the area under the ROC, over all pairs.

    Args:
        embeddings: (N, D).
        labels: (N,).
        fars: the false accept rates, in [0, 1]; below one in so many pairs none is allowed.
        settings: those of `verification_curve`.

    Returns:
        `tar@far=F` for every F, `eer`, `roc_auc` (all in [0, 1]), `positive_pairs` and
        `negative_pairs`.

    Raises:
        ValueError: as `verification_curve`, or an F is no number in [0, 1].

    Example:
        >>> found = verification_metrics([[0.0], [1.0], [3.0], [4.5]], list("aabb"), fars=[0.25])
        >>> found["tar@far=0.25"], found["eer"], found["positive_pairs"], found["negative_pairs"]
        (1.0, 0.0, 2, 4)
    """
    checked = check_fars(fars)
    return verification_curve(embeddings, labels, **settings).metrics(checked)


def verification_curve(
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
    distance: str = "euclidean",
    memory_mib: int = MEMORY_MIB,
    progress: ProgressCallback = quietly,
) -> VerificationCurve:
    """Return the counts of accepted pairs, exact whatever the ties.

    The pairs are those of a query and an item of its list in `retrieval_metrics`, whose arguments
    these are; without `gallery` each unordered pair of two items counts once.

    Raises:
        ValueError: as `retrieval_metrics`; all pairs are positive; or the positive pairs need more
            memory than `memory_mib`.
    """
    memory = min(check_count("memory_mib", memory_mib), MOST_MIB) * MIB
    rules = Rules(query_groups, gallery_groups, junk, groups_apply_to)
    queries, held, _ = search_space(
        embeddings, labels, gallery, gallery_labels, query_ids, gallery_ids, distance, rules
    )
    positives = int(held.relevant.sum())
    negatives = int(held.lengths.sum()) - positives
    if not negatives:
        raise ValueError("Every pair shares a label: verification needs pairs that do not.")
    if positives * PAIR_BYTES > memory:
        needed = -(-positives * PAIR_BYTES // 2**20)
        raise ValueError(f"{positives} pairs share a label: memory_mib must be {needed} or more.")
    thresholds, counts = _positive_distances(queries, held, memory)
    gaps, equal = _negative_counts(queries, held, thresholds, memory, progress)
    below = np.cumsum(gaps)[:-1] + np.cumsum(equal) - equal
    once = 2 if gallery is None else 1  # both orders of a pair were counted
    if queries.distance != distance:  # of rows of one norm, ‖x − y‖² = 2 ‖x‖² (1 − cos)
        squared = 1.0 if queries.norms is not None else row_squares(queries.rows(slice(0, 1)))[0]
        thresholds = thresholds / (2 * squared)
    elif queries.exponents is not None and distance == "euclidean":
        thresholds = np.ldexp(thresholds, 2 * int(queries.exponents[0]))
    elif distance == "euclidean":
        with np.errstate(over="ignore"):
            thresholds = thresholds * queries.step * queries.step
    accepted, upto = np.cumsum(counts), below + equal
    return VerificationCurve(
        thresholds, accepted // once, below // once, upto // once, positives // once,
        negatives // once,
    )  # fmt: skip


def curve_of_pairs(distances: ArrayLike, same: ArrayLike) -> VerificationCurve:
    """Return the curve of given pairs, such as a published list of them.

    Args:
        distances: (P,) finite numbers, small for pairs that are alike.
        same: (P,) booleans: whether the pair shares a label.

    Raises:
        ValueError: shapes or kinds do not fit, or not both kinds of pairs are there.
    """
    values, flags = as_array("distances", distances), as_array("same", same)
    if values.ndim != 1 or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise ValueError("distances must be a vector of finite numbers.")
    if flags.dtype != bool or flags.shape != values.shape:
        raise ValueError("same must hold True or False for every distance.")
    if flags.all() or not flags.any():
        raise ValueError("same must hold pairs of both kinds.")
    values = values.astype(np.float64)
    thresholds, counts = np.unique(values[flags], return_counts=True)
    others = np.sort(values[~flags])
    below, upto = (np.searchsorted(others, thresholds, side=side) for side in ("left", "right"))
    return VerificationCurve(
        thresholds, np.cumsum(counts), below, upto, int(flags.sum()), int((~flags).sum())
    )


def check_fars(fars: Any) -> list[float]:
    """Return the false accept rates, each in [0, 1]."""
    if isinstance(fars, str) or not isinstance(fars, Iterable):
        raise ValueError(f"fars must be a sequence of numbers, not {fars!r:.80}.")
    rates = list(fars)
    for rate in rates:
        if not isinstance(rate, Real) or not 0 <= float(rate) <= 1:
            raise ValueError(f"Every rate of fars must be a number in [0, 1], not {rate!r:.80}.")
    return [float(rate) for rate in rates]


def _positive_distances(
    queries: Points, held: Gallery, memory: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct distances of positive pairs, and how many pairs have each, (V,)."""
    ranker = ListRanker(queries, held)
    left = np.flatnonzero(held.relevant > 0)
    values, counts = np.empty(0), np.empty(0, dtype=np.int64)
    while len(left):
        taken = np.cumsum(PAIR_BYTES * (held.relevant[left] + held.removed[left] + 1))
        some, left = np.split(left, [max(1, int(np.searchsorted(taken, memory // 4)))])
        place, points = held.positive_points(some)
        _, items = held.others(some[place], points[:, None])
        values = np.concatenate([values, ranker.exact(some[place], points)])
        counts = np.concatenate([counts, items[:, 0].astype(np.int64)])
    thresholds, at = np.unique(values, return_inverse=True)
    return thresholds, np.bincount(at, counts).astype(np.int64)


def _negative_counts(
    queries: Points, held: Gallery, thresholds: np.ndarray, memory: int, progress: ProgressCallback
) -> tuple[np.ndarray, np.ndarray]:
    """Return how many negative pairs lie in each of the V + 1 gaps, and on each threshold."""
    inner = queries.distance == "cosine"
    frame = CoarseFrame(queries, held.points, inner).widened(queries, held.points, 0)
    # Beside a tile of float64 stand its bins, bounds and counts of items.
    searcher = WideSearch(inner, memory // 32)
    level = Level(frame, searcher, held, memory)
    ranker = ListRanker(queries, held)
    marks = np.append(thresholds * frame.unit, np.inf)
    gaps = np.zeros(len(thresholds) + 1, dtype=np.int64)
    equal = np.zeros(len(thresholds), dtype=np.int64)
    for index in blocks(len(queries), max(1, memory // 4 // (8 * queries.dimension))):
        asked = np.arange(index.start, index.stop)
        rows = frame.rows(queries, asked)
        errors = frame.errors(rows)
        searched = searcher.queries(rows)
        for place, part in level.parts():
            for block, table in searcher.distances(searched, part):
                query = asked[block]
                points = np.broadcast_to(np.arange(place.start, place.stop), table.shape)
                items, hits = held.others(query, points)
                others = items.astype(np.int64) - hits
                off = errors[block][:, None]
                bins = np.searchsorted(marks, table - off)
                doubtful = (marks[bins] <= table + off) & (others > 0)
                row, column = np.nonzero(doubtful)
                for some in blocks(len(row), max(1, memory // 8 // PAIR_BYTES)):
                    pair = row[some], column[some]
                    exact = ranker.exact(query[pair[0]], points[pair])
                    at = np.searchsorted(thresholds, exact)
                    tied = np.append(thresholds, np.inf)[at] == exact
                    count = others[pair]
                    np.add.at(gaps, at[~tied], count[~tied])
                    np.add.at(equal, at[tied], count[tied])
                others[doubtful] = 0
                found = np.bincount(bins.ravel(), others.ravel(), len(gaps))
                gaps += found.astype(np.int64)
        progress(index.stop, len(queries))
    return gaps, equal
