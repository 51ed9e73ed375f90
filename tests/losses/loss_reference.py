"""The losses written out as loops over float64 numbers: slow, and easy to check by eye.

Each function returns (loss, number of terms, share of the terms above 0). It shares no code with
the package under test.
"""

import math

import numpy as np


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
    for a in range(len(x)):
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


def hard_triplet(x, y, margin=1.0, distance="euclidean", normalize=False):
    rows = rows_of(x, y, distance, normalize)
    return summary([hinge(max(p) - min(n), margin) for p, n in rows if p and n])


def priming(x, y, distance="euclidean", normalize=True):
    rows = rows_of(x, y, distance, normalize)
    return summary([max(p) ** 2 + math.exp(-10 * min(n)) for p, n in rows if p and n])


def semi_hard_triplet(
    x,
    y,
    margin=0.2,
    distance="squared_euclidean",
    normalize=True,
    per="pair",
    semi_margin=0.0,
):
    terms = []
    for positives, negatives in rows_of(x, y, distance, normalize):
        if not positives or not negatives:
            continue
        for p in positives if per == "pair" else [max(positives)]:
            farther = [n for n in negatives if n > p + semi_margin]
            if farther:
                terms.append(hinge(p - min(farther), margin))
            else:
                terms.append(hinge(p - max(negatives), margin) if per == "pair" else 0.0)
    return summary(terms)


def batch_all_triplet(x, y, margin=0.5, distance="euclidean", normalize=False):
    rows = rows_of(x, y, distance, normalize)
    terms = [max(p - n + margin, 0.0) for ps, ns in rows for p in ps for n in ns]
    active = [t for t in terms if t > 1e-12]
    if not active:
        return 0.0, len(terms), 0.0
    return sum(active) / len(active), len(terms), len(active) / len(terms)


def lifted(x, y, margin=1.0, normalize=False):
    x = unit(x) if normalize else x
    terms = []
    for i in range(len(x)):
        for j in range(i):
            if y[i] != y[j]:
                continue
            crowd = [
                margin - between(x[end], x[k], "euclidean")
                for end in (i, j)
                for k in range(len(x))
                if y[k] != y[end]
            ]
            if crowd:
                terms.append(max(log_total(crowd) + between(x[i], x[j], "euclidean"), 0) ** 2 / 2)
    return summary(terms)


def _pair_loss(x, y, l2_weight, logit):
    pairs = [i for i in range(0, len(x) - 1, 2) if y[i] == y[i + 1]]
    if len({y[i] for i in pairs}) < 2:
        return 0.0, 0, 0.0
    terms = []
    for i in pairs:
        logits = {j: logit(x, i, j) for j in pairs}
        total = log_total(logits.values())
        own = [j for j in pairs if y[j] == y[i]]
        terms.append(sum(total - logits[j] for j in own) / len(own))
    squares = sum(x[i] @ x[i] + x[i + 1] @ x[i + 1] for i in pairs) / len(pairs)
    return sum(terms) / len(terms) + 0.25 * l2_weight * squares, len(terms), 1.0


def npairs(x, y, l2_weight=0.002):
    return _pair_loss(x, y, l2_weight, lambda x, i, j: x[i] @ x[j + 1])


def angular(x, y, angle=45.0, l2_weight=0.002, normalize=True):
    tan2 = math.tan(math.radians(angle)) ** 2

    def logit(x, i, j):
        if i == j:
            return 2 * (1 + tan2) * (x[i] @ x[i + 1])
        return 4 * tan2 * ((x[i] + x[i + 1]) @ x[j + 1])

    return _pair_loss(unit(x) if normalize else x, y, l2_weight, logit)


def contrastive(x, y, margin=1.0, normalize=True, pairs="all"):
    x = unit(x) if normalize else x
    if pairs == "all":
        chosen = [(i, j) for i in range(len(x)) for j in range(i)]
    else:
        chosen = [
            (8 * b + i, 8 * b + j)
            for b in range(len(x) // 8)
            for i, j in ((0, 1), (4, 3), (2, 5), (6, 7))
        ]
    terms = []
    for i, j in chosen:
        d = math.sqrt(sum((x[i] - x[j]) ** 2) + 1e-5)
        terms.append(d**2 if y[i] == y[j] else max(margin - d, 0.0) ** 2)
    return summary(terms)


def center(x, y, centers, normalize=True):
    x = unit(x) if normalize else x
    return 0.5 * sum(sum((x[i] - centers[y[i]]) ** 2) for i in range(len(x))), len(x), 1.0


def moved_centers(x, y, centers, alpha=0.5, normalize=True):
    x = unit(x) if normalize else x
    moved = centers.copy()
    for j in range(len(centers)):
        members = [i for i in range(len(x)) if y[i] == j]
        pull = sum((centers[j] - x[i] for i in members), np.zeros(x.shape[1]))
        moved[j] = centers[j] - alpha * pull / (1 + len(members))
    return moved


def softmax(x, y, weight, bias, label_smoothing=0.0):
    terms = []
    for i in range(len(x)):
        scores = [x[i] @ w + b for w, b in zip(weight, bias, strict=True)]
        total = log_total(scores)
        own = total - scores[y[i]]
        even = sum(total - s for s in scores) / len(scores)
        terms.append((1 - label_smoothing) * own + label_smoothing * even)
    return summary(terms)
