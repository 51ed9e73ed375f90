"""Multi-similarity loss."""

import math

from loops.shared import cosine_rows, smooth, summary

DEFAULTS = {"alpha": 2.0, "beta": 50.0, "base": 0.5, "epsilon": 0.1}
CASES = [{}, {"epsilon": None, "beta": 10.0, "base": 1.0}, {"epsilon": 0.0, "alpha": 0.5}]


def loop(x, y, alpha=2.0, beta=50.0, base=0.5, epsilon=0.1):
    terms = []
    for positives, negatives in cosine_rows(x, y):
        if not positives or not negatives:
            continue
        hard_positives, hard_negatives = positives, negatives
        if epsilon is not None:  # two equal cosines are equal after rounding, too
            hard_positives = [s for s in positives if max(negatives) - s + epsilon > 1e-12]
            hard_negatives = [s for s in negatives if s - min(positives) + epsilon > 1e-12]
        terms.append(
            math.log1p(sum(math.exp(-alpha * (s - base)) for s in hard_positives)) / alpha
            + math.log1p(sum(math.exp(beta * (s - base)) for s in hard_negatives)) / beta
        )
    return smooth(terms) if epsilon is None else summary(terms)
