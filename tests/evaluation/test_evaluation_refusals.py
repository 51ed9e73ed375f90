"""What is refused, with which sentence; and the examples of the docstrings."""

import doctest
import importlib
import sys

import numpy as np
import pytest
import torch

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
        ((np.arange(12).reshape(6, 2) + 2**53, LABELS), {}, r"beyond 2\*\*53 in 6 of 6 rows"),
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
        (([[1.0], [2.0, 3.0]], LABELS), {}, "embeddings cannot be read as an array"),
        ((torch.ones(6, 2, requires_grad=True), LABELS), {}, "embeddings cannot be read as an"),
        ((torch.ones(6, 2, dtype=torch.bfloat16), LABELS), {}, "embeddings cannot be read as"),
        ((POINTS, [0, 0, 1, 1, 2, float("nan")]), {}, "all strings: row 5 is nan"),
        ((POINTS, [0, 0, 1, 1, 2, 2.5]), {}, "all strings: row 5 is 2.5"),
        ((POINTS, [0, 0, 1, 1, "x", "x"]), {}, "all strings: row 4 is 'x'"),
        ((POINTS, ["a", "a", None, "b", "c", "c"]), {}, "all strings: row 2 is None"),
        ((POINTS, [0, 0, 1, 1, 2, 2**64]), {}, "all strings: row 5 is 18446744073709551616"),
        ((POINTS, LABELS), {"ks": 5}, "ks must be a sequence"),
        ((POINTS, LABELS), {"ks": np.array(5)}, "ks must be a sequence"),
        ((POINTS, LABELS), {"backend": "Torch-cpu"}, "did you mean 'torch-cpu'"),
        ((POINTS, LABELS), {"backend": 3}, "backend must be a string"),
        ((POINTS, LABELS), {"distance": "Euclid"}, "did you mean 'euclidean'"),
        ((POINTS, LABELS), {"memory_mib": 0.5}, "memory_mib must be an integer"),
        ((POINTS, LABELS), {"ks": [1.5]}, "Every K of ks must be an integer"),
        ((POINTS, LABELS), {"ks": [True]}, "Every K of ks must be an integer"),
        ((POINTS, LABELS), {"distance": None}, "distance must be a string"),
    ],
)
def test_retrieval_refuses_types(arguments, settings, message):
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(*arguments, **settings)


def test_numpy_scalars_whole_floats_and_extreme_budgets_pass():
    expected = retrieval_metrics(POINTS, LABELS, ks=[1, 2])
    for settings in (
        {"ks": np.array([1, 2], np.int32)},
        {"ks": (np.int64(k) for k in (1, 2))},
        {"ks": [1, 2], "memory_mib": np.int16(1)},
        {"ks": [1, 2], "memory_mib": 10**30},
    ):
        assert retrieval_metrics(POINTS, LABELS, **settings) == expected
    for labels in (np.array(LABELS, float), list(map(float, LABELS)), np.array(LABELS, np.uint64)):
        assert retrieval_metrics(POINTS, labels, ks=[1, 2]) == expected
        assert clustering_metrics(POINTS, labels) == clustering_metrics(POINTS, LABELS)
    assert classification_metrics([0.0, 1.0], [0, 1])["accuracy"] == 1.0


@pytest.mark.skipif(faiss_gpus() > 0, reason="there is a GPU to search on")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="'faiss-gpu' needs faiss-gpu and a visible GPU"):
        chosen_backend("faiss-gpu")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (None, "which is not installed"),
        ("raise ImportError('libfaiss.so: undefined symbol: _ZN5')", "broken: libfaiss.so: und"),
        ("raise OSError('libopenblas.so.0:\\n cannot open')", "which is broken: libopenblas.so.0:"),
        ("import a_module_that_is_not_there", "which is broken: No module named 'a_module_that"),
        ("raise AttributeError('_ARRAY_API not found')", "which is broken: _ARRAY_API not found"),
        ("x = 1", "and faiss is another module here"),
    ],
)
def test_a_missing_or_broken_faiss_matters_only_where_it_is_asked_for(
    code, reason, monkeypatch, tmp_path
):
    expected = retrieval_metrics(POINTS, LABELS)
    clusters = clustering_metrics(POINTS, LABELS)
    if code is None:
        monkeypatch.setitem(sys.modules, "faiss", None)
    else:
        (tmp_path / "faiss.py").write_text(code)
        monkeypatch.delitem(sys.modules, "faiss", raising=False)
        monkeypatch.syspath_prepend(tmp_path)
    assert chosen_backend().startswith("torch-")
    assert retrieval_metrics(POINTS, LABELS) == expected
    assert clustering_metrics(POINTS, LABELS) == clusters
    for asked in ("faiss-cpu", "faiss-gpu"):
        with pytest.raises(ValueError, match=f"'{asked}' needs the package .*{reason}") as refusal:
            retrieval_metrics(POINTS, LABELS, backend=asked)
        assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match=f"An approximate index needs .*faiss-gpu, .*{reason}"):
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
        ((POINTS, list("abcdef")), {}, ValueError, "labels must be integers"),
        (([0.5, 1.5], [0, 1]), {}, ValueError, "scores must be all integers"),
    ],
)
def test_classification_refuses(arguments, settings, kind, message):
    with pytest.raises(kind, match=message):
        classification_metrics(*arguments, **settings)


@pytest.mark.parametrize(
    "module", ["backends", "retrieval", "clustering", "classification", "verification"]
)
def test_docstring_examples_run(module):
    failed, tried = doctest.testmod(importlib.import_module(f"stt_bench.evaluation.{module}"))
    assert tried > 0
    assert failed == 0
