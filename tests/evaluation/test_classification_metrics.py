"""Accuracy over items and classes, against scikit-learn and simulation of ties."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, top_k_accuracy_score
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix

from stt_bench.evaluation import classification_metrics, confusion_matrix


@pytest.mark.parametrize("classes", [2, 5, 6, 30])
def test_scores_equal_scikit_learn_without_ties(classes):
    rng = np.random.default_rng(classes)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, 200)])
    logits = rng.normal(size=(len(labels), classes)) + 2 * np.eye(classes)[labels]
    scores = classification_metrics(logits, labels, num_classes=classes)
    predicted = logits.argmax(axis=1)
    assert scores["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert scores["macro_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert ("top5_accuracy" in scores) == (classes > 5)
    if classes > 5:
        assert scores["top5_accuracy"] == pytest.approx(top_k_accuracy_score(labels, logits, k=5))
    from_classes = classification_metrics(predicted, labels, num_classes=classes)
    assert from_classes == {
        "accuracy": scores["accuracy"],
        "macro_accuracy": scores["macro_accuracy"],
    }


def test_a_constant_classifier_scores_chance_whatever_the_order_of_classes():
    labels = np.array([0] * 70 + [1] * 20 + [9] * 10)
    scores = classification_metrics(np.zeros((100, 10)), labels)
    assert scores == pytest.approx({"accuracy": 0.1, "macro_accuracy": 0.1, "top5_accuracy": 0.5})


def test_ties_are_the_mean_over_random_orders():
    rng = np.random.default_rng(0)
    logits, labels = rng.integers(0, 3, (60, 8)), rng.integers(0, 8, 60)
    scores = classification_metrics(logits, labels)
    runs = [classification_metrics(logits + 1e-3 * rng.random((60, 8)), labels) for _ in range(300)]
    for key in scores:
        assert np.mean([run[key] for run in runs]) == pytest.approx(scores[key], abs=0.01)


def test_macro_accuracy_is_over_the_classes_present():
    scores = classification_metrics([2, 2, 2, 3], [2, 2, 2, 1], num_classes=50)
    assert scores == {"accuracy": 0.75, "macro_accuracy": 0.5}


def test_classes_may_be_strings_and_logits_double():
    scores = classification_metrics(np.array(["cat", "dog"], object), ["cat", "cat"])
    assert scores["accuracy"] == 0.5
    assert classification_metrics([[1.0, 1.0 + 1e-12]], [1])["accuracy"] == 1.0


def test_confusion_matrix_equals_scikit_learn_without_ties():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 6, 200)  # class 6 has no item
    logits = rng.normal(size=(200, 7)) + 1.5 * np.eye(7)[labels]
    expected = sklearn_confusion_matrix(labels, logits.argmax(axis=1), labels=range(7))
    np.testing.assert_array_equal(confusion_matrix(logits, labels), expected)


def test_ties_are_shared_among_the_confused_classes():
    matrix = confusion_matrix([[1, 1, 0], [0, 2, 0], [3, 3, 3]], [0, 0, 2])
    np.testing.assert_allclose(matrix, [[0.5, 1.5, 0], [0, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
    scores = classification_metrics([[1, 1, 0], [0, 2, 0], [3, 3, 3]], [0, 0, 2])
    assert scores["accuracy"] == pytest.approx(np.trace(matrix) / 3)
