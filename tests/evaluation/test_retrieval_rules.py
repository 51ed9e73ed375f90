"""What a camera rule, junk and several labels make of lists, against plain loops."""

import tracemalloc
from contextlib import nullcontext

import numpy as np
import pytest
from clustered_points import clustered
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval_problems import problems, search_like_a_large_one
from rules_reference import ruled_reference

from stt_bench.evaluation import retrieval_metrics, retrieval_scores, search
from stt_bench.evaluation.measures import METRICS
from stt_bench.evaluation.search import NeighborSearch

BACKENDS = ["faiss-cpu", "torch-cpu", "dense"]
KS = (1, 3, 40)


@st.composite
def ruled_problems(draw):
    """Arguments with any of groups, junk, ids and several labels, and the own rows of queries."""
    points, labels, distance = draw(problems())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = len(points)
    if draw(st.booleans()):
        names = sorted(set(labels.tolist()))
        labels = [
            [label, *rng.choice(names, rng.integers(0, 3))][: rng.integers(0, 4)]
            for label in labels.tolist()
        ]
        labels[0] = labels[-1] = labels[1] = [names[0], names[-1]]
    first, last = draw(st.integers(0, 3)), size - draw(st.integers(0, 3))
    given = {"distance": distance, "groups_apply_to": draw(st.sampled_from(["label", "all"]))}
    own = {}
    if draw(st.booleans()):
        queries, held, theirs = points, points, labels
        own = {row: row for row in range(size)}
    else:
        queries, held, theirs = points[first:], points[:last], labels[:last]
        labels = labels[first:]
        given |= {"gallery": held, "gallery_labels": theirs}
        if draw(st.booleans()):
            given |= {"query_ids": range(first, size), "gallery_ids": range(last)}
            own = {row - first: row for row in range(first, last)}
        if draw(st.booleans()):
            given["junk"] = rng.random(last) < 0.2
            given["junk"][0] = False
    if draw(st.booleans()):
        groups = np.array(
            [f"camera {one}" for one in rng.integers(0, draw(st.integers(1, 5)), size)]
        )
        given["query_groups"] = groups[size - len(queries) :]
        if "gallery" in given:
            given["gallery_groups"] = groups[:last]
    return queries, labels, held, theirs, given, own


def expected_of(problem, **settings):
    queries, labels, held, theirs, given, own = problem
    rules = {k: v for k, v in given.items() if k not in ("gallery", "gallery_labels", "query_ids")}
    rules.pop("gallery_ids", None)
    if "query_groups" in rules:
        rules.setdefault("gallery_groups", rules["query_groups"])
    return ruled_reference(queries, labels, held, theirs, own=own, **rules, **settings)


@settings(max_examples=100, deadline=None)
@given(
    ruled_problems(),
    st.sampled_from(BACKENDS),
    st.sampled_from([None, 1, 200, 1000, 5000, 2**29]),
    st.integers(0, 3),
    st.sampled_from(["min", "relevant"]),
    st.sets(st.sampled_from(METRICS), min_size=1),
)
def test_every_metric_equals_the_loops(problem, backend, memory, spare, map_at_k, metrics):
    queries, labels, _, _, given, _ = problem
    expected = expected_of(problem, ks=KS, map_at_k=map_at_k)
    settings = {"ks": KS, "metrics": metrics, "map_at_k": map_at_k, "backend": backend}
    if not any(expected):
        with pytest.raises(ValueError, match="positive"):
            retrieval_scores(queries, labels, **given, **settings)
        return
    with nullcontext() if memory is None else search_like_a_large_one(memory, spare):
        scores = retrieval_scores(queries, labels, **given, **settings, memory_mib=1)
    assert scores.scored.tolist() == [one is not None for one in expected]
    for row, one in zip(scores.values.tolist(), expected, strict=True):
        if one:
            named = {name: one[name] for name in scores.names}
            assert dict(zip(scores.names, row, strict=True)) == pytest.approx(named, abs=1e-12)


def reid(seed=0, noise=0.6):
    """Queries and gallery of 12 identities under 4 cameras, each of which moves the points."""
    points, labels = clustered(12, 20, 8, noise, seed)
    cameras = np.random.default_rng(seed).integers(0, 4, len(labels))
    points += np.eye(4, 8, dtype=np.float32)[cameras]
    return points[:60], labels[:60], cameras[:60], points[60:], labels[60:], cameras[60:]


