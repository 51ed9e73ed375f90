"""ArcFace, with the arc cosine of its formula."""

import math

from loops.proxies import cosines, mean_cross_entropy, owned

__all__ = ["owned"]

DEFAULTS = {"scale": 64.0, "margin": 0.5, "easy_margin": False, "sub_centers": 1}
CASES = [
    {},
    {"scale": 4.0, "margin": 1.2},
    {"scale": 4.0, "easy_margin": True},
    {"scale": 4.0, "sub_centers": 3},
]
BY_DISTANCE = False


def loop(x, y, *, proxies, scale=64.0, margin=0.5, easy_margin=False, sub_centers=1):
    scores = []
    for row, label in zip(cosines(x, proxies), y, strict=True):
        nearest = [max(own) for own in row]
        cosine = nearest[label]
        angle = math.acos(max(-1.0, min(1.0, cosine)))
        if easy_margin:
            nearest[label] = math.cos(angle + margin) if cosine > 0 else cosine
        elif angle <= math.pi - margin:
            nearest[label] = math.cos(angle + margin)
        else:
            nearest[label] = cosine - margin * math.sin(margin)
        scores.append([scale * value for value in nearest])
    return mean_cross_entropy(scores, y)
