"""Easy positive loss."""

from loops.shared import cosine_rows, log_total, smooth

DEFAULTS = {"temperature": 0.1, "negatives": "hard"}
CASES = [{}, {"negatives": "semi_hard", "temperature": 0.5}, {"negatives": "all"}]


def loop(x, y, temperature=0.1, negatives="hard"):
    terms = []
    for positives, others in cosine_rows(x, y):
        if not positives:
            continue
        easiest = max(positives)
        told_apart = others
        if negatives == "semi_hard":  # two equal cosines are equal after rounding, too
            told_apart = [s for s in others if s < easiest - 1e-12]
        if negatives != "all":
            told_apart = sorted(told_apart)[-1:]
        if told_apart:
            logits = [s / temperature for s in [easiest, *told_apart]]
            terms.append(log_total(logits) - logits[0])
    return smooth(terms)
