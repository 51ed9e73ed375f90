"""NT-Xent loss."""

from loops.shared import cosine_rows, log_total, smooth

DEFAULTS = {"temperature": 0.07, "denominator": "own"}
CASES = [{}, {"denominator": "others", "temperature": 0.5}]


def loop(x, y, temperature=0.07, denominator="own"):
    terms = []
    for positives, negatives in cosine_rows(x, y):
        for p in positives if negatives else []:
            told_apart = [p] if denominator == "own" else positives
            logits = [s / temperature for s in told_apart + negatives]
            terms.append(log_total(logits) - p / temperature)
    return smooth(terms)
