"""Batch-all triplet loss."""

from loops.shared import METRICS, hinge, rows_of

DEFAULTS = {
    "margin": 0.5,
    "distance": "euclidean",
    "normalize": False,
    "triplets": "all",
    "reach": 0.5,
}
CASES = [
    *({"distance": d} for d in METRICS),
    {"margin": 0, "normalize": True},
    {"triplets": "hard"},
    {"margin": 0.8, "triplets": "semi_hard"},
    {"margin": "soft"},
    {"margin": "soft", "triplets": "semi_hard", "reach": 0.7},
    {"margin": "soft", "triplets": "easy", "distance": "cosine", "reach": 0.1},
]


def in_blocks(params):
    """Tell whether every triplet has a term of its own, so that they are made block by block."""
    return params.get("margin") == "soft"


def kind(p, n, reach):
    tie = 1e-12 * max(p, n)
    if p - n >= -tie:
        return "hard"
    return "semi_hard" if p - n > -reach + tie else "easy"


def loop(x, y, margin=0.5, distance="euclidean", normalize=False, triplets="all", reach=0.5):
    rows = rows_of(x, y, distance, normalize)
    reach = reach if margin == "soft" else margin
    found = [(p, n) for ps, ns in rows for p in ps for n in ns]
    terms = [hinge(p - n, margin) for p, n in found if triplets in ("all", kind(p, n, reach))]
    active = [t for t in terms if margin == "soft" or t > 1e-12]
    if not active:
        return 0.0, len(terms), 0.0
    return sum(active) / len(active), len(terms), len(active) / len(terms)
