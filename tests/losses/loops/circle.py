"""Circle loss."""

from loops.shared import cosine_rows, hinge, log_total, smooth

DEFAULTS = {"margin": 0.4, "gamma": 80.0}
CASES = [{}, {"margin": 0.25, "gamma": 4.0}]
HELD = True


def loop(x, y, margin=0.4, gamma=80.0, held=None):
    terms = []
    rows = zip(cosine_rows(x, y), cosine_rows(x if held is None else held, y), strict=True)
    for (positives, negatives), (held_positives, held_negatives) in rows:
        if not positives or not negatives:
            continue
        pull = [
            -gamma * max(1 + margin - fixed, 0) * (s - (1 - margin))
            for s, fixed in zip(positives, held_positives, strict=True)
        ]
        push = [
            gamma * max(fixed + margin, 0) * (s - margin)
            for s, fixed in zip(negatives, held_negatives, strict=True)
        ]
        terms.append(hinge(log_total(pull) + log_total(push), "soft"))
    return smooth(terms)
