"""Priming loss."""

import math

from loops.shared import METRICS, rows_of, summary

DEFAULTS = {"distance": "euclidean", "normalize": True}
CASES = [*({"distance": d} for d in METRICS), {"normalize": False}]


def loop(x, y, distance="euclidean", normalize=True):
    rows = rows_of(x, y, distance, normalize)
    return (*summary([max(p) ** 2 + math.exp(-10 * min(n)) for p, n in rows if p and n])[:2], None)
