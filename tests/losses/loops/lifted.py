"""Lifted structured loss."""

from loops.shared import between, log_total, summary, unit

DEFAULTS = {"margin": 1.0, "normalize": False}
CASES = [{}, {"margin": 0.2, "normalize": True}]


def loop(x, y, margin=1.0, normalize=False):
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