@pytest.mark.parametrize("rule", ["label", "all"])
def test_each_way_is_taken_and_all_agree_to_the_bit(rule, monkeypatch):
    """Lists, longer lists and counts under a rule; removals are many under `all`."""
    x, y, cameras, gallery, theirs, others = reid(noise=20.0)
    given = {"gallery": gallery, "gallery_labels": theirs, "groups_apply_to": rule}
    given |= {"query_groups": cameras, "gallery_groups": others, "metrics": ("recall", "mrr")}
    expected = retrieval_scores(x, y, **given, backend="dense").values.tobytes()
    counts, count = [], search.count_nearer
    monkeypatch.setattr(
        search, "count_nearer", lambda *given: counts.append(given) or count(*given)
    )
    for patience in (-1, 10**9):
        monkeypatch.setattr(NeighborSearch, "_patience", lambda _, most=patience: most)
        for backend in BACKENDS:
            counts.clear()
            with search_like_a_large_one(4096):
                found = retrieval_scores(x, y, **given, backend=backend, memory_mib=1)
            assert found.values.tobytes() == expected
            if backend != "dense":
                assert bool(counts) == (patience > 0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rule", ["label", "all"])
def test_a_removed_item_scores_as_if_it_had_never_been_there(rule, backend):
    x, y, cameras, gallery, theirs, others = reid()
    asked = {"metrics": METRICS, "ks": (1, 5, 10), "backend": backend}
    found = retrieval_scores(
        x, y, gallery=gallery, gallery_labels=theirs, query_groups=cameras, gallery_groups=others,
        groups_apply_to=rule, **asked,
    )  # fmt: skip
    for query in range(len(x)):
        same = others == cameras[query]
        left = ~same if rule == "all" else ~(same & (theirs == y[query]))
        alone = retrieval_scores(
            x[query : query + 1], y[query : query + 1], gallery=gallery[left],
            gallery_labels=theirs[left], **asked,
        )  # fmt: skip
        assert found.values[query].tobytes() == alone.values[0].tobytes()


def test_the_camera_rule_by_hand():
    """One query of identity 7 seen by camera 1; distances are the gallery's own coordinates."""
    gallery = np.array([[0.1], [0.2], [0.3], [0.4], [0.5], [0.6]])
    labels, cameras = [7, 9, -1, 7, 0, 7], [1, 1, 1, 2, 2, 3]
    given = {
        "gallery": gallery,
        "gallery_labels": labels,
        "metrics": ("recall", "map"),
        "ks": (1, 2),
    }
    given |= {"junk": np.array(labels) == -1, "query_groups": [1], "gallery_groups": cameras}
    # Left: 9, 7, 0, 7; identity 0 stays as a distractor.
    found = retrieval_metrics([[0.0]], [7], **given)
    assert (found["recall@1"], found["recall@2"]) == (0.0, 1.0)
    assert found["map"] == pytest.approx((1 / 2 + 2 / 4) / 2)
    # Camera 1 as a whole is left out: 7, 0, 7.
    found = retrieval_metrics([[0.0]], [7], **given, groups_apply_to="all")
    assert found["recall@1"] == 1.0
    assert found["map"] == pytest.approx((1 + 2 / 3) / 2)


def test_several_labels_share_one_to_match_and_count_in_each_class():
    """Distances 1, 2, 3 from the query; it shares `b` with the second and `a` with the third."""
    scores = retrieval_scores(
        [[0.0], [10.0]], [["a", "b"], ["b"]], gallery=[[1.0], [2.0], [3.0]],
        gallery_labels=["c", "b", "a"], metrics=("map", "recall"), ks=(1,),
    )  # fmt: skip
    assert scores.values[:, scores.names.index("map")].tolist() == pytest.approx(
        [(1 / 2 + 2 / 3) / 2, 1 / 2]
    )
    assert scores.per_class()["a"]["map"] == pytest.approx(7 / 12)
    assert scores.per_class()["b"] == pytest.approx({"map": 13 / 24, "recall@1": 0.0, "queries": 2})
    assert scores.metrics("class")["map"] == pytest.approx((7 / 12 + 13 / 24) / 2)
    assert scores.metrics()["map"] == pytest.approx(13 / 24)
    with pytest.raises(ValueError, match="several labels: give unit='query'"):
        scores.intervals()


def test_one_label_in_a_list_is_that_label():
    points, labels = clustered(8, 6, 5, 1.0)
    lists = [[label] for label in labels.tolist()]
    for rules in ({}, {"query_groups": np.arange(48) % 3}):
        expected = retrieval_metrics(points, labels, **rules, metrics=METRICS)
        assert retrieval_metrics(points, lists, **rules, metrics=METRICS) == expected


def test_class_averages_give_small_classes_the_weight_of_large_ones():
    points = np.array([[0.0], [0.1], [0.2], [0.25], [5.0], [5.2], [5.1], [9.0]])
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 3])
    found = retrieval_metrics(points, labels, ks=(1,), average="class")
    assert found["recall@1"] == (1 + 0) / 2  # of the four queries of 0 and the two of 1
    assert retrieval_metrics(points, labels, ks=(1,))["recall@1"] == pytest.approx(4 / 6)
    assert (found["queries"], found["queries_without_positive"]) == (6, 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gallery_groups": [1] * 4}, "gallery_groups needs gallery"),
        ({"junk": [True] * 4}, "junk needs gallery"),
        ({"metrics": ("maps",)}, "Unknown metric 'maps': did you mean 'map'"),
        ({"metrics": "map"}, "metrics must be a sequence of names, not 'map'"),
        ({"metrics": ()}, "metrics and ks name nothing to measure"),
        ({"metrics": ("ndcg",), "ks": ()}, "metrics and ks name nothing to measure"),
        ({"average": "clas"}, "Unknown average 'clas': did you mean 'class'"),
        ({"map_at_k": "max"}, "Unknown map_at_k 'max'"),
        ({"groups_apply_to": "labels"}, "Unknown groups_apply_to 'labels': did you mean 'label'"),
        ({"query_groups": [1, 2, 3]}, "query_groups has 3 entries for 4 rows"),
        ({"query_groups": [1] * 4}, "No query has a positive: .* that a rule or junk leaves in"),
        ({"labels": [[0], 0, [1], [1]]}, "one label for every item or a list .*: row 1 is 0"),
        ({"labels": [[0], [0], [1], ["a"]]}, "all integers or all strings: label 3 is 'a'"),
        ({"labels": [[], [], [], []]}, "labels are empty for every item"),
        ({"labels": [[0], [0], [1]]}, "labels has 3 entries for 4 rows"),
    ],
)
def test_refusals_of_one_set(given, message):
    arguments = {"embeddings": np.eye(4), "labels": [0, 0, 1, 1]} | given
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(**arguments)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"query_groups": [1] * 4}, "query_groups and gallery_groups go together"),
        ({"gallery_groups": [1] * 3}, "query_groups and gallery_groups go together"),
        (
            {"query_groups": [1] * 4, "gallery_groups": ["a"] * 3},
            "query_groups are integers but gallery_groups are strings",
        ),
        ({"junk": [True] * 3}, "junk leaves no item in the gallery"),
        ({"junk": [1, 0, 0]}, "junk must hold True or False for every item, not int64"),
        ({"junk": [True] * 4}, r"junk must have shape \(3,\) as the gallery, not \(4,\)"),
        ({"labels": [["a"]] * 4}, "labels are strings but gallery_labels are integers"),
    ],
)
def test_refusals_of_query_and_gallery(given, message):
    arguments = {"embeddings": np.eye(4), "labels": [0, 0, 1, 1]} | given
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(**arguments, gallery=np.eye(3, 4), gallery_labels=[0, 1, 1])


def test_memory_stays_far_below_all_pairs_under_a_rule():
    points, labels = clustered(400, 4, 16, 1.5)

    def measure(size):
        groups = np.arange(size) % 7
        asked = {"metrics": ("recall", "map"), "query_groups": groups, "memory_mib": 2}
        retrieval_metrics(points[:size], labels[:size], **asked)

    measure(200)  # imports are no tables
    tracemalloc.start()
    measure(1600)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1600**2 * 8 / 4
