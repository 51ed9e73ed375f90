"""Supervised contrastive loss."""

import math

from loops.shared import cosine_rows, log_total, smooth

DEFAULTS = {"temperature": 0.1, "form": "out"}
CASES = [{}, {"form": "in", "temperature": 0.5}]


def loop(x, y, temperature=0.1, form="out"):
    terms = []
    for positives, negatives in cosine_rows(x, y):
        if not positives or not negatives:
            continue
        shares = [s / temperature for s in positives]
        total = log_total(shares + [s / temperature for s in negatives])
        if form == "out":
            terms.append(sum(total - s for s in shares) / len(shares))
        else:
            terms.append(total - log_total(shares) + math.log(len(shares)))
    return smooth(terms)
