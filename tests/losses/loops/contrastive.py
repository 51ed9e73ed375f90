"""Contrastive loss."""

import math

from loops.shared import summary, unit

DEFAULTS = {"margin": 1.0, "normalize": True, "pairs": "all"}
CASES = [{}, {"margin": 2, "normalize": False}, {"pairs": "fast", "margin": 1.4}]


def loop(x, y, margin=1.0, normalize=True, pairs="all"):
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
