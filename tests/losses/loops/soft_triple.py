"""SoftTriple."""

import math

from loops.proxies import cosines, mean_cross_entropy, owned
from loops.shared import log_total, unit

__all__ = ["owned"]

DEFAULTS = {"scale": 20.0, "gamma": 0.1, "tau": 0.2, "margin": 0.01, "centers": 10}
CASES = [
    {"centers": 3},
    {"centers": 3, "scale": 4.0, "gamma": 1.0, "margin": 0.1, "tau": 0.0},
]
BY_DISTANCE = False


def loop(x, y, *, proxies, scale=20.0, gamma=0.1, tau=0.2, margin=0.01, centers=10):
    scores = []
    for row, label in zip(cosines(x, proxies), y, strict=True):
        scores.append([])
        for c, own in enumerate(row):
            total = log_total([s / gamma for s in own])
            soft = sum(math.exp(s / gamma - total) * s for s in own)
            scores[-1].append(scale * (soft - (margin if c == label else 0.0)))
    loss, terms, active = mean_cross_entropy(scores, y)
    if centers > 1:
        pairs = [(k, m) for k in range(centers) for m in range(k + 1, centers)]
        apart = [
            math.sqrt(2 + 1e-5 - 2 * w[k] @ w[m]) for w in map(unit, proxies) for k, m in pairs
        ]
        loss += tau * sum(apart) / (2 * len(apart))
    return loss, terms, active
