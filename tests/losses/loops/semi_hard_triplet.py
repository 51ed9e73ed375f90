"""Semi-hard triplet loss."""

from loops.shared import METRICS, hinge, rows_of, summary

DEFAULTS = {
    "margin": 0.2,
    "distance": "squared_euclidean",
    "normalize": True,
    "per": "pair",
    "semi_margin": 0.0,
}
CASES = [
    *({"distance": d, "per": p} for d in METRICS for p in ("pair", "anchor")),
    {"margin": "soft", "normalize": False},
    {"margin": "soft", "per": "anchor"},
    {"semi_margin": 0.3, "per": "anchor", "margin": 1.0},
    {"semi_margin": -0.3, "margin": 1},
]


def loop(
    x,
    y,
    margin=0.2,
    distance="squared_euclidean",
    normalize=True,
    per="pair",
    semi_margin=0.0,
):
    terms = []
    for positives, negatives in rows_of(x, y, distance, normalize):
        if not positives or not negatives:
            continue
        for p in positives if per == "pair" else [max(positives)]:
            farther = [n for n in negatives if n > p + semi_margin]
            if farther:
                terms.append(hinge(p - min(farther), margin))
            else:
                terms.append(hinge(p - max(negatives), margin) if per == "pair" else 0.0)
    return summary(terms)
