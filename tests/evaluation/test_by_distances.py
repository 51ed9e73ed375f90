"""Metrics by ready and by re-ranked distances, against plain loops and the search."""

import tracemalloc

import numpy as np
import pytest
from clustered_points import clustered
from evaluation_reference import distance_table
from hypothesis import given, settings
from hypothesis import strategies as st
from rules_reference import ruled_reference
from test_reranking import by_loops
from test_retrieval_rules import KS, expected_of, ruled_problems

from stt_bench.evaluation import reranked_distances, reranked_scores, scores_of_distances
from stt_bench.evaluation.measures import METRICS


def same(scores, expected):
    assert scores.scored.tolist() == [one is not None for one in expected]
    for row, one in zip(scores.values.tolist(), expected, strict=True):
        if one:
            named = {name: one[name] for name in scores.names}
            assert dict(zip(scores.names, row, strict=True)) == pytest.approx(named, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(ruled_problems(), st.sampled_from(["min", "relevant"]))
def test_ready_distances_equal_the_loops_under_every_rule(problem, map_at_k):
    queries, labels, held, _, given, _ = problem
    table = distance_table(queries, held, given["distance"])
    asked = {name: v for name, v in given.items() if name not in ("distance", "gallery")}
    asked |= {"ks": KS, "metrics": METRICS, "map_at_k": map_at_k, "memory_mib": 1}
    expected = expected_of(problem, ks=KS, map_at_k=map_at_k)
    if not any(expected):
        with pytest.raises(ValueError, match="positive"):
            scores_of_distances(table, labels, **asked)
        return
    same(scores_of_distances(table, labels, **asked), expected)


def test_a_large_table_is_read_in_blocks(tmp_path):
    rng = np.random.default_rng(0)
    table = np.lib.format.open_memmap(tmp_path / "d.npy", "w+", np.float32, (400, 3000))
    table[:] = rng.random((400, 3000), dtype=np.float32)
    labels, theirs = rng.integers(0, 50, 400), rng.integers(0, 50, 3000)
    tracemalloc.start()
    scores_of_distances(table, labels, gallery_labels=theirs, memory_mib=4, ks=[1])
    assert tracemalloc.get_traced_memory()[1] < 12 * 2**20
    tracemalloc.stop()


def reid():
    points, labels = clustered(6, 9, 4, 0.9)
    cameras = np.random.default_rng(0).integers(0, 3, len(labels))
    return points, labels, cameras


@pytest.mark.parametrize("unit", [False, True])
def test_reranked_lists_are_those_of_the_loops(unit):
    """The camera rule takes items out of lists, not out of neighbour sets."""
    points, labels, cameras = reid()
    q, g = slice(0, 15), slice(15, None)
    rows = points / np.linalg.norm(points, axis=1, keepdims=True) if unit else points
    table = by_loops(rows[q], rows[g], 6, 3, 0.3)
    rule = {"query_groups": cameras[q], "gallery_groups": cameras[g]}
    found = reranked_scores(
        points[q], labels[q], gallery=points[g], gallery_labels=labels[g], k1=6, k2=3, ks=(1, 3),
        metrics=METRICS, distance="cosine" if unit else "euclidean", **rule,
    )  # fmt: skip
    ready = scores_of_distances(
        np.array(table), labels[q], gallery_labels=labels[g], ks=(1, 3), metrics=METRICS, **rule
    )
    assert found.values == pytest.approx(ready.values, abs=1e-9, nan_ok=True)


def test_an_item_that_is_query_and_gallery_is_one_neighbour():
    points, labels, _ = reid()
    names = np.arange(len(points))
    whole = reranked_scores(points, labels, k1=5, k2=2)
    table = reranked_distances(points, k1=5, k2=2)
    ready = scores_of_distances(table, labels)
    assert whole.values.tobytes() == ready.values.tobytes()
    split = reranked_scores(
        points[:20], labels[:20], gallery=points, gallery_labels=labels, k1=5, k2=2,
        query_ids=names[:20], gallery_ids=names,
    )  # fmt: skip
    assert split.values.tobytes() == whole.values[:20].tobytes()
    loops = by_loops(points[:0], points, 5, 2, 0.3)
    assert loops == []
    pairs = by_loops(points[:27], points[27:], 5, 2, 0.3)
    assert table[:27, 27:] == pytest.approx(np.array(pairs))


def test_junk_is_nobodys_neighbour():
    points, labels, _ = reid()
    junk = np.arange(40) % 5 == 0
    asked = {"k1": 5, "k2": 2, "ks": (1, 3)}
    theirs = {"gallery": points[14:], "gallery_labels": labels[14:]}
    found = reranked_scores(points[:14], labels[:14], **theirs, junk=junk, **asked)
    theirs = {"gallery": points[14:][~junk], "gallery_labels": labels[14:][~junk]}
    without = reranked_scores(points[:14], labels[:14], **theirs, **asked)
    assert found.values.tobytes() == without.values.tobytes()


def test_equal_rows_tie_after_reranking():
    """Each item of the gallery stands there twice, once under a label that no query has."""
    points, labels, _ = reid()
    gallery = np.concatenate([points[10:], points[10:]])
    theirs = np.concatenate([labels[10:], np.full(len(points) - 10, 99)])
    table = reranked_distances(points[:10], gallery, k1=8, k2=4)
    half = len(gallery) // 2
    assert table[:, :half].tobytes() == table[:, half:].tobytes()
    expected = ruled_reference_of(table, labels[:10], theirs)
    same(
        reranked_scores(
            points[:10], labels[:10], gallery=gallery, gallery_labels=theirs, k1=8, k2=4,
            ks=(1, 3), metrics=METRICS,
        ),
        expected,
    )  # fmt: skip


def ruled_reference_of(table, labels, theirs):
    """The loops on points of a line, as far from the query as the ranks of its distances tell."""
    ranks = [np.unique(row, return_inverse=True)[1] for row in table]
    return [
        ruled_reference([[0.0]], [label], row[:, None].astype(float), theirs)[0]
        for label, row in zip(labels.tolist(), ranks, strict=True)
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: scores_of_distances(x[:2], [1, 1]), "2 × 3: without gallery_labels it is N × N"),
        (lambda x: scores_of_distances(x, [1, 1, 1], junk=[True] * 3), "junk needs gallery_labels"),
        (lambda x: scores_of_distances(x * np.nan, [1, 1, 1]), "NaN"),
        (lambda x: scores_of_distances(x, [1, 2, 3]), "No query has a positive"),
        (lambda x: scores_of_distances(x, [1, 1]), "labels has 2 entries for 3 rows"),
        (lambda x: reranked_scores(x, [1, 1, 1], k1=0), "k1 must be at least 1"),
        (lambda x: reranked_scores(x, [1, 1, 1], gallery=x), "gallery needs gallery_labels"),
        (lambda x: reranked_scores(x, [1, 1, 1], distance="cosin"), "did you mean 'cosine'"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.eye(3))


def test_sets_of_many_equal_items_are_refused_beyond_the_memory():
    with pytest.raises(ValueError, match="Re-ranking 400 items needs memory_mib of about"):
        reranked_scores(np.ones((400, 2)), np.arange(400) % 2, memory_mib=1)
