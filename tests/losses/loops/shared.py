"""What several loops share."""

import math
from contextlib import contextmanager

import numpy as np

_only = []  # the one row that is an anchor, where only one is

METRICS = ("euclidean", "squared_euclidean", "cosine", "cityblock")


def anchors(x):
    """Return the rows that are anchors: all, but for `only`."""
    return _only or range(len(x))


@contextmanager
def only(row):
    """Leave out every other row as an anchor, inside."""
    _only[:] = [row]
    try:
        yield
    finally:
        _only.clear()


def unit(x):
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, lengths, out=np.zeros_like(x), where=lengths > 0)


def between(u, v, distance):
    if distance == "euclidean":
        return math.sqrt(sum((u - v) ** 2))
    if distance == "squared_euclidean":
        return sum((u - v) ** 2)
    if distance == "cityblock":
        return sum(abs(u - v))
    return 1 - (u @ v) / (np.linalg.norm(u) * np.linalg.norm(v))


def rows_of(x, y, distance, normalize):
    """Yield for every anchor its positives' and its negatives' distances."""
    x = unit(x) if normalize else x
    for a in anchors(x):
        d = [between(x[a], x[j], distance) for j in range(len(x))]
        yield (
            [d[j] for j in range(len(x)) if j != a and y[j] == y[a]],
            [d[j] for j in range(len(x)) if y[j] != y[a]],
        )


def hinge(v, margin):
    if margin == "soft":
        return math.log1p(math.exp(-abs(v))) + max(v, 0)
    return v if margin == "none" else max(v + margin, 0.0)


def log_total(logits):
    top = max(logits)
    return top + math.log(sum(math.exp(s - top) for s in logits))


def summary(terms):
    if not terms:
        return 0.0, 0, 0.0
    return sum(terms) / len(terms), len(terms), sum(t > 0 for t in terms) / len(terms)


def pair_loss(x, y, l2_weight, logit):
    pairs = [i for i in range(0, len(x) - 1, 2) if y[i] == y[i + 1]]
    if len({y[i] for i in pairs}) < 2:
        return 0.0, 0, None
    terms = []
    for i in pairs:
        if i not in anchors(x):
            continue
        logits = {j: logit(x, i, j) for j in pairs}
        total = log_total(logits.values())
        own = [j for j in pairs if y[j] == y[i]]
        terms.append(sum(total - logits[j] for j in own) / len(own))
        terms[-1] += 0.25 * l2_weight * (x[i] @ x[i] + x[i + 1] @ x[i + 1])
    return (*summary(terms)[:2], None)


def cosine_rows(x, y):
    """Yield for every anchor its positives' and its negatives' cosines."""
    for positives, negatives in rows_of(x, y, "squared_euclidean", True):
        yield [1 - d / 2 for d in positives], [1 - d / 2 for d in negatives]


def smooth(terms):
    """Return the summary of terms that are never 0."""
    return (*summary(terms)[:2], None)
