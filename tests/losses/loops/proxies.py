"""What the loops of the losses with proxies share."""

import numpy as np

from loops.shared import log_total, unit


def owned(loss):
    return {"proxies": loss.proxies.detach().numpy()}


def cosines(x, proxies):
    """Return for each row and class the list of cosines with the vectors of the class."""
    rows = unit(x)
    classes = [unit(np.atleast_2d(own)) for own in proxies]
    return [[[float(u @ w) for w in own] for own in classes] for u in rows]


def mean_cross_entropy(scores, y):
    terms = [log_total(row) - row[own] for row, own in zip(scores, y, strict=True)]
    return sum(terms) / len(terms), len(terms), None
