"""Contrastive loss."""

import math

from loops.shared import anchors, between, summary, unit

DEFAULTS = {
    "margin": 1.0,
    "normalize": True,
    "pairs": "all",
    "positive_margin": 0.0,
    "power": 2,
    "mean": "all",
    "distance": "euclidean",
}
SEPARATE = {"mean": "separate", "power": 1}
CASES = [
    {},
    {"margin": 2, "normalize": False},
    {"pairs": "fast", "margin": 1.4},
    {"positive_margin": 0.3, "power": 3, "margin": 1.2},
    {"positive_margin": 0.5, **SEPARATE},
    {"distance": "cityblock", "normalize": False, "mean": "separate_all", "margin": 6},
    {"distance": "cosine", "pairs": "fast", "positive_margin": 0.1, **SEPARATE},
]
SQUARES = True


def loop(
    x,
    y,
    margin=1.0,
    normalize=True,
    pairs="all",
    positive_margin=0.0,
    power=2,
    mean="all",
    distance="euclidean",
):
    x = unit(x) if normalize else x
    if pairs == "all":
        chosen = [(i, j) for i in range(len(x)) for j in range(i)]
    else:
        chosen = [
            (8 * b + i, 8 * b + j)
            for b in range(len(x) // 8)
            for i, j in ((0, 1), (4, 3), (2, 5), (6, 7))
        ]
    pull, push = [], []
    for i, j in chosen:
        if not {i, j} & set(anchors(x)):
            continue
        if distance == "euclidean" and mean == "all":
            d = math.sqrt(sum((x[i] - x[j]) ** 2) + 1e-5)
        else:
            d = between(x[i], x[j], distance)
        if y[i] == y[j]:
            pull.append(max(d - positive_margin, 0.0) ** power)
        else:
            push.append(max(margin - d, 0.0) ** power)
    value, terms, active = summary([t if t > 1e-12 else 0.0 for t in pull + push])
    if mean == "separate":
        pull, push = [t for t in pull if t > 1e-12], [t for t in push if t > 1e-12]
    if mean != "all":
        value = sum(sum(side) / len(side) for side in (pull, push) if side)
    return value, terms, active
