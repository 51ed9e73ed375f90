"""What is refused, with which sentence; and the examples of the docstrings."""

import doctest
import importlib

import numpy as np
import pytest

from stt_bench.evaluation import (
    approximate_retrieval_metrics,
    chosen_backend,
    classification_metrics,
    clustering_metrics,
    retrieval_metrics,
)
from stt_bench.evaluation.backends import faiss_gpus

POINTS = np.arange(12.0).reshape(6, 2)
LABELS = [0, 0, 1, 1, 2, 2]
BROKEN = POINTS.copy()
BROKEN[2, 1] = np.nan
BROKEN[4] = np.inf
GALLERY = {"gallery": POINTS, "gallery_labels": LABELS}


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((BROKEN, LABELS), {}, "embeddings holds .* in 2 of 6 rows, first in row 2"),
        ((POINTS * 1e300, LABELS), {}, "beyond float32 in 6 of 6 rows"),
        ((POINTS[0], LABELS), {}, r"shape \(N, D\), not \(2,\)"),
        ((POINTS[:0], []), {}, "embeddings is empty"),
        ((POINTS[:, :0], LABELS), {}, "embeddings is empty"),
        ((POINTS, LABELS[:5]), {}, "labels has 5 entries for 6 rows"),
        ((POINTS, np.reshape(LABELS, (6, 1))), {}, r"labels must have shape \(N,\)"),
        ((POINTS, range(6)), {}, "No query has a positive"),
        ((POINTS, LABELS), {"distance": "cosin"}, "Unknown distance 'cosin': did you mean 'cosine"),
        ((POINTS, LABELS), {"distance": "xyz"}, "valid: cosine, euclidean"),
        ((POINTS, LABELS), {"backend": "fais-cpu"}, "did you mean 'faiss-cpu'"),
        ((POINTS, LABELS), {"ks": (1, 0)}, "Every K of ks must be at least 1, not 0"),
        ((POINTS, LABELS), {"ks": (1, 10**20)}, r"Every K of ks must be below 2\*\*31"),
        ((POINTS, LABELS), {"memory_mib": 0}, "memory_mib must be at least 1"),
        ((POINTS, LABELS), {"gallery": POINTS}, "gallery needs gallery_labels"),
        ((POINTS, LABELS), {"gallery_labels": LABELS}, "gallery_labels needs gallery"),
        ((POINTS, LABELS), {"query_ids": LABELS}, "query_ids needs gallery"),
        ((POINTS, LABELS), {**GALLERY, "gallery": BROKEN}, "gallery holds .* in 2 of 6 rows"),
        ((POINTS[:, :1], LABELS), GALLERY, "gallery has 2 dimensions and embeddings has 1"),
        ((POINTS, ["a"] * 6), GALLERY, "labels are strings but gallery_labels are integers"),
        ((POINTS, [9] * 6), GALLERY, "No query has a positive"),
        ((POINTS, LABELS), {**GALLERY, "query_ids": range(6)}, "go together"),
        (
            (POINTS, LABELS),
            {**GALLERY, "query_ids": range(6), "gallery_ids": [0, 1, 2, 3, 4, 3]},
            "gallery_ids repeats '3'",
        ),
        (
            (POINTS, LABELS),
            {**GALLERY, "query_ids": list("abcdea"), "gallery_ids": list("abcdef")},
            "query_ids repeats 'a'",
        ),
        (
            (POINTS, LABELS),
            {**GALLERY, "query_ids": range(6), "gallery_ids": list("abcdef")},
            "query_ids are integers but gallery_ids are strings",
        ),
    ],
)
def test_retrieval_refuses(arguments, settings, message):
    with pytest.raises(ValueError, match=message) as refusal:
        retrieval_metrics(*arguments, **settings)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (([["a", "b"]] * 6, LABELS), {}, "embeddings must hold real numbers"),
        ((POINTS * 1j, LABELS), {}, "embeddings must hold real numbers"),
        ((POINTS, np.array(LABELS) + 0.5), {}, "labels must be all integers or all strings"),
        ((POINTS, [0, 0, 1, 1, "x", None]), {}, "labels must be all integers or all strings"),
        ((POINTS, np.array([0, "x"] * 3, object)), {}, "labels must be all integers or all"),
        ((POINTS, LABELS), {"ks": 5}, "ks must be a sequence"),
        ((POINTS, LABELS), {"ks": [1.5]}, "Every K of ks must be an integer"),
        ((POINTS, LABELS), {"ks": [True]}, "Every K of ks must be an integer"),
        ((POINTS, LABELS), {"distance": None}, "distance must be a string"),
    ],
)
def test_retrieval_refuses_types(arguments, settings, message):
    with pytest.raises(TypeError, match=message):
        retrieval_metrics(*arguments, **settings)


