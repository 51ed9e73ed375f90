"""ROC, TAR at FAR and equal error rate of pairs, against plain loops and scikit-learn."""

from itertools import pairwise

import numpy as np
import pytest
from clustered_points import clustered
from evaluation_reference import distance_table
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval_problems import problems
from sklearn.metrics import roc_auc_score, roc_curve

from stt_bench.evaluation import verification
from stt_bench.evaluation.verification import (
    curve_of_pairs,
    verification_curve,
    verification_metrics,
)

FARS = (0.0, 0.01, 0.1, 0.29, 0.5, 1.0)


def by_loops(pairs, fars=FARS):
    """Metrics of (distance, same) pairs: each distance a threshold, straight lines between."""
    positives = sum(same for _, same in pairs)
    negatives = len(pairs) - positives
    points = [(0.0, 0.0)]
    for threshold in sorted({distance for distance, _ in pairs}):
        taken = [same for distance, same in pairs if distance <= threshold]
        points.append(((len(taken) - sum(taken)) / negatives, sum(taken) / positives))
    found = {f"tar@far={f:g}": max(tar for far, tar in points if far <= f) for f in fars}
    for (far, tar), (next_far, next_tar) in pairwise(points):
        if next_far >= 1 - next_tar:
            share = (1 - tar - far) / (1 - tar - far + next_far + next_tar - 1)
            found["eer"] = far + share * (next_far - far)
            break
    ranks = [(a < b) + (a == b) / 2 for a, same in pairs if same for b, other in pairs if not other]
    found["roc_auc"] = sum(ranks) / len(ranks)
    return {**found, "positive_pairs": positives, "negative_pairs": negatives}


@settings(max_examples=60, deadline=None)
@given(problems(), st.sampled_from(["one set", "gallery", "label", "all"]), st.booleans())
def test_all_pairs_equal_the_loops(problem, kind, tight):
    points, labels, distance = problem
    half = len(points) // 2 if kind == "gallery" else 0
    held, theirs = points[half:], labels[half:]
    asked, own = (points[:half], labels[:half]) if half else (points, labels)
    cameras = np.arange(len(points)) % 3
    table = distance_table(asked, held, distance)
    pairs = []
    for q, g in np.ndindex(len(asked), len(held)):
        same = bool(own[q] == theirs[g])
        camera = cameras[q] == cameras[g] and kind in ("label", "all")
        if (half or q < g) and not (camera and (same or kind == "all")):
            pairs.append((table[q][g], same))
    given = {"gallery": held, "gallery_labels": theirs} if half else {}
    if kind in ("label", "all"):
        given = {"query_groups": cameras, "groups_apply_to": kind}
    if len({same for _, same in pairs}) < 2:
        with pytest.raises(ValueError, match=r"Every pair shares a label|No query has a positive"):
            verification_curve(asked, own, distance=distance, **given)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "MIB", 2**14 if tight else 2**20)
        patch.setattr(verification, "PAIR_BYTES", 8)
        found = verification_metrics(asked, own, distance=distance, fars=FARS, **given)
    assert found == pytest.approx(by_loops(pairs), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=40))
def test_given_pairs_equal_the_loops_and_scikit_learn(pairs):
    distances, same = (list(column) for column in zip(*pairs, strict=True))
    if len(set(same)) < 2:
        return
    curve = curve_of_pairs(distances, np.array(same))
    assert curve.metrics(FARS) == pytest.approx(by_loops(pairs), abs=1e-12)
    assert curve.area() == pytest.approx(roc_auc_score(same, [-d for d in distances]))
    theirs = set(
        zip(*(v.tolist() for v in roc_curve(same, [-d for d in distances])[:2]), strict=True)
    )
    ours = set(zip(*(v.tolist() for v in curve.roc()), strict=True))
    assert theirs <= ours  # which leaves out points on straight lines


def test_by_hand():
    """Positive pairs at 1, 2 and 4, negative ones at 2, 3, 5 and 6."""
    curve = curve_of_pairs([1, 2, 4, 2, 3, 5, 6], np.array([True] * 3 + [False] * 4))
    assert curve.tar_at(0.0) == 1 / 3  # at T = 2 one negative is accepted with the tie
    assert curve.tar_at(0.25) == 2 / 3
    assert curve.tar_at(0.49) == 2 / 3
    assert curve.tar_at(0.5) == 1.0
    # FAR 1/4 to 1/2 at TAR 2/3: it crosses FRR = 1/3.
    assert curve.equal_error_rate() == pytest.approx(1 / 3)
    assert curve.area() == pytest.approx((4 + 3.5 + 2) / 12)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_thresholds_are_distances(distance):
    points, labels = clustered(4, 3, 5, 0.5)
    table = np.array(distance_table(points, points, distance))
    same = np.triu(labels[:, None] == labels, 1)
    found = verification_curve(points.astype(np.float64) * 2.0**70, labels, distance=distance)
    scale = 2.0**140 if distance == "euclidean" else 1.0
    assert found.thresholds == pytest.approx(np.sort(table[same]) * scale, rel=1e-9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": [0] * 4}, "Every pair shares a label"),
        ({"labels": [0, 1, 2, 3]}, "No query has a positive"),
        ({"fars": [1.5]}, r"Every rate of fars must be a number in \[0, 1\], not 1.5"),
        ({"fars": 0.1}, "fars must be a sequence of numbers"),
        ({"distance": "cosin"}, "did you mean 'cosine'"),
    ],
)
def test_refusals(given, message):
    with pytest.raises(ValueError, match=message):
        verification_metrics(**({"embeddings": np.eye(4), "labels": [0, 0, 1, 1]} | given))


def test_more_positive_pairs_than_memory_holds_are_refused():
    points, labels = np.zeros((400, 2)), np.arange(400) // 200
    with pytest.raises(ValueError, match="79600 pairs share a label: memory_mib must be 5 or more"):
        verification_metrics(points, labels, memory_mib=1)


@pytest.mark.parametrize(
    ("distances", "same", "message"),
    [
        ([1, np.nan], [True, False], "distances must be a vector of finite numbers"),
        ([1, 2], [1, 0], "same must hold True or False for every distance"),
        ([1, 2], [True, True], "same must hold pairs of both kinds"),
    ],
)
def test_pairs_are_refused(distances, same, message):
    with pytest.raises(ValueError, match=message):
        curve_of_pairs(distances, np.array(same))
