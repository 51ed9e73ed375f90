"""Smooth-AP."""

import math

from loops.shared import anchors, smooth, unit

DEFAULTS = {"temperature": 0.01, "with_query": True}
CASES = [{}, {"temperature": 0.1}, {"temperature": 0.1, "with_query": False}]


def in_blocks(params):
    return True


def step(v):
    return 1 / (1 + math.exp(-v)) if v > 0 else math.exp(v) / (1 + math.exp(v))


def loop(x, y, temperature=0.01, with_query=True):
    x, terms = unit(x), []
    for q in anchors(x):
        gallery = [j for j in range(len(x)) if with_query or j != q]
        relevant = [j for j in gallery if y[j] == y[q]]
        s = [-sum((x[q] - x[j]) ** 2) / 2 / temperature for j in range(len(x))]
        if all(j == q for j in relevant) or len(relevant) == len(gallery):
            continue
        precisions = []
        for i in relevant:
            precise = 1 + sum(step(s[j] - s[i]) for j in relevant if j != i)
            rank = 1 + sum(step(s[j] - s[i]) for j in gallery if j != i)
            precisions.append(precise / rank)
        terms.append(1 - sum(precisions) / len(precisions))
    return smooth(terms)
