"""Batch-all triplet loss."""

from loops.shared import METRICS, rows_of

DEFAULTS = {"margin": 0.5, "distance": "euclidean", "normalize": False}
CASES = [*({"distance": d} for d in METRICS), {"margin": 0, "normalize": True}]


def loop(x, y, margin=0.5, distance="euclidean", normalize=False):
    rows = rows_of(x, y, distance, normalize)
    terms = [max(p - n + margin, 0.0) for ps, ns in rows for p in ps for n in ns]
    active = [t for t in terms if t > 1e-12]
    if not active:
        return 0.0, len(terms), 0.0
    return sum(active) / len(active), len(terms), len(active) / len(terms)