@pytest.mark.skipif(faiss_gpus() > 0, reason="there is a GPU to search on")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="'faiss-gpu' needs faiss-gpu and a visible GPU"):
        chosen_backend("faiss-gpu")


def test_without_faiss_torch_searches_and_faiss_is_refused(monkeypatch):
    expected = retrieval_metrics(POINTS, LABELS)
    clusters = clustering_metrics(POINTS, LABELS)
    monkeypatch.setitem(importlib.sys.modules, "faiss", None)
    assert chosen_backend().startswith("torch-")
    assert retrieval_metrics(POINTS, LABELS) == expected
    assert clustering_metrics(POINTS, LABELS) == clusters
    with pytest.raises(ValueError, match="needs the package faiss-cpu or faiss-gpu"):
        retrieval_metrics(POINTS, LABELS, backend="faiss-cpu")
    with pytest.raises(ValueError, match="An approximate index needs the package faiss-cpu"):
        approximate_retrieval_metrics(POINTS, LABELS)


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((BROKEN, LABELS), {}, "embeddings holds .* in 2 of 6 rows"),
        ((POINTS[:1], [0]), {}, "at least two rows"),
        ((POINTS, LABELS[:5]), {}, "labels has 5 entries"),
        ((POINTS, LABELS), {"restarts": 0}, "restarts must be at least 1"),
        ((POINTS, LABELS), {"seed": -1}, "seed must be at least 0"),
        ((POINTS, LABELS), {"distance": "euclid"}, "did you mean 'euclidean'"),
        ((POINTS, LABELS), {"start": "kmeans++"}, "did you mean 'k-means"),
    ],
)
def test_clustering_refuses(arguments, settings, message):
    with pytest.raises(ValueError, match=message):
        clustering_metrics(*arguments, **settings)


@pytest.mark.parametrize(
    ("arguments", "settings", "kind", "message"),
    [
        ((BROKEN, [0] * 6), {}, ValueError, "scores holds .* in 2 of 6 rows"),
        (([], []), {}, ValueError, "scores is empty"),
        ((POINTS, [0] * 5), {}, ValueError, "labels has 5 entries"),
        ((POINTS, [0, 1, 0, 1, 0, 2]), {}, ValueError, r"lie in \[0, 2\), not in \[0, 2\]"),
        ((POINTS, [0, 1, 0, 1, 0, -1]), {}, ValueError, r"lie in \[0, 2\)"),
        ((POINTS, [0] * 6), {"num_classes": 3}, ValueError, "2 classes and num_classes is 3"),
        (([0, 5], [0, 1]), {"num_classes": 3}, ValueError, r"scores must lie in \[0, 3\)"),
        (([0, 1], ["a", "b"]), {}, ValueError, "scores are integers but labels are strings"),
        ((POINTS, list("abcdef")), {}, TypeError, "labels must be integers"),
        (([0.5, 1.5], [0, 1]), {}, TypeError, "scores must be all integers"),
    ],
)
def test_classification_refuses(arguments, settings, kind, message):
    with pytest.raises(kind, match=message):
        classification_metrics(*arguments, **settings)


@pytest.mark.parametrize("module", ["backends", "retrieval", "clustering", "classification"])
def test_docstring_examples_run(module):
    failed, tried = doctest.testmod(importlib.import_module(f"stt_bench.evaluation.{module}"))
    assert tried > 0
    assert failed == 0
