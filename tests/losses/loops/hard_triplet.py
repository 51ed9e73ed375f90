"""Batch-hard triplet loss."""

from loops.shared import METRICS, hinge, rows_of, summary

DEFAULTS = {"margin": 1.0, "distance": "euclidean", "normalize": False}
CASES = [
    *({"distance": d, "margin": m} for d in METRICS for m in (0.7, "soft")),
    {"margin": "none", "normalize": True},
]


def loop(x, y, margin=1.0, distance="euclidean", normalize=False):
    rows = rows_of(x, y, distance, normalize)
    return summary([hinge(max(p) - min(n), margin) for p, n in rows if p and n])
