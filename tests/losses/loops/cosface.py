"""CosFace."""

from loops.proxies import cosines, mean_cross_entropy, owned

__all__ = ["owned"]

DEFAULTS = {"scale": 64.0, "margin": 0.35}
CASES = [{}, {"scale": 4.0, "margin": 0.5}]
BY_DISTANCE = False


def loop(x, y, *, proxies, scale=64.0, margin=0.35):
    scores = [
        [scale * (own[0] - (margin if c == label else 0.0)) for c, own in enumerate(row)]
        for row, label in zip(cosines(x, proxies), y, strict=True)
    ]
    return mean_cross_entropy(scores, y)
