"""Classification: accuracy over items, over classes, and within the five best."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from stt_bench.evaluation.checks import (
    as_array,
    check_count,
    check_labels,
    check_matrix,
    check_same_kind,
)


def classification_metrics(
    scores: ArrayLike, labels: ArrayLike, *, num_classes: int | None = None
) -> dict[str, float]:
    """Compare predicted classes, or the scores of all classes, with the labels.

    * accuracy: the share of items whose class is predicted;
    * macro accuracy: the mean over the classes present in `labels` of their share of right
      predictions (balanced accuracy), to which every class counts alike;
    * top-5 accuracy: the share of items whose class is among the five of highest score.

    Equal scores count as their expectation over a random order: with s classes scored strictly
    higher and t scored equal (its own included), a class is among the K best with probability
    clip((K − s) / t, 0, 1). A constant classifier of C classes scores 1/C.

    Args:
        scores: (N, C) finite scores, such as logits, or (N,) predicted classes.
        labels: (N,) the true classes: integers in [0, C) beside scores, integers or strings
            beside predicted classes.
        num_classes: C, checked where it is given.

    Returns:
        `accuracy`, `macro_accuracy` and, for scores of more than five classes,
        `top5_accuracy`, all in [0, 1].

    Raises:
        ValueError: for NaN or infinite scores, shapes or lengths that do not fit, empty input,
            classes outside [0, C), `num_classes` other than C, or arguments of a wrong type.

    Example:
        >>> classification_metrics([0, 0, 1, 1], [0, 0, 0, 1])
        {'accuracy': 0.75, 'macro_accuracy': 0.8333333333333333}
    """
    if num_classes is not None:
        num_classes = check_count("num_classes", num_classes)
    given = as_array("scores", scores)
    if given.size == 0:
        raise ValueError("scores is empty.")
    if given.ndim == 1:
        predicted = check_labels("scores", scores, len(given))
        truth = check_labels("labels", labels, len(predicted))
        check_same_kind("scores", predicted, "labels", truth)
        if num_classes is not None:
            _check_range("scores", predicted, num_classes)
            _check_range("labels", truth, num_classes)
        return _summary(truth, {"": (predicted == truth).astype(np.float64)})

    matrix = check_matrix("scores", scores).astype(np.float64)
    if num_classes not in (None, matrix.shape[1]):
        raise ValueError(f"scores has {matrix.shape[1]} classes and num_classes is {num_classes}.")
    truth = check_labels("labels", labels, len(matrix))
    _check_range("labels", truth, matrix.shape[1])
    own = matrix[np.arange(len(matrix)), truth][:, None]
    higher, equal = (matrix > own).sum(axis=1), (matrix == own).sum(axis=1)
    right = {"": np.clip((1 - higher) / equal, 0.0, 1.0)}
    if matrix.shape[1] > 5:
        right["top5_"] = np.clip((5 - higher) / equal, 0.0, 1.0)
    return _summary(truth, right)


def confusion_matrix(scores: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Count which classes the items of each class are given to.

    An item with several classes of highest score counts for each of them in equal parts, so that
    the diagonal over the row sums is the recall of `classification_metrics`.

    Args:
        scores: (N, C) finite scores, such as logits.
        labels: (N,) the true classes, integers in [0, C).

    Returns:
        (C, C) float64: entry i, j is the number of items of class i that are predicted as j.

    Raises:
        ValueError: as `classification_metrics`.
    """
    matrix = check_matrix("scores", scores).astype(np.float64)
    truth = check_labels("labels", labels, len(matrix))
    _check_range("labels", truth, matrix.shape[1])
    best = (matrix == matrix.max(axis=1, keepdims=True)).astype(np.float64)
    counts = np.zeros((matrix.shape[1], matrix.shape[1]))
    np.add.at(counts, truth, best / best.sum(axis=1, keepdims=True))
    return counts


def _summary(truth: np.ndarray, right: dict[str, np.ndarray]) -> dict[str, float]:
    """Average the right predictions over items and, for the first kind, over classes."""
    _, classes, sizes = np.unique(truth, return_inverse=True, return_counts=True)
    recalls = np.bincount(classes, right[""]) / sizes
    return {
        "accuracy": float(right[""].mean()),
        "macro_accuracy": float(recalls.mean()),
        **{f"{name}accuracy": float(values.mean()) for name, values in right.items() if name},
    }


def _check_range(name: str, classes: np.ndarray, count: int) -> None:
    """Refuse classes that are no integers in [0, count)."""
    if classes.dtype.kind != "i":
        raise ValueError(f"{name} must be integers in [0, {count}), not strings.")
    if classes.min() < 0 or classes.max() >= count:
        raise ValueError(
            f"{name} must lie in [0, {count}), not in [{classes.min()}, {classes.max()}]."
        )
