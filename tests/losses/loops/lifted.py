"""Lifted structured loss."""

from loops.shared import anchors, between, hinge, log_total, rows_of, smooth, summary, unit

DEFAULTS = {"margin": 1.0, "normalize": False, "form": "structured"}
CASES = [
    {},
    {"margin": 0.2, "normalize": True},
    {"form": "generalized"},
    {"form": "generalized", "margin": "soft", "normalize": True},
]


def loop(x, y, margin=1.0, normalize=False, form="structured"):
    if form == "generalized":
        return generalized(x, y, margin, normalize)
    x = unit(x) if normalize else x
    terms = []
    for i in range(len(x)):
        for j in range(i):
            if y[i] != y[j] or not {i, j} & set(anchors(x)):
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


def generalized(x, y, margin, normalize):
    terms = []
    for positives, negatives in rows_of(x, y, "euclidean", normalize):
        if positives and negatives:
            excess = log_total(positives) + log_total([-d for d in negatives])
            terms.append(hinge(excess, margin))
    return smooth(terms) if margin == "soft" else summary(terms)
